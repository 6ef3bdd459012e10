"""Post-stratification: each class counts as much as it has images in the population, not among those measured."""

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST = 10
"""Images measured that a class of its own needs. With fewer, its mean and variance are too uncertain."""


@dataclass(frozen=True)
class Strata:
    """Images in groups that differ (Cochran, Sampling Techniques, 5A.9).

    Attributes:
        of: int64, (images,), the stratum of each image.
        weights: float64, (images,), the share of its stratum in the population by that among those measured; mean 1.
    """

    of: Tensor
    weights: Tensor

    def spread(self, values: Tensor) -> float:
        """The variance of a sum of independent values (images,), whose means may differ between strata."""
        sizes = torch.bincount(self.of).double()
        sums = sizes.new_zeros(len(sizes)).index_add_(0, self.of, values)
        apart = (values - (sums / sizes)[self.of]).square()
        return float(apart @ (sizes / (sizes - 1).clamp_min(1))[self.of])


def by_class(classes: Tensor | None, counts: Tensor | None, images: int) -> Strata:
    """Strata of images by their classes (images,), of which the population has `counts` (classes,); else one stratum.

    Classes of few images are one stratum together, with the smallest of the others if they need them.
    """
    if classes is None or counts is None:
        return Strata(torch.zeros(images, dtype=torch.int64), torch.ones(images, dtype=torch.float64))
    measured = torch.bincount(classes, minlength=len(counts))
    order = measured.argsort()
    enough = int((measured[order].cumsum(0) < _LEAST).sum())
    joined = max(int((measured < _LEAST).sum()) - 1, enough)
    stratum = torch.empty_like(order)
    stratum[order] = (torch.arange(len(order)) - joined).clamp_min(0)
    of = stratum[classes]
    population = torch.zeros(len(order), dtype=torch.float64).index_add_(0, stratum, counts.double())
    weights = population[: int(of.max()) + 1] / torch.bincount(of)
    return Strata(of, weights[of] * (images / int(counts.sum())))
