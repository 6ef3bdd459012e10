"""Figure 4's claims."""

import numpy as np
import pytest

from single_directions.report.claims import judge
from single_directions.report.claims.regularizers import (
    alike,
    batch_norm,
    kept_past,
    lost_before,
    past_the_fraction,
    up_to_the_fraction,
)

FRACTIONS = np.linspace(0, 1, 11)


def plateau(end, height=1.0):
    """Accuracy that holds up to a fraction ablated, then falls in a straight line to 0.1."""
    return list(np.where(end >= FRACTIONS, height, height - (height - 0.1) * (FRACTIONS - end) / (1 - end)))


@pytest.fixture
def dropout(constructed):
    """Makes a dropout sweep: where accuracy begins to fall with true labels, and with corrupted ones."""

    def make(true=0.7, shuffled=0.3, seeds=5, shift=0.0, **also):
        rows, curves = [], []
        for seed in range(seeds):
            for fraction in (0.1, 0.2, 0.3):
                for corruption in (0, 1):
                    curve = plateau(true if corruption == 0 else shuffled, 1 - 0.001 * seed)
                    auc = float(np.mean(curve)) + shift * fraction
                    row = {"seed": seed, "corruption": corruption, "train_accuracy": 1.0, "auc": auc}
                    rows.append({**row, "config.network.dropout": fraction})
                    curves.append(curve)
        return constructed("dropout", rows, curves=curves, **also)

    return make


def verdicts(tables):
    return {entry["id"].partition(".")[2]: entry["verdict"] for entry in judge(tables)}


def test_loss_and_area_by_hand():
    accuracy = np.array([1.0, 0.8, 0.2])
    fraction = np.array([0.0, 0.5, 1.0])
    assert lost_before(fraction, accuracy, 0.25) == pytest.approx(0.1)
    assert kept_past(fraction, accuracy, 0.5) == pytest.approx(0.5)
    assert kept_past(fraction, accuracy, 0.25) == pytest.approx((0.25 * 0.85 + 0.5 * 0.5) / 0.75)
    assert kept_past(fraction, accuracy / 2, 0.25) == pytest.approx(kept_past(fraction, accuracy, 0.25))
    assert np.isnan(kept_past(fraction, 0 * accuracy, 0.25))


def test_dropout_as_the_paper_says(dropout):
    assert verdicts(dropout()) == dict.fromkeys(("up_to_the_fraction", "past_the_fraction", "alike"), "reproduced")
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


@pytest.mark.parametrize(("better", "said"), [(True, "reproduced"), (False, "not reproduced")])
def test_batch_norm_is_compared_within_seeds(constructed, better, said):
    rows = [
        {
            "seed": seed,
            "train_accuracy": 1.0,
            "config.network.batch_norm": on,
            "auc": 0.3 + 0.1 * seed + 0.05 * (on == better) + 0.01 * (on and seed % 2),
            "auc_normalized": 0.5 - 0.01 * (on == better),
        }
        for seed in range(4)
        for on in (True, False)
    ]
    tables = constructed("batch_norm", rows)
    [entry] = judge(tables)
    assert entry["verdict"] == said
    assert entry["value"] == pytest.approx(0.055 if better else -0.045)
    assert entry["n"] == 4
    assert batch_norm(tables).caveats == ("raw and normalized AUC differ in opposite directions",)
