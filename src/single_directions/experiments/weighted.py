"""Correlations of values that count several times each, or not at all: of all but one network, for each in turn.

Nothing is sorted again: the ranks of what is left come from one order of the values and from how often each counts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NOTHING = 1e-12
"""The share of a variance that is rounding."""


def ranks(values: Floats, counts: Floats) -> Floats:
    """The ranks, from 1, of (n,) values that occur (..., n) times; equal ones share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    firsts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    together = np.add.reduceat(counts[..., order], firsts, axis=-1)  # of each distinct value
    found = np.cumsum(together, axis=-1) - (together - 1) / 2
    return np.asarray(found[..., np.unique(values, return_inverse=True)[1]])


def covariance(columns: Sequence[Floats], counts: Floats) -> Floats:
    """The covariances, times the number of values, of columns (..., n) that count (..., n) times: (..., k, k)."""
    values = np.stack(np.broadcast_arrays(*columns), axis=-2)
    weights = counts[..., None, :]
    deviations = values - (weights * values).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
    return np.asarray((weights * deviations) @ np.swapaxes(deviations, -1, -2))


def partial(covariances: Floats) -> Any:
    """The correlation of the first two of k columns when what the others tell is taken off: (...,) from (..., k, k).

    Of two columns alone it is their plain correlation. NaN where nothing is left.
    """
    own = np.diagonal(covariances, axis1=-2, axis2=-1)
    left = covariances
    with np.errstate(invalid="ignore", divide="ignore"):
        for given in range(2, own.shape[-1]):
            variance = left[..., given, given]
            # What the others before it tell already, or what does not vary, tells nothing more.
            factor = np.where(variance > NOTHING * own[..., given], 1 / variance, 0)
            shared = left[..., :, given]
            left = left - factor[..., None, None] * shared[..., :, None] * shared[..., None, :]
        first, second = (np.where(left[..., i, i] > NOTHING * own[..., i], left[..., i, i], np.nan) for i in (0, 1))
        return left[..., 0, 1] / np.sqrt(first * second)
