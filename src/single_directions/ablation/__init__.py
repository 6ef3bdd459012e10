"""The measurement: clamp a network's units and see its accuracy fall."""

from single_directions.ablation.curve import AblationCurve, ablation_curve
from single_directions.ablation.estimate import ablation_auc
from single_directions.ablation.estimated import AblationEstimate
from single_directions.ablation.importance import unit_importance
from single_directions.ablation.sites import Site, resolve_sites

__all__ = [
    "AblationCurve",
    "AblationEstimate",
    "Site",
    "ablation_auc",
    "ablation_curve",
    "resolve_sites",
    "unit_importance",
]
