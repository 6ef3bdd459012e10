"""Intervals, tests and correlations, with the network as the unit of inference: each value stands for one network.

Intervals are 95 %: Student's t (Fisher's z for correlations) below 10 networks, the bias-corrected and accelerated
bootstrap from 10 on. P values are two-sided and come from the same assumption: t tests below 10 networks, permutation
tests from 10 on; correlations by permutation, save where networks share seeds. Values that are not numbers are left
out. What cannot be computed (too few values, values that are all equal) is NaN, never an error.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, factorial, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.mixture import GaussianMixture

from single_directions.report.weighted import Floats, counts_of, covariance, partial, ranks

CONFIDENCE = 0.95
FEW = 10
"""Networks below which an interval rests on the normal distribution instead of on resampling."""
RESAMPLES = 9999
BATCH = 500
"""Resamples at once: as many as the processor's cache holds."""
VERY_STRONG = 10
"""How much lower a BIC is that decides for more clusters."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value, low, high: the number and the ends of its interval.
        n: how many networks, on the side with fewer; of pairs, where networks of one seed are compared.
        p: two-sided, of the value being zero.
        p_permutation: the same by permutation.
        p_permutation_least: the smallest that it can be, which from few networks is not small.
        effect_size: Hedges' g, the difference in standard deviations between networks; the correlation itself.
    """

    value: float = nan
    low: float = nan
    high: float = nan
    n: int = 0
    p: float = nan
    p_permutation: float = nan
    p_permutation_least: float = nan
    effect_size: float = nan


def mean_interval(values: ArrayLike) -> Estimate:
    """The mean of one value a network, tested against zero."""
    x = _numbers(values)
    n = len(x)
    if n < 2:
        return Estimate(x[0] if n else nan, n=n)
    mean = float(x.mean())
    permutation = _exchanged((x, -x), "samples"), 2 / 2**n  # a value and its negative
    if _all_equal(x):  # no spread to judge by: what a t test tends to
        p = 1.0 if mean == 0 else 0.0
        return Estimate(mean, mean, mean, n, p, *permutation)
    if n < FEW:
        with _quiet():
            test = stats.ttest_1samp(x, 0)
            low, high = test.confidence_interval(CONFIDENCE)
        return Estimate(mean, float(low), float(high), n, float(test.pvalue), *permutation)
    low, high, _ = _bootstrap((x,), np.mean)
    return Estimate(mean, low, high, n, permutation[0], *permutation)


def difference(one: pd.Series, other: pd.Series) -> Estimate:
    """The mean of `one` minus that of `other`; both hold one value a network, by seed.

    Seeds that both hold are blocks: their differences are taken within a seed, and networks of other seeds are left
    out. Without two such seeds the two are compared as independent groups (Welch).
    """
    one, other = (_by_seed(values) for values in (one, other))
    seeds = one.index.intersection(other.index)
    if len(seeds) >= 2:
        one, other = one[seeds], other[seeds]
        paired = mean_interval(one.to_numpy() - other.to_numpy())
        return Estimate(**{**vars(paired), "effect_size": _hedges(one.to_numpy(), other.to_numpy())})
    return _independent(one.to_numpy(), other.to_numpy())


def correlation(x: ArrayLike, y: ArrayLike, kind: str = "spearman", blocks: ArrayLike | None = None) -> Estimate:
    """Spearman's or Pearson's correlation of two values a network.

    `blocks` are the networks' seeds where networks share some: then a seed is the unit. They are resampled by whole
    seeds, `n` is the number of seeds, and p comes from what the interval rests on, Fisher's z or the bootstrap.
    """
    columns, places = _complete([x, y], blocks)
    a, b = columns
    n = len(set(places))
    if n < 3 or _all_equal(a) or _all_equal(b):
        return Estimate(n=n)
    value = float((stats.spearmanr if kind == "spearman" else stats.pearsonr)(a, b).statistic)
    # Of ranks, z has the larger variance (Bonett & Wright 2000).
    variance = 1 + value**2 / 2 if kind == "spearman" else 1.0
    if n < FEW:
        low, high = _fisher(value, n - 3, variance)
    else:
        low, high, drawn = _resampled(columns, places, ranked=kind == "spearman")
    if n == len(a):
        p = _paired_by_chance(*((stats.rankdata(a), stats.rankdata(b)) if kind == "spearman" else (a, b)))
        return Estimate(value, low, high, n, p, p, min(1.0, 2 / factorial(n)), value)
    p = _fisher_p(value, n - 3, variance) if n < FEW else _beyond(drawn)
    return Estimate(value, low, high, n, p, effect_size=value)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's correlation alone; NaN where it is not defined."""
    (a, b), _ = _complete([x, y])
    return float(_spearman(a, b, np.ones(len(a)))) if len(a) > 1 else nan


