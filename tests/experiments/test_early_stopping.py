"""Figure 3's claims."""

import math

import pandas as pd
import pytest
import torch
from constructed import judged
from pytorch_lightning.callbacks import EarlyStopping

from single_directions.experiments.early_stopping import downturn, stopping, test_loss
from single_directions.experiments.training import FOLLOWED, Training, smooth, stop

test_loss.__test__ = False  # a claim's, not a test


def training(auc, test, train=None, accuracy=None, every=1):
    n = len(auc)
    return Training(
        pd.DataFrame(
            {
                "epoch": [every * (i + 1) for i in range(n)],
                "auc": auc,
                "test_loss": test,
                "train_loss": train or [1 / (i + 1) for i in range(n)],
                "test_accuracy": accuracy or [0.9] * n,
            }
        )
    )


def valley(bottom, n=40):
    """A loss that is lowest at epoch `bottom`."""
    return [0.1 + abs(i + 1 - bottom) / n for i in range(n)]


def hill(top, n=40):
    """An AUC that is largest at epoch `top`."""
    return [1 - abs(i + 1 - top) / n for i in range(n)]


def test_smoothing_takes_out_single_epochs():
    assert list(smooth(pd.Series([1.0, 9, 1, 1, 1, 5]))) == [1, 1, 1, 1, 1, 1]
    assert list(smooth(pd.Series([1.0, 2, 3, 4, 5]))) == [2, 2.5, 3, 3.5, 4]


def test_onset_is_where_the_test_loss_is_lowest():
    assert training(hill(10), valley(12)).onset == 12
    noisy = valley(12)
    noisy[30] = 0
    assert training(hill(10), noisy).onset == 12
    assert math.isnan(training(hill(10), valley(40)).onset)  # it only falls
    assert math.isnan(training(hill(10), valley(12), train=valley(12)).onset)  # both rise: no divergence
    flat = [0.5 + 0.0005 * abs(i + 1 - 12) for i in range(40)]  # ends 2.8 % above
    assert math.isnan(training(hill(10), flat).onset)


def test_downturn_is_where_the_auc_is_largest():
    assert training(hill(10), valley(12)).downturn == 10
    assert math.isnan(training(hill(40), valley(12)).downturn)
    assert math.isnan(training([0.1 * min(i, 10) - 0.001 * max(0, i - 10) for i in range(40)], valley(12)).downturn)


def test_what_is_near():
    assert training(hill(14), valley(12)).near == training(hill(10), valley(12)).near == 1  # within two epochs
    assert training(hill(15), valley(12)).near == training(hill(9), valley(12)).near == 0
    assert training(hill(33, 60), valley(30, 60)).near == 1  # or within a tenth of the epochs to the onset
    assert training(hill(34, 60), valley(30, 60)).near == 0
    assert training(hill(5), valley(4), every=4).tolerance == 4  # nothing is known between measurements
    assert training(hill(40), valley(12)).near == 0  # it never turns down
    assert math.isnan(training(hill(10), valley(40)).near)  # the losses do not diverge


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.5, 0.4, 0.3, 0.45, 0.9, 0.8, 0.8, 0.8, 0.8],
        [0.1, 0.5, 0.5, 0.6, 0.6, 0.6, 0.7, 0.1, 0.1, 0.1],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    ],
)
@pytest.mark.parametrize("maximize", [True, False])
def test_stopping_is_that_of_stock_early_stopping(values, maximize):
    signed = values if maximize else [-value for value in values]
    stopper = EarlyStopping("auc", mode="max" if maximize else "min", patience=3)
    stops = (stopper._evaluate_stopping_criteria(torch.tensor(value))[0] for value in signed)
    expected = next((epoch for epoch, stopped in enumerate(stops) if stopped), len(signed) - 1)
    stopped, kept = stop(signed, maximize, patience=3)
    assert stopped == expected
    assert signed[kept] == pytest.approx(stopper.best_score.item())


