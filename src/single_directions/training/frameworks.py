"""Lightning under both of its names: `pytorch_lightning` and `lightning.pytorch` hold the same code, twice.

A callback of one is no callback of the other, and the same goes for modules and trainers. Here each class is looked up
under both names, so that what is built on them serves both. `lightning` depends on `pytorch-lightning`, so the latter
is always installed. Both are needed in version 2.6 or newer.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytorch_lightning

if TYPE_CHECKING:
    from pytorch_lightning import Callback as Callback


def _installed() -> tuple[ModuleType, ...]:
    try:
        return pytorch_lightning, import_module("lightning.pytorch")
    except ImportError:
        return (pytorch_lightning,)


FRAMEWORKS = _installed()


def in_each(module: str, name: str) -> tuple[type[Any], ...]:
    """The class of this name in each installed framework, for `isinstance`: ``in_each("callbacks", "Timer")``."""
    return tuple(getattr(import_module(f"{framework.__name__}.{module}"), name) for framework in FRAMEWORKS)


if not TYPE_CHECKING:
    # One class that each framework's Trainer, LightningCLI and isinstance() take for a callback of its own.
    Callback = type("Callback", in_each("callbacks", "Callback"), {"__module__": __name__})
