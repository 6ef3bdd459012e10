"""Checkpoints that a crash cannot leave half-written, and what of them is kept."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from single_directions.errors import BadInput
from single_directions.runs.folder import first_line, replacing

log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint, then renames; Lightning's own goes by way of the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the checkpoint at `path`."""
        _write(checkpoint, Path(path))


def readable(path: Path) -> Path | None:
    """The path of a checkpoint to go on from, or None where there is none, or one that cannot be read.

    That one is removed and the run starts afresh, which is said: only a file system can break a file that is written
    whole. One that cannot be read just now stays: it may be the work of days. Nothing in a checkpoint is executed.
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
        reason = first_line(error)
    else:
        if not missing:
            return path
        reason = f"it lacks {', '.join(sorted(missing))}"
    log.warning("%s cannot be read (%s): the run starts afresh", path, reason)
    path.unlink(missing_ok=True)  # of several processes each finds it
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
