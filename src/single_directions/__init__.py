"""How much does a network rely on single directions? The measurement of Morcos et al., and their experiments."""

from single_directions.ablation import AblationCurve, Site, ablation_curve, unit_importance
from single_directions.errors import BadInput

__all__ = ["AblationCurve", "BadInput", "Site", "ablation_curve", "unit_importance"]
