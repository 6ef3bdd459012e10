"""Lightning without its tips and announcements."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_fabric.utilities.warnings import PossibleUserWarning

_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
"""Of both packages of Lightning: if both are imported, each may log under the other's name."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within it Lightning gives no tips and announcements, but warnings."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # From Lightning 2.6 with a newer torch.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            # A resumed run may have moved to another folder, or save checkpoints at other epochs.
            warnings.filterwarnings("ignore", "The dirpath has changed from")
            warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def unwarned() -> Iterator[None]:
    """Within it measuring does not warn of the network, as an earlier look at it did."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"single_directions\.ablation\.")
        yield
