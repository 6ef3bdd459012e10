"""How much does a network rely on single directions? The measurement of Morcos et al., and their experiments."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from single_directions.errors import BadInput

if TYPE_CHECKING:
    from single_directions.ablation import (
        AblationCurve,
        AblationEstimate,
        Site,
        ablation_auc,
        ablation_curve,
        resolve_sites,
        unit_importance,
    )
    from single_directions.training import AblationAUC

__all__ = [
    "AblationAUC",
    "AblationCurve",
    "AblationEstimate",
    "BadInput",
    "Site",
    "ablation_auc",
    "ablation_curve",
    "resolve_sites",
    "unit_importance",
]


def __getattr__(name: str) -> Any:
    """Imports what is asked for, and torch or Lightning with it: what needs neither starts at once."""
    if name == "ablation":
        return import_module(f"{__name__}.ablation")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    part = "training" if name == "AblationAUC" else "ablation"
    globals()[name] = getattr(import_module(f"{__name__}.{part}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
