"""Lightning without its advice."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_fabric.utilities.warnings import PossibleUserWarning

_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
"""Of both names of Lightning: if both are imported, each may log under the other's."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within it Lightning's advice and announcements are left out; warnings stay."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Lightning 2.6 with a torch newer than it.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            # A checkpoint is gone on with in a folder that was moved, or with another number of epochs between two.
            warnings.filterwarnings("ignore", "The dirpath has changed from")
            warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
