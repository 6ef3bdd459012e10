"""How often each point of a curve was right, added up over batches and processes."""

import torch
from torch import Tensor
from torchmetrics import Metric

from single_directions.ablation import AblationCurve


class CurveCounts(Metric):
    """Accuracy at each ordering and point over the images of several curves, and of all processes.

    The states are sums, so `compute` is the curve that one process would have measured on all images. Each process
    needs the same orderings and points, and at least one `update`.

    Args:
        orderings, points: the curves' shape.
        settings: torchmetrics' own.
    """

    full_state_update = False
    right: Tensor  # float64 is exact to 2^53, and keeps the NaN of a network that has diverged in one process alone
    images: Tensor

    def __init__(self, orderings: int, points: int, **settings: object) -> None:
        super().__init__(**settings)
        self.add_state("right", torch.zeros(orderings, points, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, curve: AblationCurve) -> None:
        """Adds a curve's right answers and images."""
        assert curve.images is not None
        self.right += (curve.accuracy * curve.images).round().to(self.device)
        self.images += curve.images

    def compute(self) -> tuple[Tensor, Tensor]:
        """Accuracy, float64, (orderings, points), on the CPU; and the number of images, ()."""
        return (self.right / self.images).cpu(), self.images.cpu()
