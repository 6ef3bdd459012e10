"""A progress bar of a whole training, in one line."""

import sys
from time import monotonic
from typing import Any, TextIO

import pytorch_lightning as pl
from tqdm import tqdm

LINES = 10
"""Lines that a training writes, at most, if there is no terminal."""


class Progress(pl.Callback):
    """A bar over all epochs of a training. If `stream` is no terminal, about ten lines instead.

    Args:
        title: what is trained.
        stream: where to write; standard error by default.
        least_seconds: the least time between two lines, so that a short training writes few or none.
    """

    def __init__(self, title: str = "", stream: TextIO | None = None, least_seconds: float = 5.0) -> None:
        self.title, self.stream, self.least_seconds = title, stream or sys.stderr, least_seconds
        self.bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar at the current epoch, which is not the first in a resumed training."""
        self._last_line, self._last_epoch = monotonic(), trainer.current_epoch
        if self.stream.isatty():
            batches, epochs = int(trainer.num_training_batches), trainer.max_epochs or 0
            self.bar = tqdm(
                desc=self.title or "training",
                total=epochs * batches,
                initial=trainer.current_epoch * batches,
                bar_format="{desc}: {percentage:3.0f}%|{bar:16}| {elapsed}<{remaining}{postfix}",
                mininterval=0.5,
                dynamic_ncols=True,
                leave=False,
                file=self.stream,
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows what the epoch measured."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        text = f"epoch {epoch}/{epochs}, {_measured(trainer)}{_when(trainer)}"
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
        elif epoch - self._last_epoch >= epochs / LINES and monotonic() - self._last_line >= self.least_seconds:
            self._last_line, self._last_epoch = monotonic(), epoch
            print(f"{self.title}: {text}" if self.title else text, file=self.stream, flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that the next output starts on a new line."""
        self.on_train_end(trainer, pl_module)


def _measured(trainer: pl.Trainer) -> str:
    """Accuracies and losses in one short line."""
    logged = trainer.callback_metrics
    return ", ".join(
        f"{split} accuracy {logged[f'{split}/accuracy']:.3f} (loss {logged[f'{split}/loss']:.3g})"
        for split in ("train", "test")
        if f"{split}/loss" in logged
    )


def _when(trainer: pl.Trainer) -> str:
    """The epoch that was measured last, if it is not this one."""
    measured = trainer.callback_metrics.get("epoch")
    return "" if measured is None or int(measured) == trainer.current_epoch + 1 else f" after epoch {int(measured)}"
