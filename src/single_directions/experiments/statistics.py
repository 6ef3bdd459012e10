"""Intervals, tests and correlations. The network is the unit of inference: each value stands for one network.

One method for each kind of number gives both its 95 % interval and its p value, however many networks there are. So the
two agree, and more networks of the same effect never weaken a verdict:

- means and differences: Student's t (Welch's where the groups share too few seeds);
- correlations: Fisher's z (with Bonett and Wright's variance for Spearman's). Where networks share seeds, n is the
  number of seeds. This is cautious: networks of one seed count as if they were one;
- shares: Clopper and Pearson's exact interval, and the exact binomial test.

P values are two-sided. Values that are not numbers are left out. What cannot be computed is NaN, never an error: there
may be too few values, or they may be equal.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import inf, nan

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.mixture import GaussianMixture

Floats = NDArray[np.float64]

LEAST_NETWORKS = 4
"""A side with fewer networks decides nothing."""
CONFIDENCE = 0.95
ENOUGH_FOR_CLUSTERS = 10
"""Fewer networks are one cluster."""
VERY_STRONG = 10
"""More clusters are taken if they lower the BIC by more."""
NOTHING = 1e-12
"""The share of a number, or of a variance, that is rounding."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value, low, high: the number and the ends of its interval.
        n: how many networks, on the side with fewer; of pairs, where networks of one seed are compared; of seeds, for
            correlations of networks that share seeds.
        p: two-sided, of the true number being `null`.
        effect_size: Hedges' g, the difference in standard deviations between networks; the correlation itself.
        error, freedom: the standard error and the degrees of freedom of Student's t, where interval and p come from it.
        null: 0; of a share one half.
        shared: how many seeds two groups share, where these are too few to pair and the groups were compared as
            independent.
    """

    value: float = nan
    low: float = nan
    high: float = nan
    n: int = 0
    p: float = nan
    effect_size: float = nan
    error: float = nan
    freedom: float = nan
    null: float = 0.0
    shared: int = 0

    def p_of(self, bound: float) -> float:
        """The two-sided p of the true number being `bound`, by the method that the interval comes from.

        Below 0.05 exactly where the whole interval lies on one side of the bound. NaN for correlations and shares at
        other bounds than `null`.
        """
        if bound == self.null:
            return self.p
        if self.error == 0:
            return float(self.value == bound)
        return float(2 * stats.t.sf(abs(self.value - bound) / self.error, self.freedom))


def mean_interval(values: ArrayLike, bounds: tuple[float, float] = (-inf, inf)) -> Estimate:
    """The mean of one value per network, tested against zero.

    `bounds` are the least and the greatest possible value, as -1 and 1 of correlations. Student's interval is cut
    there. It covers the true mean as often as before, since that cannot lie outside.
    """
    x = np.asarray(values, dtype=float).ravel()
    x = x[np.isfinite(x)]
    n = len(x)
    if n < 2:
        return Estimate(x[0] if n else nan, n=n)
    estimate = _student(float(x.mean()), _error(x), n - 1, n)
    return replace(estimate, low=max(bounds[0], estimate.low), high=min(bounds[1], estimate.high))


def difference(one: pd.Series, other: pd.Series) -> Estimate:
    """The mean of `one` minus that of `other`; both hold one value per network, by seed.

    Differences are taken within the seeds that both hold; networks of other seeds are left out. If that would leave
    fewer than 4 pairs out of more networks, or fewer than 2 pairs, the two are compared as independent groups (Welch).
    """
    # Networks of one seed count as one, by their mean.
    one, other = (values.astype(float).dropna().groupby(level=0).mean() for values in (one, other))
    seeds = one.index.intersection(other.index)
    paired = len(seeds) >= min(LEAST_NETWORKS, max(2, min(len(one), len(other))))
    a, b = (np.asarray(values[seeds] if paired else values, dtype=float) for values in (one, other))
    if paired:
        return replace(mean_interval(a - b), effect_size=_hedges(a, b))
    return replace(_independent(a, b), shared=len(seeds))


def share(successes: int, n: int) -> Estimate:
    """The share of `n` networks that do something: Clopper and Pearson's interval, tested against one half."""
    if n == 0:
        return Estimate(null=0.5)
    test = stats.binomtest(successes, n)
    low, high = test.proportion_ci(CONFIDENCE, "exact")
    return Estimate(successes / n, float(low), float(high), n, float(test.pvalue), null=0.5)


def least_decisive(level: float) -> int:
    """The fewest networks of which a share can have a p below `level`: the share of all, or of none."""
    return next(n for n in count(1) if share(n, n).p < level)


def correlation(x: ArrayLike, y: ArrayLike, kind: str = "spearman", blocks: ArrayLike | None = None) -> Estimate:
    """Spearman's or Pearson's correlation of two values per network.

    `blocks` are the networks' seeds where networks share some: `n` is then the number of seeds.
    """
    (a, b), n = _complete([x, y], blocks)
    if n < 3 or _all_equal(a) or _all_equal(b):
        return Estimate(n=n)
    if kind == "pearson":
        return _fisher(float(stats.pearsonr(a, b).statistic), n, n - 3, ranks=False)
    return _fisher(float(stats.spearmanr(a, b).statistic), n, n - 3)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's correlation alone; NaN where it is not defined."""
    (a, b), _ = _complete([x, y])
    if len(a) < 2 or not np.ptp(a) or not np.ptp(b):
        return nan
    return float(stats.spearmanr(a, b).statistic)