def test_what_stopping_leaves():
    accuracy = [i / 40 for i in range(40)]
    own = training(hill(10), valley(12), accuracy=accuracy)
    assert own.stopped("auc") == {"epochs": 15, "kept": 10, "test_loss": 0.1 + 2 / 40, "test_accuracy": 9 / 40}
    assert own.stopped("test_loss") == {"epochs": 17, "kept": 12, "test_loss": 0.1, "test_accuracy": 11 / 40}
    assert own.stopped("nothing") == {"epochs": 40, "kept": 40, "test_loss": 0.1 + 28 / 40, "test_accuracy": 39 / 40}


@pytest.fixture
def trained(constructed):
    """Makes trainings whose AUC is largest `late` epochs after the test loss is lowest."""

    def make(late=0, seeds=5, experiment="early_stopping", rows=None, **also):
        epochs = [
            {
                "ablation/auc": [1 - value for value in hill(12 + late + seed % 2)],  # not what is judged
                "ablation/auc_normalized": hill(12 + late + seed % 2),
                "test/loss": valley(12 + seed % 3),
                "train/loss": [1 / (i + 1) for i in range(40)],
                "test/accuracy": [0.5] * 40,
            }
            for seed in range(seeds)
        ]
        rows = rows or [{"seed": seed} for seed in range(seeds)]
        return constructed(experiment, rows, epochs=epochs, **also)

    return make


def test_correlation_is_one_number_a_training(trained):
    tables = trained()
    finding = test_loss(tables)
    [part] = finding.parts.values()
    each = [row["correlation"] for row in finding.details["trainings"]]
    own = tables.epochs[tables.epochs["run"] == tables.runs["run"][3]]
    assert each[3] == pytest.approx(own["ablation/auc_normalized"].corr(own["test/loss"], method="spearman"))
    assert part.value == pytest.approx(sum(each) / 5)
    assert part.n == 5
    [raw] = finding.details["by_raw_auc"].values()
    assert part.value < 0 < raw.value


def test_what_the_auc_goes_with_is_told_apart_at_the_least_test_loss():
    rising = [i / 40 for i in range(40)]
    told = training(rising, valley(12), accuracy=[0.9] * 20 + [0.7] * 20).followed
    assert told == pytest.approx(dict(zip(FOLLOWED, (-1, 1, -1, 0.2), strict=True)))
    assert math.isnan(training([], []).followed["test loss from there on"])
    assert math.isnan(training(hill(10), [math.nan] * 40).followed["test loss from there on"])


def test_verdicts(trained):
    claims = judged(trained())
    assert claims["downturn"].verdict == "inconclusive"  # five of five may be by chance
    assert claims["test_loss"].verdict == claims["stopping"].verdict == "reproduced"
    assert claims["test_loss"].claim.paper_value == -0.728
    assert judged(trained(seeds=9))["downturn"].verdict == "reproduced"
    assert judged(trained(late=9, seeds=9))["downturn"].verdict == "not reproduced"
    assert {entry.verdict for entry in judged(trained(seeds=3)).values()} == {"inconclusive"}


def test_trainings_without_a_downturn_or_divergence_are_told(trained):
    [told] = downturn(trained(late=30)).caveats
    assert told.startswith(
        "of 5 trainings whose losses diverge, the AUC turns down near the divergence in 0, elsewhere"
    )
    assert told.endswith("elsewhere in 0, never in 5")
    tables = trained()
    tables.epochs.loc[tables.epochs["run"] == tables.runs["run"][0], "test/loss"] = valley(40)
    finding = downturn(tables)
    assert (finding.parts["all trainings"].value, finding.parts["all trainings"].n) == (1, 4)
    assert finding.caveats[0] == "in 1 of 5 trainings the losses do not diverge: left out"


@pytest.mark.parametrize("late", [0, 30])
def test_the_trainings_needed_are_those_that_the_corrected_p_needs(trained, late):
    needed = "corrected for 9 claims, at least 9 trainings are needed for a verdict"
    for seeds in (6, 8, 9):
        entry = judged(trained(late=late, seeds=seeds))["downturn"]
        assert (needed in entry.caveats) == (seeds < 9) == (entry.verdict == "inconclusive")


