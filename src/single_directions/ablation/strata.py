"""Post-stratification: each class counts as much as it has images in the population, not among those measured."""

from dataclasses import dataclass

import torch
from torch import Tensor

_EXPECTED = 20
"""Images that a stratum of its own needs. With fewer, its mean and variance are too uncertain."""


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
        means = torch.bincount(self.of, values) / sizes
        apart = (values - means[self.of]).square()
        return float(apart @ (sizes / (sizes - 1).clamp_min(1))[self.of])


def strata_of(counts: Tensor, images: int) -> Tensor:
    """The stratum of each class, int64 (classes,), if `images` are drawn from a population with `counts` (classes,).

    Rare classes, of which fewer than `_EXPECTED` images are expected, are one stratum, together with the next classes
    if they are too few. The numbers drawn must not decide this: a class drawn too rarely would count too little.
    """
    expected, order = counts.double() * (images / counts.sum().double()), counts.argsort(stable=True)
    rare = int((expected < _EXPECTED).sum())
    needed = int((expected[order].cumsum(0) < _EXPECTED).sum()) + 1
    stratum = torch.empty_like(order)
    stratum[order] = (torch.arange(len(order)) - max(rare, needed) + 1).clamp_min(0)
    return stratum


def by_class(classes: Tensor | None, counts: Tensor | None, images: int) -> Strata:
    """Strata by the classes (images,), of which the population has `counts` (classes,).

    One stratum where these are not known, or where one of several has fewer than two images.
    """
    whole = Strata(torch.zeros(images, dtype=torch.int64), torch.ones(images, dtype=torch.float64))
    if classes is None or counts is None:
        return whole
    stratum = strata_of(counts, images)
    of, strata = stratum[classes], int(stratum.max()) + 1
    measured = torch.bincount(of, minlength=strata)
    if (measured < 2).any():  # a variance needs two
        return whole
    share = torch.bincount(stratum, counts.double(), strata) / counts.sum()
    return Strata(of, (images * share / measured)[of])
