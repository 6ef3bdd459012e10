"""Lightning's classes under both of its names, `pytorch_lightning` and `lightning.pytorch`.

The two packages hold the same code, but a callback, module or trainer of one is none of the other. So each class is
looked up in both. `pytorch_lightning` is always installed, since `lightning` depends on it. Both must be 2.6 or newer.
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
for _framework in FRAMEWORKS:
    if not hasattr(_framework.callbacks, "WeightAveraging"):  # new in 2.6
        raise ImportError(f"{_framework.__name__} {_framework.__version__} is too old: AblationAUC needs 2.6 or newer")


def in_each(module: str, name: str) -> tuple[type[Any], ...]:
    """The class of this name in each installed package, for `isinstance`: ``in_each("callbacks", "Timer")``."""
    return tuple(getattr(import_module(f"{framework.__name__}.{module}"), name) for framework in FRAMEWORKS)


if not TYPE_CHECKING:
    # One class that is a subclass of the Callback of each package.
    Callback = type("Callback", in_each("callbacks", "Callback"), {"__module__": __name__})
