"""The rule that turns numbers into a verdict."""

import math
from dataclasses import fields
from functools import partial

import numpy as np
import pytest

from single_directions.experiments.claim import (
    ALIKE,
    NEGATIVE,
    POSITIVE,
    SUBSTANTIAL,
    Claim,
    Finding,
    holds,
    outcome,
    p_of,
)
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, papers
from single_directions.experiments.judge import Judgement, family_size, plain
from single_directions.experiments.statistics import Estimate, mean_interval, share
from single_directions.experiments.sweeps import Sweep

claim = partial(Claim, name="a", paper="", statistic="", where="", find=lambda tables: Finding({}))


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
    assert (both.label, both.holds, both.p, both.value, both.n) == ("b", True, 0.02, 0.2, 5)
    open_ = judged(Finding({"a": strong, "b": wide}))
    assert (open_.label, open_.holds, open_.p, open_.p_label) == ("b", None, 0.6, "b")
    sure, vague = Estimate(0.2, 0.1, 0.3, 4, p=0.001), Estimate(0.6, 0.2, 1.0, 4, p=0.02)
    apart = judged(Finding({"sure": sure, "vague": vague}))
    assert (apart.label, apart.p, apart.p_label) == ("sure", 0.02, "vague")  # the value of one, the p of the other
    against = judged(Finding({"a": strong, "b": wide, "c": opposed}))
    assert (against.label, against.holds) == ("c", False)
    assert against.p == pytest.approx(0.03)  # any of three could have been opposed
    assert judged(Finding({"a": opposed, "b": Estimate()})).n == 9  # what is not known refutes nothing
    assert judged(Finding({"a": strong, "b": weak}, descriptive=True)).holds is None


def test_nothing_to_judge_decides_nothing():
    nothing = outcome(Finding({}), claim(region=POSITIVE))
    assert (nothing.holds, nothing.n) == (None, 0)
    undefined = outcome(Finding({"a": Estimate(0.5, 0.4, 0.6, 6, p=0.1), "b": Estimate(n=4)}), claim(region=POSITIVE))
    assert (undefined.label, undefined.holds) == ("b", None)
    assert math.isnan(undefined.p)


def test_the_part_farthest_against_a_claim_is_shown():
    far, near = Estimate(0.84, 0.81, 0.87, 4, p=0.001), Estimate(0.78, 0.64, 0.92, 4, p=0.004)
    shown = outcome(Finding({"near": near, "far": far}), claim(region=NEGATIVE))
    assert (shown.label, shown.holds) == ("far", False)
    assert shown.p_label == "far"
    assert shown.p == pytest.approx(0.002)  # of two, either could have been against it
    low, lower = (Estimate(-value, -value - 0.01, -value + 0.01, 4, p=0.001) for value in (0.2, 0.4))
    assert outcome(Finding({"low": low, "lower": lower}), claim(region=POSITIVE)).label == "lower"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_least_clear_part_is_the_weakest_also_of_few_networks(n):
    parts = {name: Estimate(value, n=n) for name, value in (("first", 1.0), ("weak", 0.308), ("last", 0.9))}
    assert outcome(Finding(parts), claim(region=(0.99, math.inf))).label == "weak"
    high = {name: Estimate(-part.value, n=n) for name, part in parts.items()}
    assert outcome(Finding(high), claim(region=NEGATIVE)).label == "weak"


def test_margins_have_the_p_of_their_nearer_edge():
    part = mean_interval([0.00, 0.01, 0.02, 0.05, 0.03])
    assert p_of(part, ALIKE) == part.p_of(0.05) > part.p_of(-0.05)
    assert p_of(part, SUBSTANTIAL) == part.p_of(0.05)
    assert p_of(part, POSITIVE) == part.p
    far = mean_interval([0.40, 0.41, 0.42, 0.45])
    assert p_of(far, ALIKE) == far.p_of(0.05)
    assert p_of(share(9, 9), (0.5, math.inf)) == share(9, 9).p


