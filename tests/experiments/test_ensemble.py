"""Figure 2's claims."""

import numpy as np
import pandas as pd
import pytest
from constructed import judged

from single_directions.experiments.ensemble import best_and_worst, extremes, generalization, networks, within_clusters


@pytest.fixture
def ensemble(constructed):
    """Makes an ensemble in which normalized AUC falls with the generalization error, or something else does it."""

    def make(n=60, slope=-1.0, by="error", apart=0.0, **also):
        random = np.random.default_rng(0)
        error, loss, noise, spread = random.normal(size=(4, n))
        error, cause = (loss + 0.3 * error, loss) if by == "loss" else (error, error)
        shift = apart * (np.arange(n) % 2)
        runs = pd.DataFrame({"seed": range(n), "auc": 0.5 + 0.05 * (slope * cause + 0.3 * noise - shift)})
        runs["auc_normalized"], runs["generalization_error"] = runs["auc"], 0.3 + 0.02 * (error + shift)
        runs["train_accuracy"], runs["train_loss"] = 1 - 0.0001 * abs(spread), 0.01 * np.exp(loss)
        return constructed("ensemble", runs.to_dict("records"), data="cifar10", **also)

    return make


def test_planted_correlation_is_found(ensemble):
    claims = judged(ensemble())
    assert claims["generalization"].verdict == "reproduced"
    assert claims["generalization"].value == pytest.approx(-0.95, abs=0.04)
    assert all("140 of 200 runs" in caveat for caveat in claims["generalization"].caveats)
    assert claims["best_and_worst"].verdict == "reproduced"
    assert claims["within_clusters"].verdict == "inconclusive"
    assert claims["within_clusters"].caveats[1:] == [
        "the networks form a single cluster (no mixture of several has a BIC lower by more than 10), "
        "so there is nothing to judge"
    ]
    assert judged(ensemble(slope=1))["generalization"].verdict == "not reproduced"
    assert judged(ensemble(slope=0))["generalization"].verdict == "inconclusive"


def test_correlations_stand_side_by_side(ensemble):
    details = judged(ensemble())["generalization"].details
    assert list(details["partial"]) == ["training accuracy", "training loss", "training accuracy and loss"]
    for part in (details["raw"], details["normalized"], details["pearson"], *details["partial"].values()):
        assert part.value < -0.85
    assert abs(details["auc_with_train_loss"].value) < 0.4


def test_what_training_loss_alone_explains_is_told(ensemble):
    entry = judged(ensemble(by="loss"))["generalization"]
    assert entry.verdict == "reproduced"
    assert any(caveat.startswith("given training loss the correlation is") for caveat in entry.caveats)
    assert not any(caveat.startswith("given training accuracy the") for caveat in entry.caveats)


def test_clusters_are_judged_one_by_one(ensemble):
    entry = judged(ensemble(apart=15))["within_clusters"]
    assert entry.details["clusters"]["sizes"] == [30, 30]
    assert entry.verdict == "reproduced"
    assert any("fall into 2 clusters" in caveat for caveat in judged(ensemble(apart=15))["generalization"].caveats)
    within = within_clusters(ensemble(slope=0, apart=15)).parts  # all of the correlation is between the clusters
    assert [name for name, part in within.items() if part.low < 0 < part.high] == ["cluster 1", "cluster 2"]
    assert generalization(ensemble(slope=0, apart=15)).parts["all networks"].high < 0


def test_networks_of_one_seed_at_several_learning_rates_are_not_independent(ensemble):
    tables = ensemble(n=48)
    tables.runs["seed"] %= 12
    finding = generalization(tables)
    assert finding.parts["all networks"].n == finding.details["partial"]["training loss"].n == 12
    assert finding.caveats[0].startswith("n is 12 seeds")


