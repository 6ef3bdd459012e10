"""The rule that turns numbers into a verdict."""

import math
from functools import partial

import pytest

from single_directions.report.claims.claim import (
    NEGATIVE,
    POSITIVE,
    Claim,
    Finding,
    holds,
    outcome,
    plain,
    verdict,
)
from single_directions.report.statistics import Estimate

claim = partial(Claim, name="a", figures={}, paper="", statistic="", where="", find=lambda tables: Finding({}))


@pytest.mark.parametrize(
    ("low", "high", "n", "region", "said"),
    [
        (0.1, 0.3, 4, POSITIVE, True),
        (-0.1, 0.3, 4, POSITIVE, None),
        (-0.3, -0.1, 4, POSITIVE, False),
        (-0.3, -0.1, 4, NEGATIVE, True),
        (0.1, 0.3, 3, POSITIVE, None),  # too few networks
        (-0.3, -0.1, 3, POSITIVE, None),
        (0.0, 0.3, 4, POSITIVE, None),  # touches zero
        (0.0, 0.0, 9, POSITIVE, None),  # a tie
        (0.0, 0.0, 9, NEGATIVE, None),
        (math.nan, math.nan, 9, POSITIVE, None),
        (-0.04, 0.04, 4, (-0.05, 0.05), True),
        (-0.06, 0.04, 4, (-0.05, 0.05), None),
        (0.06, 0.08, 4, (-0.05, 0.05), False),
        (1.0, 1.0, 4, (0.99, math.inf), True),
    ],
)
def test_where_an_interval_lies(low, high, n, region, said):
    assert holds(Estimate((low + high) / 2, low, high, n), region) is said


def test_weakest_part_decides():
    strong, weak = Estimate(0.5, 0.4, 0.6, 6, p=0.001), Estimate(0.2, 0.1, 0.3, 5, p=0.02)
    wide, opposed = Estimate(0.2, -1.0, 1.4, 7, p=0.6), Estimate(-0.1, -0.2, -0.05, 9, p=0.01)
    judged = partial(outcome, claim=claim(region=POSITIVE))
    both = judged(Finding({"a": strong, "b": weak}))
    assert (both.label, both.holds, both.p, both.estimate.value, both.estimate.n) == ("b", True, 0.02, 0.2, 5)
    open_ = judged(Finding({"a": strong, "b": wide}))
    assert (open_.label, open_.holds, open_.p) == ("b", None, 0.6)
    against = judged(Finding({"a": strong, "b": wide, "c": opposed}))
    assert (against.label, against.holds) == ("c", False)
    assert against.p == pytest.approx(0.03)  # any of three could have been opposed
    assert judged(Finding({"a": opposed, "b": Estimate()})).estimate.n == 9  # what is not known refutes nothing
    assert judged(Finding({"a": strong, "b": weak}, descriptive=True)).holds is None


def test_nothing_to_judge_decides_nothing():
    nothing = outcome(Finding({}), claim(region=POSITIVE))
    assert (nothing.holds, nothing.estimate.n) == (None, 0)
    undefined = outcome(Finding({"a": Estimate(0.5, 0.4, 0.6, 6, p=0.1), "b": Estimate(n=4)}), claim(region=POSITIVE))
    assert (undefined.label, undefined.holds) == ("b", None)
    assert math.isnan(undefined.p)


def test_margins_have_no_p():
    part = Estimate(0.01, -0.02, 0.03, 6, p=0.4)
    assert math.isnan(outcome(Finding({"a": part}), claim(region=(-0.05, 0.05))).p)
    assert "Holm" not in claim(region=(-0.05, 0.05)).rule(1)
    assert "Holm" in claim(region=POSITIVE).rule(1)
    assert "every one of the levels" in claim(region=POSITIVE, several="levels").rule(2)
    assert "every" not in claim(region=POSITIVE, several="levels").rule(1)


@pytest.mark.parametrize(
    ("said", "p", "paper", "demo"),
    [
        (True, 0.01, "reproduced", "holds on digits"),
        (True, math.nan, "reproduced", "holds on digits"),
        (False, 0.01, "not reproduced", "does not hold on digits"),
        (None, 0.01, "inconclusive", "inconclusive on digits"),
        (True, 0.05, "inconclusive", "inconclusive on digits"),
        (False, 0.5, "inconclusive", "inconclusive on digits"),
    ],
)
def test_words_of_the_verdict(said, p, paper, demo):
    assert verdict(said, p, "paper", "mnist") == paper
    assert verdict(said, p, "demo", "digits") == demo


def test_plain_is_what_json_knows():
    assert plain({"a": Estimate(1.0), "b": [math.nan, math.inf, (1, True)], 3: None})["b"] == [None, None, [1, True]]
    assert plain(Estimate(1.0))["low"] is None


def test_numbers_are_written_without_the_digits_that_differ_between_processors():
    value, other = -0.40414107022856355, -0.4041410702285636  # one correlation on two machines
    assert plain(value) == plain(other) == -0.4041410702
    assert plain({"p": [1e-5 / 3, 12_345_678_901.5], "n": 12_345_678_901}) == {
        "p": [3.333333333e-06, 12_345_678_900],
        "n": 12_345_678_901,
    }
