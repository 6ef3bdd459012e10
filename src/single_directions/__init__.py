"""How much does a network rely on single directions? The measurement of Morcos et al., and their experiments."""

from typing import TYPE_CHECKING, Any

from single_directions.ablation import AblationCurve, Site, ablation_curve, resolve_sites, unit_importance
from single_directions.errors import BadInput

if TYPE_CHECKING:
    from single_directions.training import AblationAUC

__all__ = ["AblationAUC", "AblationCurve", "BadInput", "Site", "ablation_curve", "resolve_sites", "unit_importance"]


def __getattr__(name: str) -> Any:
    """Imports the callback, and Lightning with it, once it is asked for."""
    if name == "AblationAUC":
        from single_directions.training import AblationAUC

        return AblationAUC
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