def test_one_network_that_makes_the_correlation_is_named(ensemble):
    tables = ensemble(n=8, slope=0)
    tables.runs["auc_normalized"] = [0.5, 0.51, 0.5, 0.51, 0.5, 0.51, 0.51, 0.0]
    tables.runs["generalization_error"] = [0.30, 0.29, 0.31, 0.32, 0.28, 0.33, 0.3, 0.9]
    finding = generalization(tables)
    assert finding.details["leave_one_out"]["high_without"].endswith("run=7")
    assert any("leaving out one network changes its sign" in caveat for caveat in finding.caveats)


def test_extremes_are_the_five_best_and_worst(ensemble):
    ordered = networks(ensemble().runs)
    best, worst = best_and_worst(ordered)
    assert len(best) == len(worst) == 5
    assert best["generalization_error"].max() < ordered["generalization_error"].iloc[5:].min()
    assert worst["generalization_error"].min() > ordered["generalization_error"].iloc[:-5].max()
    [part] = extremes(ensemble()).parts.values()
    assert part.value == pytest.approx(best["auc_normalized"].mean() - worst["auc_normalized"].mean())
    assert part.n == 5


def test_extremes_of_a_small_ensemble_are_described_not_judged(ensemble):
    entry = judged(ensemble(n=49))["best_and_worst"]
    assert (entry.verdict, str(entry.p), entry.n) == ("inconclusive", "nan", 5)
    assert entry.low > 0
    assert any("49 networks, fewer than 50" in caveat for caveat in entry.caveats)
    assert extremes(ensemble(n=3)).parts["best and worst 1"].n == 1


def test_extremes_of_networks_that_share_seeds_are_described_not_judged(ensemble):
    tables = ensemble(n=60)
    assert judged(tables)["best_and_worst"].p < 1
    tables.runs["seed"] //= 4  # as with four learning rates
    entry = judged(tables)["best_and_worst"]
    assert (entry.verdict, str(entry.p)) == ("inconclusive", "nan")
    assert "60 networks of 15 seeds do not vary independently: described, not judged" in entry.caveats
    assert entry.rule.endswith("described, not judged, with fewer than 50 networks or with several of one seed")


def test_networks_without_a_number_are_left_out(ensemble):
    tables = ensemble(n=20)
    tables.runs.loc[3, "auc_normalized"] = np.nan
    assert len(networks(tables.runs)) == 19
    assert generalization(tables).parts["all networks"].n == 19


def test_learning_rates_are_told_apart(ensemble):
    tables = ensemble(n=20)
    assert generalization(tables).details["by_condition"] == {}
    tables.runs["experiment"] = "ensemble_learning_rates"
    tables.runs["config.optimizer.lr"] = [0.1, 0.01] * 10
    rates = generalization(tables).details["by_condition"]
    assert {name: rate.n for name, rate in rates.items()} == {"optimizer.lr=0.01": 10, "optimizer.lr=0.1": 10}


def test_estimates_are_taken_where_all_networks_have_one(ensemble):
    tables = ensemble(slope=1)
    assert generalization(tables).details["auc"] == "the mean over its orderings"
    own = tables.runs.assign(auc_normalized_std=0.3, orderings=9, estimate_auc_normalized_se=0.02)
    assert networks(own)["auc_normalized_se"].to_numpy() == pytest.approx(0.1)  # of the mean over orderings
    better = -tables.runs["generalization_error"]
    runs = own.assign(estimate_auc=0.9 * better, estimate_auc_normalized=better)
    assert set(networks(runs)["auc_normalized_se"]) == {0.02}
    finding = generalization(tables.of(runs))
    assert finding.parts["all networks"].value == pytest.approx(-1)
    assert finding.details["auc"].startswith("estimated")
    assert extremes(tables.of(runs)).parts["best and worst 5"].value > 0
    assert within_clusters(tables.of(runs)).details["clusters"]["correlations"][0].value == pytest.approx(-1)
    runs.loc[3, "estimate_auc_normalized"] = np.nan
    assert generalization(tables.of(runs)).parts["all networks"].value > 0
