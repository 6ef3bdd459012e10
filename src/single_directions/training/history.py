"""The table of what was logged in each epoch. A resumed training continues it."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from single_directions.training.ablation_auc import AblationAUC
from single_directions.training.classifier import SPLITS

Row = dict[str, float]


class History(pl.Callback):
    """Keeps a row for each epoch and calls `write` with all rows after it (in the first process only).

    The rows are saved in the checkpoint, so a resumed training continues the table. Columns are `epoch` (from 1) and
    the names logged, such as `train/loss`. A cell is empty if the epoch did not measure it.

    Attributes:
        rows: one for each finished epoch.
        seconds: time spent in epochs, over all parts of a training that was interrupted.
    """

    def __init__(self, write: Callable[[pd.DataFrame], None] | None = None) -> None:
        self.write = write
        self.rows: list[Row] = []
        self.seconds = 0.0

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock."""
        self._start = perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch's row."""
        # Lightning keeps the last value of each name, which may come from an earlier epoch.
        epoch = trainer.current_epoch + 1
        stale = tuple(
            f"{callback.name}/"
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, AblationAUC) and epoch - 1 not in callback.values
        )
        if epoch % (trainer.check_val_every_n_epoch or 1):
            stale += tuple(f"{split}/" for split in SPLITS)
        metrics = sorted(trainer.callback_metrics.items())
        logged = {name: value.item() for name, value in metrics if not name.startswith(stale)}
        self.rows.append({**logged, "epoch": epoch})
        self.seconds += perf_counter() - self._start
        if self.write is not None and trainer.is_global_zero:
            self.write(self.to_frame())

    def state_dict(self) -> dict[str, Any]:
        """The rows as plain numbers, which `torch.load` reads without running code."""
        return {"rows": [dict(row) for row in self.rows], "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows of a checkpoint."""
        self.rows, self.seconds = [dict(row) for row in state_dict["rows"]], state_dict["seconds"]
