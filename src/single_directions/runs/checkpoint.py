"""Checkpoints that a crash cannot leave half-written, and which of them are kept."""

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

from single_directions.errors import BadInput, first_line
from single_directions.runs.folder import replacing

log = logging.getLogger(__name__)

HELD = "held"
"""The storage option of a checkpoint that is to be held in memory."""
PAUSE = 1.0
"""Seconds between two times that a training is held, or twenty times what holding it takes if that is more."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint, then renames. Lightning's own class uses the system's temporary folder."""

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[Path, bytes] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the checkpoint at `path`, or hold the new one in memory."""
        if storage_options == HELD:
            content = BytesIO()
            torch.save(checkpoint, content)
            self._held = Path(path), content.getvalue()
        else:
            _write(checkpoint, Path(path))
            if self._held and self._held[0] == Path(path):
                self._held = None

    def write_held(self) -> None:
        """Write the checkpoint that is held, if none was written since."""
        if self._held is not None:
            path, content = self._held
            with replacing(path) as beside:
                beside.write_bytes(content)


class BetweenCheckpoints(Checkpoint):
    """Holds a checkpoint in memory after epochs without a written one: after each, or every `PAUSE` if they are short.

    Not where several processes train together: they wait for each other to save, and their clocks differ.
    """

    def __init__(self, path: Path, every_n_epochs: int) -> None:
        self.path, self.every_n_epochs = path, every_n_epochs
        self._last, self._took = perf_counter(), 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Holds what a checkpoint would have."""
        if trainer.world_size > 1 or (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            return
        start = perf_counter()
        if start - self._last >= PAUSE * max(1, 20 * self._took):
            trainer.save_checkpoint(self.path, weights_only=False, storage_options=HELD)
            self._last = perf_counter()
            self._took = self._last - start


def readable(path: Path) -> Path | None:
    """The path of a checkpoint to go on from; None where there is none, or it is broken.

    A broken one gets the suffix `.broken`, and the run starts from the beginning with a warning: only a file system can
    break a file that is written whole. One that cannot be read at the moment stays: it may hold days of work. No code
    in it is executed. Raises `BadInput` where the file system fails to read it, `MemoryError` where memory is too
    small.
    """
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({first_line(error)}): try again, or remove it to start from the beginning"
        ) from error
    try:
        found = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        missing = {"state_dict", "loops", "callbacks", "optimizer_states"} - set(found)
    except Exception as error:  # other files raise many types
        if isinstance(error, MemoryError):
            raise
        if "allocate memory" in str(error) or "not enough memory" in str(error):  # torch has no type for it
            raise MemoryError(f"{path} cannot be read: {first_line(error)}") from error
        reason = first_line(error)
    else:
        if not missing:
            return path
        reason = f"it has no {', '.join(sorted(missing))}"
    aside = path.with_name(f"{path.name}.broken")
    log.warning("%s cannot be read (%s): kept as %s, the run starts from the beginning", path, reason, aside.name)
    with suppress(FileNotFoundError):  # several processes may find it
        path.replace(aside)
    return None


def keep(what: str, *paths: Path) -> None:
    """Keep all of a finished training's checkpoints, none, or the weights.

    "weights" drops the optimizer's state, which is as large as the weights or twice that. The epochs' numbers stay: a
    run whose tables get lost is then measured again, not trained again.
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