@pytest.mark.parametrize("region", [NEGATIVE, POSITIVE, SUBSTANTIAL, ALIKE])
def test_interval_and_p_of_a_region_agree(region):
    random = np.random.default_rng(0)
    decided = []
    for _ in range(120):
        part = mean_interval(0.05 * random.normal() + 0.03 * random.normal(size=int(random.choice([4, 9, 10, 25]))))
        decided.append(holds(part, region))
        assert (decided[-1] is not None) == (p_of(part, region) < 0.05)
    assert {True, False, None} == set(decided)


def test_each_figure_has_one_main_claim():
    mains = [claim.figure or one.figure for one in papers() for claim in one.claims if claim.role == "main"]
    assert sorted(mains) == ["1a", "1b", "1c", "2a", "2b", "3a", "3b", "4a", "4b"]


def test_claims_are_corrected_for_as_many_as_there_are_in_the_code():
    sizes = {
        f"{one.name}.{claim.name}": family_size(claim, one) for one in EXPERIMENTS.values() for claim in one.claims
    }
    main = {name for name, size in sizes.items() if size == 9}
    assert main == {
        "memorization.auc", "memorization_cifar10.auc", "memorization_imagenet.auc", "ensemble.best_and_worst",
        "ensemble.generalization", "early_stopping.downturn", "early_stopping.test_loss", "dropout.against_none",
        "batch_norm.auc",
    }  # fmt: skip
    assert sizes["early_stopping_grid.test_loss"] == sizes["early_stopping_corrupted.downturn"] == 2
    assert sizes["dropout.alike"] == 3
    assert sizes["memorization.train_accuracy"] == 1


def test_rules_say_what_they_are():
    assert "corrected for 9 main claims" in claim(region=POSITIVE, role="main").rule(1, 9)
    assert "corrected" not in claim(region=POSITIVE).rule(1, 1)
    assert "every one of the levels" in claim(region=POSITIVE, several="levels").rule(2, 9)
    assert "every" not in claim(region=POSITIVE, several="levels").rule(1, 9)
    assert claim(region=POSITIVE, role="check").rule(1, 1).startswith("met where")


def judged(holds, scale="paper", role="main", figure="1a", measured=True):
    """A judgement of which only the verdict matters."""
    given = {
        "holds": holds,
        "measured": measured,
        "sweep": Sweep("memorization", scale, "mnist", ""),
        "claim": claim(region=POSITIVE, role=role),
        "experiment": Experiment("memorization", figure=figure),
    }
    return Judgement(**{**dict.fromkeys(field.name for field in fields(Judgement)), **given})


@pytest.mark.parametrize(
    ("holds", "paper", "demo"),
    [
        (True, "reproduced", "holds on mnist"),
        (False, "not reproduced", "does not hold on mnist"),
        (None, "inconclusive", "inconclusive on mnist"),
    ],
)
def test_words_of_the_verdict(holds, paper, demo):
    assert judged(holds).verdict == paper
    assert judged(holds, scale="demo").verdict == judged(holds, figure="").verdict == demo


def test_checks_and_what_is_not_measured_have_words_of_their_own():
    assert [judged(said, role="check").verdict for said in (True, False, None)] == ["met", "not met", "undecided"]
    assert judged(None, measured=False).verdict == "not measured"


def test_what_is_written_is_known_to_json_and_without_the_digits_that_differ_between_processors():
    assert plain({"a": Estimate(1.0), "b": [math.nan, math.inf, (1, True)], 3: None})["b"] == [None, None, [1, True]]
    assert plain(Estimate(1.0))["low"] is None
    value, other = -0.40414107022856355, -0.4041410702285636  # one correlation on two machines
    assert plain(value) == plain(other) == -0.4041410702
    assert plain({"p": [1e-5 / 3, 12_345_678_901.5], "n": 12_345_678_901}) == {
        "p": [3.333333333e-06, 12_345_678_900],
        "n": 12_345_678_901,
    }
