"""Checkpoints that a crash cannot leave half-written, and what of them is kept."""

import logging
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from single_directions.errors import BadInput
from single_directions.runs.folder import first_line, replacing

log = logging.getLogger(__name__)


BROKEN = ".broken"
"""What is added to the name of a checkpoint that cannot be read."""
HELD = "held"
"""The storage option of a checkpoint that is to be held in memory."""
PAUSE = 1.0
"""Seconds between two times that a training is held, or twenty times what holding it takes if that is more."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint, then renames; Lightning's own goes by way of the system's temporary folder."""

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[Path, bytes] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the checkpoint at `path`, or hold what is to replace it once it is asked for."""
        if storage_options == HELD:
            content = BytesIO()
            torch.save(checkpoint, content)
            self._held = Path(path), content.getvalue()
        else:
            _write(checkpoint, Path(path))
            if self._held and self._held[0] == Path(path):
                self._held = None

    def write_held(self) -> None:
        """Write what is held, where nothing was written since."""
        if self._held is not None:
            path, content = self._held
            with replacing(path) as beside:
                beside.write_bytes(content)


class BetweenCheckpoints(Checkpoint):
    """Has the training held as it is after epochs of which no checkpoint is written: each, unless they are short.

    Not where several processes train together: they wait for each other to save, and their clocks would not agree when.
    """

    def __init__(self, path: Path, every_n_epochs: int) -> None:
        self.path, self.every_n_epochs = path, every_n_epochs
        self._last, self._took = perf_counter(), 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes along what a checkpoint would."""
        if trainer.world_size > 1 or (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            return
        start = perf_counter()
        if start - self._last >= PAUSE * max(1, 20 * self._took):
            trainer.save_checkpoint(self.path, weights_only=False, storage_options=HELD)
            self._last = perf_counter()
            self._took = self._last - start


def readable(path: Path) -> Path | None:
    """The path of a checkpoint to go on from, or None where there is none, or one that cannot be read.

    A broken one gets the suffix `BROKEN` and the run starts afresh, which is said: only a file system can break a file
    that is written whole. One that cannot be read just now stays: it may be the work of days. Nothing in a checkpoint
    is executed. Raises `BadInput` where the file system fails to read it, `MemoryError` where memory is too small.
    """
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({first_line(error)}): try again, or remove it to start afresh"
        ) from error
    try:
        found = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        missing = {"state_dict", "loops", "callbacks", "optimizer_states"} - set(found)
    except Exception as error:  # what is no checkpoint fails in many ways
        if isinstance(error, MemoryError):
            raise
        if "allocate memory" in str(error) or "not enough memory" in str(error):  # torch has no kind for it
            raise MemoryError(f"{path} cannot be read: {first_line(error)}") from error
        reason = first_line(error)
    else:
        if not missing:
            return path
        reason = f"it lacks {', '.join(sorted(missing))}"
    aside = path.with_name(path.name + BROKEN)
    log.warning("%s cannot be read (%s): kept as %s, the run starts afresh", path, reason, aside.name)
    with suppress(FileNotFoundError):  # of several processes each finds it
        path.replace(aside)
    return None


def keep(what: str, *paths: Path) -> None:
    """Leave of a finished training's checkpoints all, none, or the weights.

    With these stay the epochs' numbers, of little size: a run whose tables get lost can be measured again without
    being trained again. The optimizer's state, as large as the weights or twice that, goes.
    """
    for path in paths:
        if what == "none":
            path.unlink(missing_ok=True)
        elif what == "weights" and path.exists():
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            _write({**checkpoint, "optimizer_states": []}, path)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with replacing(path) as beside:
        torch.save(checkpoint, beside)
