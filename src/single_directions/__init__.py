"""How much does a network rely on single directions? (Morcos et al., "On the importance of single directions for generalization")"""

from single_directions.ablation import AblationCurve, Site, ablation_curve, unit_importance
from single_directions.errors import BadInput

__all__ = ["AblationCurve", "BadInput", "Site", "ablation_curve", "unit_importance"]
