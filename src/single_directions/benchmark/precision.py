"""How precisely the AUC is known from some orderings and some images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from single_directions.ablation import ablation_curve
from single_directions.data.images import Batch


@dataclass(frozen=True)
class Spread:
    """Variances of the AUC: between orderings, between images, and of what is left between pairs of the two.

    Orderings and images are taken as drawn from many: an AUC is a mean over pairs of R orderings and N images, and its
    variance is `orderings / R + images / N + rest / (R N)`.
    """

    orderings: float
    images: float
    rest: float

    @classmethod
    def of(cls, areas: Tensor, portion: int) -> "Spread":
        """The analysis of variance of AUCs (orderings, portions), each over `portion` images of its own."""
        orderings, portions = areas.shape
        by_ordering, by_portion = areas.mean(1, keepdim=True), areas.mean(0, keepdim=True)
        left = areas - by_ordering - by_portion + areas.mean()
        rest = left.square().sum().item() / ((orderings - 1) * (portions - 1))
        return cls(
            orderings=max(0.0, by_ordering.var().item() - rest / portions),
            images=max(0.0, by_portion.var().item() - rest / orderings) * portion,
            rest=rest * portion,
        )

    def error(self, orderings: int, images: int) -> float:
        """The standard error of an AUC over so many orderings and images."""
        return (self.orderings / orderings + self.images / images + self.rest / (orderings * images)) ** 0.5


def areas(network: nn.Module, images: Batch, orderings: int, points: Sequence[int], portion: int) -> dict[int, Tensor]:
    """The AUC (orderings, portions) of each ordering over each portion of the images, for each number of points.

    Measured once, at the most points; the intervals between these must be a multiple of those between the others.
    """
    finest = max(points)
    parts = zip(*(tensor.split(portion) for tensor in images), strict=True)
    curves = [ablation_curve(network, [part], orderings=orderings, points=finest) for part in parts]
    accuracy = torch.stack([curve.accuracy for curve in curves], 1)
    fraction = curves[0].fraction_ablated
    steps = {number: (finest - 1) // (number - 1) for number in points}
    return {number: torch.trapezoid(accuracy[..., ::step], fraction[::step]) for number, step in steps.items()}