def partial_correlation(
    x: ArrayLike, y: ArrayLike, given: Sequence[ArrayLike], blocks: ArrayLike | None = None
) -> Estimate:
    """Spearman's correlation of x and y that is left when what the ranks of `given` explain is taken from both.

    What does not vary explains nothing. `blocks` as in `correlation`.
    """
    columns, places = _complete([x, y, *given], blocks)
    n = len(set(places))
    if n < 3 or any(_all_equal(column) for column in columns[:2]):
        return Estimate(n=n)
    columns = [*columns[:2], *(column for column in columns[2:] if not _all_equal(column))]
    value = float(partial(covariance([stats.rankdata(column) for column in columns], np.ones(len(places)))))
    if not np.isfinite(value):
        return Estimate(n=n)
    if n < FEW:
        low, high = _fisher(value, n - 3 - (len(columns) - 2), 1 + value**2 / 2)
    else:
        low, high, _ = _resampled(columns, places, ranked=True)
    return Estimate(value, low, high, n, effect_size=value)


def leave_one_out(x: ArrayLike, y: ArrayLike) -> Floats:
    """Spearman's correlation without each network in turn, (networks,): how much rests on single ones."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 3:
        return np.full(len(a), nan)
    return np.asarray(_spearman(a, b, 1 - np.eye(len(a))))


def clusters(x: ArrayLike, y: ArrayLike, most: int = 3) -> NDArray[np.int64]:
    """The cluster of each network in a plane, from 0 in order of x: a Gaussian mixture of 1 to `most` components.

    Their number is the fewest than which none has a BIC lower by more than 10, very strong evidence (Kass & Raftery
    1995). The components have one shape. Each with its own, chosen by the lowest BIC alone, splits 20 networks
    out of a single Gaussian in more than half of simulations. Fewer than 10 networks are one cluster.
    """
    plane = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)], axis=1)
    one = np.zeros(len(plane), dtype=np.int64)
    if len(plane) < FEW or any(_all_equal(values) for values in plane.T) or not np.isfinite(plane).all():
        return one
    plane = (plane - plane.mean(0)) / plane.std(0)
    with _quiet():
        mixtures = [
            GaussianMixture(k, covariance_type="tied", n_init=5, random_state=0).fit(plane) for k in range(1, most + 1)
        ]
    criteria = [mixture.bic(plane) for mixture in mixtures]
    fewest = next(k for k, criterion in enumerate(criteria) if criterion - min(criteria) <= VERY_STRONG)
    labels = mixtures[fewest].predict(plane)
    ordered = sorted(set(labels), key=lambda label: plane[labels == label, 0].mean())
    return np.array([ordered.index(label) for label in labels], dtype=np.int64)


def holm(p: Sequence[float]) -> list[float]:
    """P values corrected for being several: the chance of any false rejection stays what is asked (Holm 1979)."""
    corrected, largest = [nan] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def _independent(a: Floats, b: Floats) -> Estimate:
    n = min(len(a), len(b))
    value = float(a.mean() - b.mean()) if n else nan
    if n < 2:
        return Estimate(value, n=n)
    permutation = _exchanged((a, b), "independent"), min(1.0, 2 / comb(len(a) + len(b), len(a)))
    if _all_equal(a) and _all_equal(b):
        return Estimate(value, value, value, n, 1.0 if value == 0 else 0.0, *permutation)
    size = _hedges(a, b)
    if n < FEW:
        with _quiet():
            test = stats.ttest_ind(a, b, equal_var=False)
            low, high = test.confidence_interval(CONFIDENCE)
        return Estimate(value, float(low), float(high), n, float(test.pvalue), *permutation, size)
    low, high, _ = _bootstrap((a, b), _mean_difference)
    return Estimate(value, low, high, n, permutation[0], *permutation, size)


def _bootstrap(samples: tuple[Any, ...], statistic: Callable[..., Any]) -> tuple[float, float, Floats]:
    """A BCa interval, or percentiles where BCa is not defined (resampling changes nothing), and what was drawn."""
    with _quiet():
        result = stats.bootstrap(
            samples,
            statistic,
            n_resamples=RESAMPLES,
            batch=BATCH,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(0),
        )
        low, high = result.confidence_interval
        if not np.isfinite([low, high]).all():
            low, high = np.nanquantile(result.bootstrap_distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high), result.bootstrap_distribution


def _resampled(columns: Sequence[Floats], places: NDArray[np.int64], ranked: bool) -> tuple[float, float, Floats]:
    """The bootstrap of the (partial) correlation of the first two columns; networks in one place are drawn together."""
    number = int(places.max()) + 1

    def statistic(drawn: NDArray[Any], axis: int = -1) -> Any:
        counts = counts_of(drawn, number)[..., places]
        return partial(covariance([ranks(own, counts) for own in columns] if ranked else columns, counts))

    return _bootstrap((np.arange(number),), statistic)


def _beyond(resampled: Floats) -> float:
    """P of zero, two-sided, as the share of resamples on its other side."""
    known = resampled[np.isfinite(resampled)]
    return float(min(1, 2 * (1 + min((known <= 0).sum(), (known >= 0).sum())) / (1 + len(known))))


def _paired_by_chance(a: Floats, b: Floats) -> float:
    """P of no correlation, by pairing the values anew."""
    with _quiet():
        result = stats.permutation_test(
            (a,),
            lambda a, axis=-1: partial(covariance([a, b], np.ones(len(b)))),
            permutation_type="pairings",
            n_resamples=RESAMPLES,
            batch=BATCH,
            vectorized=True,
            rng=np.random.default_rng(0),
        )
    return float(result.pvalue)


def _exchanged(samples: tuple[Floats, Floats], kind: str) -> float:
    """P of equal means, by exchanging values between groups ("independent") or within pairs ("samples")."""
    with _quiet():
        result = stats.permutation_test(
            samples,
            _mean_difference,
            permutation_type=kind,
            n_resamples=RESAMPLES,
            vectorized=True,
            rng=np.random.default_rng(0),
        )
    return float(result.pvalue)


def _mean_difference(a: Floats, b: Floats, axis: int = -1) -> Any:
    return a.mean(axis) - b.mean(axis)


def _hedges(a: Floats, b: Floats) -> float:
    freedom = len(a) + len(b) - 2
    if freedom < 2 or (_all_equal(a) and _all_equal(b)):
        return nan
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom
    return float((1 - 3 / (4 * freedom - 1)) * (a.mean() - b.mean()) / pooled**0.5)


def _fisher(r: float, freedom: int, variance: float) -> tuple[float, float]:
    if freedom < 1:
        return nan, nan
    with np.errstate(divide="ignore"):  # at a perfect correlation z is infinite, and its interval a point
        z, half = np.arctanh(np.clip(r, -1, 1)), stats.norm.ppf((1 + CONFIDENCE) / 2) * (variance / freedom) ** 0.5
    return float(np.tanh(z - half)), float(np.tanh(z + half))


def _fisher_p(r: float, freedom: int, variance: float) -> float:
    if freedom < 1:
        return nan
    with np.errstate(divide="ignore"):
        return float(2 * stats.norm.sf(abs(np.arctanh(np.clip(r, -1, 1))) / (variance / freedom) ** 0.5))


def _spearman(a: Floats, b: Floats, counts: Floats) -> Any:
    return partial(covariance([ranks(a, counts), ranks(b, counts)], counts))


def _by_seed(values: pd.Series) -> pd.Series:
    """One value a seed: a network trained twice counts once."""
    return values.astype(float).dropna().groupby(level=0).mean()


def _numbers(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=float).ravel()
    return x[np.isfinite(x)]


def _complete(columns: Sequence[ArrayLike], blocks: ArrayLike | None = None) -> tuple[list[Floats], NDArray[np.int64]]:
    """The networks that have all their numbers, and the place of each one's block (its own where there are none)."""
    values = np.array(columns, dtype=float)
    complete = np.isfinite(values).all(0)
    own = np.arange(len(complete)) if blocks is None else np.asarray(blocks, dtype=float)
    return list(values[:, complete]), np.unique(own[complete], return_inverse=True)[1]


def _all_equal(x: Floats) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(x) <= 1e-12 * max(1.0, float(np.abs(x).max())))


def _quiet() -> warnings.catch_warnings:
    """Within it nothing is said about values that are (nearly) equal: what comes of them is NaN, and handled."""
    return warnings.catch_warnings(action="ignore")
