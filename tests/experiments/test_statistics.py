"""Intervals, tests and correlations: against numbers worked out by hand, and on data whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from single_directions.experiments.statistics import (
    Estimate,
    clusters,
    correlation,
    difference,
    leave_one_out,
    mean_interval,
    partial_correlation,
    share,
    spearman,
)

Z = 1.959964


def test_mean_of_few_has_a_t_interval():
    estimate = mean_interval([1, 2, 3, math.nan])
    assert (estimate.value, estimate.n) == (2, 3)
    half = 4.302653 / math.sqrt(3)  # t of two degrees of freedom, standard deviation 1
    assert (estimate.low, estimate.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)
    assert estimate.p == pytest.approx(0.0741799, rel=1e-5)


def test_difference_within_seeds_is_the_mean_of_their_differences():
    one = pd.Series([0.9, 0.6, 0.5], index=[0, 1, 2])
    other = pd.Series([0.1, 0.3, 0.7, 0.4], index=[2, 1, 0, 9])
    estimate = difference(one, other)  # 0.2, 0.3, 0.4 at seeds 0, 1, 2
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.3, 0.3 - half, 0.3 + half), rel=1e-6)
    assert estimate.n == 3
    pooled = math.sqrt((np.var([0.9, 0.6, 0.5], ddof=1) + np.var([0.1, 0.3, 0.7], ddof=1)) / 2)
    assert estimate.effect_size == pytest.approx((1 - 3 / 15) * 0.3 / pooled)


@pytest.mark.parametrize(("first", "n", "shared"), [(0, 6, 0), (2, 4, 0), (3, 6, 3), (4, 6, 2), (5, 6, 1), (6, 6, 0)])
def test_few_shared_seeds_discard_no_networks(first, n, shared):
    one = pd.Series([1.0, 2, 4, 3, 6, 5], index=range(6))
    other = pd.Series([2.0, 1, 3, 5, 4, 7], index=range(first, first + 6))
    estimate = difference(one, other)
    assert (estimate.n, estimate.shared) == (n, shared)
    assert np.isfinite([estimate.low, estimate.high, estimate.p]).all()
    if n == 6 and first:
        test = stats.ttest_ind(one, other, equal_var=False)
        assert (estimate.p, estimate.value) == pytest.approx((test.pvalue, one.mean() - other.mean()))


def test_networks_of_different_seeds_are_independent_groups():
    one, other = pd.Series([1.0, 2, 3, 4], index=range(4)), pd.Series([3.0, 4, 5, 6], index=range(4, 8))
    estimate = difference(one, other)
    half = 2.446912 * math.sqrt(5 / 12 + 5 / 12)  # Welch's t of equal variances: six degrees of freedom
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((-2, -2 - half, -2 + half), rel=1e-6)
    assert estimate.n == 4
    assert estimate.effect_size == pytest.approx((1 - 3 / 23) * -2 / math.sqrt(5 / 3))


def test_a_seed_that_occurs_twice_counts_once():
    one = pd.Series([1.0, 3.0, 5.0], index=[0, 0, 1])
    assert difference(one, pd.Series([1.0, 1.0], index=[0, 1])).value == 2.5
    assert difference(one, pd.Series([1.0, 1.0], index=[0, 1])).n == 2


def test_correlation_of_few_has_fishers_interval():
    x, y = [1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]
    pearson = correlation(x, y, "pearson")
    r = 1 - 6 * 6 / (6 * 35)  # Spearman's formula, and of ranks Pearson's too
    z, half = math.atanh(r), Z / math.sqrt(3)
    assert (pearson.value, pearson.low, pearson.high) == pytest.approx((r, math.tanh(z - half), math.tanh(z + half)))
    ranks = correlation([value**3 for value in x], y)
    wide = half * math.sqrt(1 + r**2 / 2)
    assert (ranks.value, ranks.low, ranks.high) == pytest.approx((r, math.tanh(z - wide), math.tanh(z + wide)))
    assert spearman(x, y) == pytest.approx(r)
    assert ranks.p < 0.1


def test_intervals_of_correlations_cover_nominally():
    random = np.random.default_rng(2)
    truth = 6 / math.pi * math.asin(0.6 / 2)  # Spearman's of a normal pair with Pearson's 0.6
    for networks in (8, 30):
        x, noise = random.normal(size=(2, 200, networks))
        found = [correlation(a, b) for a, b in zip(x, 0.6 * x + 0.8 * noise, strict=True)]
        assert 0.90 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


def test_partial_correlation_takes_off_what_is_given():
    random = np.random.default_rng(3)
    common, one, other = random.normal(size=(3, 200))
    x, y = common + 0.3 * one, common + 0.3 * other
    assert correlation(x, y).low > 0.8
    explained = partial_correlation(x, y, [common])
    assert explained.low < 0 < explained.high
    left = partial_correlation(x, y, [random.normal(size=200)])
    assert left.value == pytest.approx(correlation(x, y).value, abs=0.02)
    assert partial_correlation(x, y, [np.ones(200)]).value == pytest.approx(correlation(x, y).value)


def test_partial_correlation_by_hand():
    # r_xy = 0.8, r_xz = 0.6, r_yz = 0.7 of these ranks give (0.8 - 0.42) / sqrt(0.64 * 0.51).
    x, y, z = [1, 2, 3, 4, 5], [2, 1, 3, 5, 4], [2, 1, 5, 3, 4]
    r_xy, r_xz, r_yz = spearman(x, y), spearman(x, z), spearman(y, z)
    expected = (r_xy - r_xz * r_yz) / math.sqrt((1 - r_xz**2) * (1 - r_yz**2))
    assert partial_correlation(x, y, [z]).value == pytest.approx(expected)
    assert math.isnan(partial_correlation(x, y, [x]).value)  # nothing is left
    assert partial_correlation(x, y, [z, z, np.ones(5)]).value == pytest.approx(expected)  # given twice is given once


def test_leaving_one_out():
    x, y = np.arange(6.0), np.array([5.0, 4, 3, 2, 1, 9])
    values = leave_one_out(x, y)
    assert values[5] == pytest.approx(-1)
    assert values[0] == pytest.approx(spearman(x[1:], y[1:]))
    assert len(values) == 6


def test_clusters_are_found_where_there_are_some():
    random = np.random.default_rng(4)
    x, y = random.normal(size=(2, 60))
    assert set(clusters(x, y)) == {0}
    x[:20] -= 12
    labels = clusters(x, y)
    assert list(labels) == [0] * 20 + [1] * 40  # in order of x
    assert set(clusters(x[:9], y[:9])) == {0}
    assert set(clusters(np.ones(20), y[:20])) == {0}


def test_one_cloud_of_few_networks_is_not_split():
    random = np.random.default_rng(5)
    clouds = random.multivariate_normal([0, 0], [[1, -0.5], [-0.5, 1]], size=(15, 20))
    assert not any(clusters(*cloud.T).any() for cloud in clouds)


def test_networks_of_one_seed_count_once():
    # Copies of 12 networks, as if at other learning rates, tell nothing new.
    random = np.random.default_rng(6)
    x, y = random.normal(size=(2, 12)) + random.normal(size=12)
    one, seeds = correlation(x, y), [*range(12)] * 5
    copied = correlation(np.tile(x, 5), np.tile(y, 5), blocks=seeds)
    assert (copied.value, copied.low, copied.high) == pytest.approx((one.value, one.low, one.high), abs=1e-9)
    assert (copied.n, copied.p) == (12, pytest.approx(one.p))
    independent = correlation(np.tile(x, 5), np.tile(y, 5))
    assert independent.high - independent.low < 0.6 * (one.high - one.low)
    given = np.cos(np.arange(12))
    partial = partial_correlation(np.tile(x, 5), np.tile(y, 5), [np.tile(given, 5)], seeds)
    assert (partial.low, partial.n) == (pytest.approx(partial_correlation(x, y, [given]).low, abs=1e-9), 12)


def drawn(kind, n, random):
    """An estimate from simulated values, in about half of which there is something to find."""
    x, y = random.normal(size=(2, n)) + 1.2 * random.integers(2) / n**0.5 * 2
    if kind == "mean":
        return mean_interval(x)
    if kind == "bounded mean":
        return mean_interval(np.tanh(x), (-1, 1))
    if kind == "paired":
        return difference(pd.Series(x), pd.Series(0.5 * random.normal(size=n)))
    if kind == "independent":
        return difference(pd.Series(x), pd.Series(3 * random.normal(size=n + 3), range(100, 103 + n)))
    if kind == "share":
        return share(int(random.integers(n + 1)), n)
    related = x + random.integers(-2, 3) * y
    blocks = np.arange(n) // 2 if kind == "blocks" else None
    return correlation(x, related, "pearson" if kind == "pearson" else "spearman", blocks)


@pytest.mark.parametrize(
    "kind", ["mean", "bounded mean", "paired", "independent", "share", "spearman", "pearson", "blocks"]
)
def test_interval_and_p_agree(kind):
    random = np.random.default_rng(8)
    decided = []
    for n in [4, 5, 6, 9, 10, 11, 30] * 12:
        estimate = drawn(kind, n, random)
        if not math.isnan(estimate.p):
            excluded = not estimate.low <= estimate.null <= estimate.high
            assert excluded == (estimate.p < 0.05)
            decided.append(excluded)
    assert 5 < sum(decided) < len(decided) - 5  # both happen


def test_p_of_a_bound_without_any_spread_and_of_a_share():
    assert mean_interval([0.2, 0.2]).p_of(0.2) == 1
    assert mean_interval([0.2, 0.2]).p_of(0.1) == 0
    assert math.isnan(share(3, 4).p_of(0.1))


@pytest.mark.parametrize("effect", [0.5, 1.0, 3.0])
def test_more_networks_of_the_same_effect_never_weaken_it(effect):
    """The same mean and the same spread, of ever more networks."""
    before = {"mean": 1.0, "difference": 1.0, "correlation": 1.0, "share": 1.0}
    for n in range(4, 41):
        values = np.random.default_rng(0).normal(size=n)
        values = effect + (values - values.mean()) / values.std(ddof=1)
        x, y = np.linspace(-1, 1, n), np.random.default_rng(1).normal(size=n)
        y -= np.polyval(np.polyfit(x, y, 1), x)
        y = x / x.std() + effect * y / y.std()
        now = {
            "mean": mean_interval(values).p,
            "difference": difference(pd.Series(values), pd.Series(0 * values, range(100, 100 + n))).p,
            "correlation": correlation(x, y, "pearson").p,
            "share": share(n, n).p,
        }
        assert {name for name, p in now.items() if p > before[name]} == set()
        before = now


def test_mean_correlations_lie_where_correlations_can():
    estimate = mean_interval([0.59, -0.63, 0.78, -0.53], (-1, 1))
    whole = mean_interval([0.59, -0.63, 0.78, -0.53])
    assert (whole.low, whole.high) == pytest.approx((-1.118, 1.223), abs=1e-3)
    assert (estimate.low, estimate.high, estimate.value, estimate.p) == (-1, 1, whole.value, whole.p)
    assert mean_interval([0.5, 0.52, 0.54], (-1, 1)).low == mean_interval([0.5, 0.52, 0.54]).low > 0


def test_share_by_hand():
    none = share(0, 5)
    # Of no success in 5 the upper end solves (1 - x)^5 = 0.025.
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(1 - 0.025**0.2))
    assert none.p == pytest.approx(2 / 32)
    assert share(6, 6).low == pytest.approx(0.025 ** (1 / 6))
    assert share(6, 6).p == pytest.approx(2 / 64)
    assert share(2, 4).p == 1
    assert share(0, 0) == Estimate(null=0.5)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 9, 10, 12])
@pytest.mark.parametrize("kind", ["equal", "nan", "perfect", "one differs"])
def test_degenerate_values_give_no_error(n, kind):
    x = np.arange(n, dtype=float)
    y = {"equal": np.ones(n), "nan": np.full(n, np.nan), "perfect": -x, "one differs": (x == 0) * 1.0}[kind]
    one, other = pd.Series(y, dtype=float), pd.Series(np.ones(n), index=100 + x)
    estimates = [
        mean_interval(y),
        mean_interval(y - y),
        mean_interval(y, (-20, 20)),
        share(n, n),
        difference(one, one),
        difference(one, other),
        correlation(x, y),
        correlation(x, y, "pearson"),
        partial_correlation(x, y, [y, x**2]),
    ]
    for estimate in estimates:
        assert math.isnan(estimate.low) == math.isnan(estimate.high)
        assert not estimate.low > estimate.high
    assert len(leave_one_out(x, y)) == len(clusters(x, y)) == n
    if kind == "equal" and n > 1:
        assert mean_interval(y) == Estimate(1, 1, 1, n, 0.0, error=0.0, freedom=n - 1)
        tie = difference(one, one)
        assert (tie.value, tie.low, tie.high, tie.p) == (0, 0, 0, 1)
        assert math.isnan(correlation(x, y).value)
    if kind == "perfect" and n > 9:
        assert (correlation(x, y).low, correlation(x, y).high) == pytest.approx((-1, -1))
