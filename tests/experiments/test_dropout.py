"""Figure 4a's claims."""

import numpy as np
import pytest
from constructed import judged

from single_directions.experiments import batch_norm
from single_directions.experiments.claim import holds
from single_directions.experiments.dropout import (
    CLAIMS,
    against_none,
    alike,
    kept_past,
    lost_before,
    past_the_fraction,
    up_to_the_fraction,
)
from single_directions.experiments.statistics import mean_interval

FRACTIONS = np.linspace(0, 1, 11)


def plateau(end, height=1.0):
    """Accuracy that holds up to a fraction ablated, then falls in a straight line to 0.1."""
    return list(np.where(end >= FRACTIONS, height, height - (height - 0.1) * (FRACTIONS - end) / (1 - end)))


@pytest.fixture
def dropout(constructed):
    """Makes a dropout sweep: where accuracy begins to fall with true labels, and with corrupted ones."""

    def make(true=0.7, shuffled=0.3, none=0.3, seeds=5, shift=0.0, fractions=(0, 0.1, 0.2, 0.3), **also):
        rows, curves = [], []
        for seed in range(seeds):
            for fraction in fractions:
                for corruption in (0, 1):
                    held = true if corruption == 0 else shuffled if fraction else none
                    curve = plateau(held, 1 - 0.001 * seed)
                    auc = float(np.mean(curve)) + shift * fraction
                    row = {"seed": seed, "corruption": corruption, "train_accuracy": 1.0, "auc": auc}
                    rows.append({**row, "config.network.dropout": fraction})
                    curves.append(curve)
        return constructed("dropout", rows, curves=curves, **also)

    return make


def verdicts(tables):
    return {name: entry.verdict for name, entry in judged(tables).items()}


def test_loss_and_area_by_hand():
    accuracy = np.array([1.0, 0.8, 0.2])
    fraction = np.array([0.0, 0.5, 1.0])
    assert lost_before(fraction, accuracy, 0.25) == pytest.approx(0.1)
    assert kept_past(fraction, accuracy, 0.5) == pytest.approx(0.5)
    assert kept_past(fraction, accuracy, 0.25) == pytest.approx((0.25 * 0.85 + 0.5 * 0.5) / 0.75)
    assert kept_past(fraction, accuracy / 2, 0.25) == pytest.approx(kept_past(fraction, accuracy, 0.25))
    assert np.isnan(kept_past(fraction, 0 * accuracy, 0.25))


def test_dropout_as_the_paper_says(dropout):
    claims = ("against_none", "up_to_the_fraction", "past_the_fraction", "alike")
    assert verdicts(dropout()) == dict.fromkeys(claims, "reproduced")
    parts = past_the_fraction(dropout()).parts
    assert list(parts) == ["dropout 0.1", "dropout 0.2", "dropout 0.3"]
    assert list(up_to_the_fraction(dropout()).parts)[:2] == ["dropout 0.1, corruption 0", "dropout 0.1, corruption 1"]
    assert list(alike(dropout()).parts) == ["dropout 0.1 and 0.2", "dropout 0.1 and 0.3", "dropout 0.2 and 0.3"]


def test_dropout_otherwise(dropout):
    assert verdicts(dropout(shuffled=0.1))["up_to_the_fraction"] == "not reproduced"
    assert verdicts(dropout(true=0.3, shuffled=0.7))["past_the_fraction"] == "not reproduced"
    assert verdicts(dropout(shift=0.5))["alike"] == "not reproduced"
    assert verdicts(dropout(shift=0.1))["alike"] == "reproduced"  # differences of 0.01 and 0.02
    assert set(verdicts(dropout(seeds=3)).values()) == {"inconclusive"}


def test_no_dropout_at_all_is_no_condition(dropout):
    tables = dropout()
    tables.runs["config.network.dropout"] = 0.0
    assert up_to_the_fraction(tables).parts == past_the_fraction(tables).parts == alike(tables).parts == {}


def test_dropout_is_compared_with_none_on_corrupted_labels(dropout):
    parts = against_none(dropout(shuffled=0.5, none=0.3, true=0.9)).parts
    assert list(parts) == ["dropout 0.1", "dropout 0.2", "dropout 0.3"]
    kept = [kept_past(FRACTIONS, np.array(plateau(held)), 0.2) for held in (0.5, 0.3)]
    assert parts["dropout 0.2"].value == pytest.approx(kept[0] - kept[1], abs=1e-3)
    assert verdicts(dropout(shuffled=0.5))["against_none"] == "not reproduced"
    assert verdicts(dropout(shuffled=0.31))["against_none"] == "reproduced"  # within the margin


def test_without_networks_without_dropout_it_is_not_measured(dropout):
    entry = judged(dropout(fractions=(0.1, 0.2, 0.3)))["against_none"]
    assert (entry.claim.role, entry.verdict, str(entry.value)) == ("main", "not measured", "nan")
    assert any("no networks without dropout on corrupted labels" in caveat for caveat in entry.caveats)


@pytest.mark.parametrize(("apart", "alike_is", "substantial"), [(0.03, True, False), (0.08, False, True)])
def test_what_is_alike_is_not_substantially_different(apart, alike_is, substantial):
    part = mean_interval([apart - 0.001, apart, apart + 0.001, apart])
    regions = {claim.name: claim.region for claim in (*CLAIMS, *batch_norm.CLAIMS)}
    assert holds(part, regions["alike"]) is alike_is
    assert {holds(part, regions[name]) for name in ("past_the_fraction", "auc")} == {substantial}
    assert holds(part, regions["against_none"]) is not substantial