@pytest.mark.parametrize("late", [0, 30])
def test_refuting_one_of_several_settings_needs_more_trainings(trained, late):
    for each, verdict in ((6, "inconclusive"), (7, "inconclusive" if late else "reproduced"),
                          (8, "not reproduced" if late else "reproduced")):  # fmt: skip
        rows = [{"seed": i // 2, "config.optimizer": ("sgd", "adam")[i % 2]} for i in range(2 * each)]
        tables = trained(late=late, seeds=2 * each, experiment="early_stopping_corrupted", rows=rows)
        entry = judged(tables)["downturn"]
        assert entry.verdict == verdict
        assert (
            "corrected for 2 claims, at least 7 trainings of each setting are needed for a verdict that it holds, "
            "8 of one setting for one that it does not" in entry.caveats
        ) == (each < 8)


def test_what_stopping_by_the_auc_keeps_stands_beside_what_stopping_by_test_loss_keeps(trained):
    entry = judged(trained(late=5))["stopping"]
    assert entry.verdict == "reproduced"
    assert entry.caveats[-3:] == [
        "this compares with not stopping at all: where networks overfit, nearly any early stop passes",
        "stopping by AUC keeps epochs 17 to 18, with a mean test loss of 0.21 and a mean test accuracy of 0.50",
        "stopping by test loss keeps epochs 12 to 14, with a mean test loss of 0.10 and a mean test accuracy of 0.50",
    ]


def test_trainings_that_stop_at_the_same_epoch(trained):
    entry = judged(trained(seeds=1))["stopping"]
    assert [caveat.partition(",")[0] for caveat in entry.caveats[-3:-1]] == [
        "stopping by AUC keeps epoch 12",
        "stopping by test loss keeps epoch 12",
    ]


def test_downturns_are_counted_with_an_exact_interval(trained):
    finding = downturn(trained())
    [part] = finding.parts.values()
    assert (part.value, part.low, part.high) == (1, pytest.approx(0.025**0.2), 1)
    assert [row["near"] for row in finding.details["trainings"]] == [1] * 5
    tables = trained()
    one = tables.epochs["run"] == tables.runs["run"][0]
    tables.epochs.loc[one, "ablation/auc_normalized"] = hill(40)
    [part] = downturn(tables).parts.values()
    assert part.value == 4 / 5  # a training whose AUC never turns down adds no epoch to a mean


def test_mean_correlations_of_few_trainings_stay_among_correlations(trained):
    tables = trained(seeds=4)
    for run, sign in zip(tables.runs["run"], (1, -1, 1, -1), strict=True):
        own = tables.epochs["run"] == run
        tables.epochs.loc[own, "ablation/auc_normalized"] = sign * tables.epochs.loc[own, "test/loss"]
    entry = judged(tables)["test_loss"]
    assert (entry.low, entry.high, entry.value) == pytest.approx((-1, 1, 0), abs=1e-12)


def test_trainings_whose_auc_was_not_measured_are_told(trained, constructed):
    tables = trained()
    tables.epochs.loc[tables.epochs["run"] == tables.runs["run"][0], "ablation/auc_normalized"] = math.nan
    assert test_loss(tables).caveats == ("in 1 of 5 trainings no AUC was measured",)
    never = constructed("early_stopping", [{"seed": 0}], epochs=[{"test/loss": [1.0, 2.0]}])
    assert stopping(never).caveats == ("in 1 of 1 trainings no AUC was measured",)


def test_settings_of_the_grid_are_judged_one_by_one(trained):
    rows = [
        {"seed": i % 5, "config.data.train_samples": 100 * (1 + i // 5), "config.optimizer": "sgd"} for i in range(10)
    ]
    tables = trained(seeds=10, experiment="early_stopping_grid", rows=rows)
    finding = stopping(tables)
    names = ["optimizer=sgd,data.train_samples=100", "optimizer=sgd,data.train_samples=200"]
    assert list(finding.parts) == [setting["condition"] for setting in finding.details["settings"]] == names
    setting = finding.details["settings"][0]
    by_auc, by_loss = (setting["means"][by]["test_loss"] for by in ("auc", "test_loss"))
    assert setting["auc_minus_test_loss"]["test_loss"].value == pytest.approx(by_auc - by_loss)
    assert setting["n"] == 5
    assert {part.n for part in finding.parts.values()} == {5}
