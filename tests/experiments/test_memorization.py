"""Figure 1's claims."""

import pytest

from single_directions.experiments.memorization import auc, test_accuracy, train_accuracy

test_accuracy.__test__ = False  # a claim's, not a test


def test_each_level_is_compared_with_true_labels_within_seeds(memorization):
    finding = auc(memorization(slope=0.3, noise=0, seeds=4))
    assert list(finding.parts) == [f"corruption {level}" for level in (0.2, 0.4, 0.6, 0.8, 1)]
    assert [part.value for part in finding.parts.values()] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3])
    assert {part.n for part in finding.parts.values()} == {4}
    assert finding.details["order"] == {
        "levels": [0, 0.2, 0.4, 0.6, 0.8, 1],
        "auc": pytest.approx([0.7, 0.64, 0.58, 0.52, 0.46, 0.4]),
        "falls_at_every_step": True,
    }
    assert list(finding.details["normalized"]) == list(finding.parts)
    assert finding.caveats == ()


def test_order_among_levels_is_described_not_judged(memorization):
    tables = memorization(noise=0)
    tables.runs.loc[tables.runs["corruption"] == 0.4, "auc"] = 0.5
    finding = auc(tables)
    assert finding.details["order"]["falls_at_every_step"] is False
    assert all(part.low > 0 for part in finding.parts.values())


def test_levels_that_are_missing_are_told(memorization):
    tables = memorization(levels=(0, 0.2, 1))
    assert auc(tables).caveats == ("no networks at corruption 0.4, 0.6, 0.8",)
    assert auc(memorization(levels=(0.2, 1))).parts == {}


def test_accuracies(memorization):
    tables = memorization(seeds=4)
    assert {part.value for part in train_accuracy(tables).parts.values()} == {1}
    assert test_accuracy(tables).parts["corruption 1"].value == pytest.approx(0.9, abs=0.01)
    assert test_accuracy(tables).parts["corruption 1"].low > 0.89


def test_top_5_accuracy_counts_where_curves_are_of_it(memorization):
    tables = memorization(seeds=4, levels=(0, 1))
    tables.runs["config.ablation.top_k"] = 5
    tables.runs["train_accuracy_top5"] = 0.995
    assert {part.value for part in train_accuracy(tables).parts.values()} == {0.995}
