"""Training: Lightning modules and callbacks that know networks and data, but neither configs nor run folders."""

from single_directions.training.ablation_auc import AblationAUC
from single_directions.training.classifier import Classifier, NonFiniteLoss
from single_directions.training.history import History
from single_directions.training.loaders import EpochOrder, Loaders, measuring_loader
from single_directions.training.progress import Progress
from single_directions.training.quiet import quiet, unwarned
from single_directions.training.stop import StayStopped, StopAtAccuracy

__all__ = [
    "AblationAUC",
    "Classifier",
    "EpochOrder",
    "History",
    "Loaders",
    "NonFiniteLoss",
    "Progress",
    "StayStopped",
    "StopAtAccuracy",
    "measuring_loader",
    "quiet",
    "unwarned",
]
