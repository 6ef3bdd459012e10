"""Checkpoints that a crash cannot leave half-written."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from single_directions.runs.folder import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint, then renames; Lightning's own goes by way of the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the checkpoint at `path`."""
        with replacing(Path(path)) as beside:
            torch.save(checkpoint, beside)