def partial_correlation(
    x: ArrayLike, y: ArrayLike, given: Sequence[ArrayLike], blocks: ArrayLike | None = None
) -> Estimate:
    """Spearman's correlation of what a linear fit to the ranks of `given` leaves of the ranks of x and of y.

    `blocks` as in `correlation`.
    """
    columns, n = _complete([x, y, *given], blocks)
    if n < 3 or any(_all_equal(column) for column in columns[:2]):
        return Estimate(n=n)
    ranks = [stats.rankdata(column) for column in columns if not _all_equal(column)]
    ranks = [column - column.mean() for column in ranks]
    left = []
    for column in ranks[:2]:
        predictors = np.stack([*ranks[2:], np.zeros_like(column)], axis=1)
        left.append(column - predictors @ np.linalg.lstsq(predictors, column, rcond=None)[0])
        if left[-1].var() <= NOTHING * column.var():
            return Estimate(n=n)
    return _fisher(float(np.corrcoef(*left)[0, 1]), n, n - 3 - (len(ranks) - 2))


def leave_one_out(x: ArrayLike, y: ArrayLike) -> Floats:
    """Spearman's correlation without each network in turn, (networks,): how much rests on single ones."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return np.array([spearman(np.delete(a, i), np.delete(b, i)) for i in range(len(a))])


def clusters(x: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
    """The cluster of each network in a plane, from 0 in order of x: a Gaussian mixture of 1 to 3 components.

    The fewest clusters with a BIC within 10 of the lowest are taken; a larger difference is very strong evidence
    (Kass & Raftery 1995). All components have one shape. With a shape each and the lowest BIC, 20 networks out of a
    single Gaussian are split in more than half of simulations. Fewer than 10 networks are one cluster.
    """
    plane = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)], axis=1)
    few = len(plane) < ENOUGH_FOR_CLUSTERS or not np.isfinite(plane).all()
    if few or any(_all_equal(values) for values in plane.T):
        return np.zeros(len(plane), dtype=np.int64)
    plane = (plane - plane.mean(0)) / plane.std(0)
    with warnings.catch_warnings(action="ignore"):  # of values that are nearly equal
        mixtures = [GaussianMixture(k, covariance_type="tied", n_init=5, random_state=0).fit(plane) for k in (1, 2, 3)]
    criteria = [mixture.bic(plane) for mixture in mixtures]
    fewest = next(k for k, criterion in enumerate(criteria) if criterion - min(criteria) <= VERY_STRONG)
    labels = mixtures[fewest].predict(plane)
    ordered = sorted(set(labels), key=lambda label: plane[labels == label, 0].mean())
    return np.array([ordered.index(label) for label in labels], dtype=np.int64)


def _independent(a: Floats, b: Floats) -> Estimate:
    """Welch's comparison of the means of two groups."""
    n = min(len(a), len(b))
    value = float(a.mean() - b.mean()) if n else nan
    if n < 2:
        return Estimate(value, n=n)
    one, other = _error(a) ** 2, _error(b) ** 2
    apart = one**2 / (len(a) - 1) + other**2 / (len(b) - 1)
    freedom = (one + other) ** 2 / apart if apart else len(a) + len(b) - 2.0
    return replace(_student(value, (one + other) ** 0.5, freedom, n), effect_size=_hedges(a, b))


def _student(value: float, error: float, freedom: float, n: int) -> Estimate:
    """Interval and p by Student's t; without any spread, their limits as it vanishes."""
    if error == 0:
        return Estimate(value, value, value, n, float(value == 0), error=0.0, freedom=freedom)
    low, high = stats.t.interval(CONFIDENCE, freedom, value, error)
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, float(low), float(high), n, p, error=error, freedom=freedom)


def _error(x: Floats) -> float:
    """The standard error of a mean; 0 for values that differ by no more than rounding."""
    return 0.0 if _all_equal(x) else float(x.std(ddof=1) / len(x) ** 0.5)


def _hedges(a: Floats, b: Floats) -> float:
    freedom = len(a) + len(b) - 2
    if freedom < 2 or (_all_equal(a) and _all_equal(b)):
        return nan
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom
    return float((1 - 3 / (4 * freedom - 1)) * (a.mean() - b.mean()) / pooled**0.5)


def _fisher(r: float, n: int, freedom: int, ranks: bool = True) -> Estimate:
    """A correlation with its interval and its p by Fisher's z, which has a larger variance if it is one of `ranks`."""
    if freedom < 1:
        return Estimate(r, n=n, effect_size=r)
    error = ((1 + r**2 / 2 if ranks else 1.0) / freedom) ** 0.5  # Bonett & Wright 2000
    with np.errstate(divide="ignore"):  # at a perfect correlation z is infinite, and its interval a point
        z = float(np.arctanh(np.clip(r, -1, 1)))
    low, high = np.tanh(z + error * np.array(stats.norm.interval(CONFIDENCE)))
    return Estimate(r, float(low), float(high), n, float(2 * stats.norm.sf(abs(z) / error)), effect_size=r)


def _complete(columns: Sequence[ArrayLike], blocks: ArrayLike | None = None) -> tuple[list[Floats], int]:
    """The columns of the networks that have all numbers, and how many networks, or blocks, these are."""
    values = np.array(columns, dtype=float)
    complete = np.isfinite(values).all(0)
    own = np.arange(len(complete)) if blocks is None else np.asarray(blocks, dtype=float)
    return list(values[:, complete]), len(set(own[complete]))


def _all_equal(x: Floats) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(x) <= NOTHING * max(1.0, float(np.abs(x).max())))
