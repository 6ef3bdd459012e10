"""Values that count several times, against the same values written out that often."""

import numpy as np
import pytest
from scipy import stats

from single_directions.experiments.weighted import covariance, partial, ranks

VALUES = np.array([[3.0, 1, 2, 2, 5], [1.0, 4, 1, 5, 9], [2.0, 7, 1, 8, 2]])
DRAWN = np.array([[0, 1, 2, 3, 4], [4, 4, 0, 2, 3], [1, 2, 2, 0, 0]])
COUNTS = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 2], [2, 1, 2, 0, 0]])  # how often each is drawn


def test_ranks_are_those_of_the_values_written_out():
    for drawn, found in zip(DRAWN, ranks(VALUES[0], COUNTS), strict=True):
        assert found[drawn].tolist() == stats.rankdata(VALUES[0][drawn]).tolist()


def test_partial_correlation_is_that_of_what_a_fit_leaves():
    found = partial(covariance(list(VALUES), COUNTS))
    for drawn, each in zip(DRAWN, found, strict=True):
        x, y, given = VALUES[:, drawn]
        left = [values - np.polyval(np.polyfit(given, values, 1), given) for values in (x, y)]
        assert each == pytest.approx(stats.pearsonr(*left).statistic)


def test_given_twice_is_given_once_and_what_is_constant_tells_nothing():
    x, y, given = VALUES
    once = partial(covariance([x, y, given], COUNTS))
    assert partial(covariance([x, y, given, np.ones(5), 2 * given], COUNTS)) == pytest.approx(once)
    assert np.isnan(partial(covariance([x, y, x], COUNTS))).all()
