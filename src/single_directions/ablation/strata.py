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
        sums = sizes.new_zeros(len(sizes)).index_add_(0, self.of, values)
        apart = (values - (sums / sizes)[self.of]).square()
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


def sizes(classes: Tensor, counts: Tensor) -> Tensor:
    """How many of the images measured, of these classes (images,), are in each stratum, int64 (strata,)."""
    stratum = strata_of(counts, len(classes))
    return torch.bincount(stratum[classes], minlength=int(stratum.max()) + 1)


def by_class(classes: Tensor | None, counts: Tensor | None, images: int) -> Strata:
    """Strata by the classes (images,), of which the population has `counts` (classes,); else one stratum."""
    whole = Strata(torch.zeros(images, dtype=torch.int64), torch.ones(images, dtype=torch.float64))
    if classes is None or counts is None:
        return whole
    stratum, measured = strata_of(counts, images), sizes(classes, counts)
    if (measured < 2).any():  # a variance needs two
        return whole
    share = torch.zeros_like(measured).double().index_add_(0, stratum, counts.double()) / counts.sum()
    return Strata(stratum[classes], (images * share / measured)[stratum[classes]])
