"""Figure 1 at equal training loss."""

import math

import numpy as np
import pandas as pd
import pytest

from single_directions.experiments.drawing.training import equal_loss_figure
from single_directions.experiments.equal_loss import auc_at, matched
from single_directions.report.blocks import equal_loss

LOSSES = [10.0 ** (-epoch / 2) for epoch in range(9)]  # 1 down to 0.0001


@pytest.fixture
def trained(constructed):
    """Makes trainings whose AUC falls with the training loss, lower by `gap` where half of the labels are corrupted."""

    def make(gap=0.3, experiment="early_stopping_corrupted", seeds=4, slower=2, **also):
        rows, epochs = [], []
        for corruption in (0.0, 0.5):
            for seed in range(seeds):
                settings = {"config.seed": seed, "config.data.corruption": corruption, "config.optimizer.lr": 0.03}
                rows.append({"seed": seed, "corruption": corruption, **settings, **also})
                losses = LOSSES if corruption == 0 else LOSSES[:-slower]
                area = [0.9 + 0.02 * math.log10(loss) + 0.01 * seed * (1 + corruption) - gap * (corruption > 0)
                        for loss in losses]  # fmt: skip
                epochs.append({"train/loss": losses, "ablation/auc_normalized": area})
        return constructed(experiment, rows, epochs=epochs)

    return make


def test_auc_between_epochs_by_hand():
    losses, areas = np.array([1.0, 0.1, 0.2, 0.01]), np.array([0.9, 0.7, 0.8, 0.5])
    assert auc_at(0.1, losses, areas) == 0.7
    assert auc_at(10**-0.5, losses, areas) == pytest.approx(0.8)  # half way by the logarithm
    assert auc_at(10**-1.5, losses, areas) == pytest.approx(0.8 - 0.3 * (math.log10(0.2) + 1.5) / (math.log10(0.2) + 2))
    assert math.isnan(auc_at(2.0, losses, areas))  # before the first epoch
    assert math.isnan(auc_at(0.001, losses, areas))  # never
    assert auc_at(0.5, np.array([1.0, 0.0]), np.array([0.5, 0.5])) == 0.5


def test_levels_are_compared_where_training_has_come_equally_far(trained):
    tables = trained(gap=0.3)
    found = matched(tables, tables.runs)
    assert found.reached == pytest.approx(0.001)  # the slower ones end there
    last = found.levels[-1]
    assert (last.loss, last.corruption, last.gap.n) == (found.reached, 0.5, 4)
    assert last.true == pytest.approx(0.9 - 0.06 + 0.015)
    assert last.gap.value == pytest.approx(0.3 - 0.0075)
    assert [level.loss for level in found.levels[:2]] == [1.0, 0.5]
    # After the last epoch true labels have come further, where the AUC is lower.
    assert found.at_the_end[0.5].value == pytest.approx(0.3 - 0.0075 - 0.02)


@pytest.mark.parametrize(("gap", "told"), [(0.3, "gap remains"), (-0.3, "other way"), (0.0075, "is not shown")])
def test_whether_the_gap_remains_is_told(trained, gap, told):
    tables = trained(gap=gap)
    text = " ".join(equal_loss(matched(tables, tables.runs)).text)
    assert told in text
    assert "n = 4" in text


def test_trainings_of_other_experiments_with_the_same_settings_are_found(trained):
    during = trained()
    figure = trained(experiment="memorization")
    runs = figure.runs.assign(**{"config.stop_at_train_accuracy": 1.0, "config.trainer.max_epochs": 640})
    whole = during.of(pd.concat([during.runs, runs]))
    assert len(matched(whole, runs).trainings) == 4 * (9 + 7)
    other = during.of(pd.concat([during.runs.assign(**{"config.optimizer.lr": 0.1}), runs]))
    assert matched(other, runs) is None
    true = during.runs[during.runs["corruption"] == 0]
    assert matched(during.of(pd.concat([true, runs])), runs) is None
    assert matched(figure.of(figure.runs.iloc[:0]), figure.runs.iloc[:0]) is None


def test_figure_has_a_line_a_level_and_falling_losses(trained):
    tables = trained()
    found = matched(tables, tables.runs)
    [axes] = equal_loss_figure(found.trainings, found.reached, "a title").axes
    left, right = axes.get_xlim()
    assert left > right > 0
    assert axes.get_ylim() == (0, 1)
    labels = [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert labels == ["true labels", "50 % corrupted"]
    assert len(axes.get_lines()) == 8 + 2 + 1
