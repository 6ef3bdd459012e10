"""Which figures there are: every experiment's, whatever is missing from its tables."""

import numpy as np
import pandas as pd
import pytest
from constructed import SWEEPS, tables

from single_directions.report.album import pictures
from single_directions.report.claims import judge
from single_directions.report.section import sections_of
from single_directions.report.table import Tables

FIGURES = {
    "memorization": ["1a", "1a_auc", "1a_drop"],
    "memorization_cifar10": ["1b", "1b_auc", "1b_drop"],
    "memorization_imagenet": ["1c", "1c_auc", "1c_drop"],
    "ensemble": ["2a", "2b", "2_leverage"],
    "ensemble_learning_rates": [f"{name}_learning_rates" for name in ("2a", "2b", "2_leverage", "2_auc")],
    "early_stopping": ["3a", "3b"],
    "early_stopping_grid": ["3_grid"],
    "early_stopping_corrupted": ["3a_corrupted_adam", "3a_corrupted_sgd"],
    "dropout": ["4a", "4a_auc", "4a_drop"],
    "batch_norm": ["4b", "4b_auc", "4b_drop"],
}


def drawn(of, claims=()):
    """The figures of the only section, drawn, by name."""
    [section] = sections_of(of, claims)
    album = {picture.name: picture for picture in pictures(section)}
    for picture in album.values():
        picture.figure.canvas.draw()  # what cannot be drawn shows only here
        assert picture.caption
    return album


def of_one(experiment):
    """The figures that a single network has: all but comparisons of networks, and those of another optimizer."""
    others = ("2a", "2_leverage", "3a_corrupted_adam")
    return [f"figure_{name}" for name in FIGURES[experiment] if not name.startswith(others)]


def test_every_experiment_has_figures():
    assert FIGURES.keys() == SWEEPS.keys()


@pytest.mark.parametrize("experiment", FIGURES)
def test_figures_of_several_networks(experiment):
    seeds = 4 if experiment == "ensemble" else 2
    assert list(drawn(tables({experiment: seeds}))) == [f"figure_{name}" for name in FIGURES[experiment]]


@pytest.mark.parametrize("experiment", FIGURES)
def test_figures_of_one_network(experiment):
    whole = tables({experiment: 1}, orderings=1)
    assert list(drawn(whole.of(whole.runs.head(1)))) == of_one(experiment)


@pytest.mark.parametrize("experiment", FIGURES)
def test_figures_where_numbers_are_missing(experiment):
    whole = tables({experiment: 2})
    runs, curves, epochs = whole.runs.copy(), whole.curves.copy(), whole.epochs.copy()
    runs.loc[0, ["auc", "auc_std", "auc_normalized", "train_accuracy", "generalization_error"]] = np.nan
    curves.loc[curves["run"] == runs.loc[0, "run"], "accuracy"] = np.nan
    epochs.loc[epochs["run"] == runs.loc[0, "run"], "test/loss"] = np.nan
    assert set(of_one(experiment)) <= set(drawn(Tables(runs, curves, epochs)))


@pytest.mark.parametrize("experiment", ["memorization", "dropout", "batch_norm", "early_stopping_grid"])
def test_figures_where_a_condition_is_missing(experiment):
    whole = tables({experiment: 2})
    first = whole.runs["run"].iloc[0].rpartition(",seed=")[0]
    some = whole.of(whole.runs[~whole.runs["run"].str.startswith(first)])
    assert list(drawn(some)) == [f"figure_{name}" for name in FIGURES[experiment]]


def test_no_figure_of_what_is_not_done():
    whole = tables({"memorization": 1})
    assert not drawn(Tables(whole.runs.assign(state="failed"), whole.curves.head(0), whole.epochs.head(0)))


def test_bands_of_batch_norm_are_over_all_curves_and_others_over_orderings():
    first = {name: next(iter(drawn(tables({name: 2})).values())).caption for name in ("memorization", "batch_norm")}
    assert "over orderings within a network" in first["memorization"]
    assert "over all curves" in first["batch_norm"]


def test_dropout_fractions_are_marked_in_their_colours():
    [axes] = drawn(tables({"dropout": 1}))["figure_4a"].figure.axes
    marks = [line for line in axes.lines if list(line.get_ydata()) == [0, 1] and line.get_linewidth() == 0.9]
    assert [line.get_xdata()[0] for line in marks] == [0.1, 0.3]
    curves = {line.get_label(): line.get_color() for line in axes.lines}
    assert [line.get_color() for line in marks] == [curves[f"dropout {share}, true labels"] for share in (0.1, 0.3)]


def test_best_and_worst_are_those_of_least_and_greatest_generalization_error():
    whole = tables({"ensemble": 4})
    runs = whole.runs.assign(generalization_error=[0.3, 0.1, 0.4, 0.2])
    [axes] = drawn(Tables(runs, whole.curves, whole.epochs))["figure_2a"].figure.axes
    by_run = whole.curves.groupby(["run", "fraction_ablated"])["accuracy"].mean().unstack()
    shown = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert shown["2 smallest"] == pytest.approx(by_run.loc[runs["run"].iloc[[1, 3]]].mean().to_numpy())
    assert shown["2 largest"] == pytest.approx(by_run.loc[runs["run"].iloc[[0, 2]]].mean().to_numpy())


def test_correlation_of_the_figure_is_that_of_the_claim():
    whole = tables({"ensemble": 4})
    claims = judge(whole)
    [claim] = [claim for claim in claims if claim["id"] == "ensemble.generalization"]
    shown = drawn(whole, claims)["figure_2b"].figure.get_suptitle().replace("\N{MINUS SIGN}", "-")
    assert f": ρ {claim['value']:.2f} [{claim['low']:.2f}, {claim['high']:.2f}]" in shown


def test_clusters_that_the_claim_found_are_marked():
    whole = tables({"ensemble": 4})
    names = list(whole.runs["run"])
    found = {"number": 2, "names": ["cluster 1", "cluster 2"], "runs": [names[:1], names[1:]]}
    claim = {"id": "ensemble.generalization", "value": None, "details": {"clusters": found}}
    place = {"experiment": "ensemble", "scale": "demo", "data": "digits", "variant": ""}
    figure = drawn(whole, [{**claim, **place}])["figure_2b"].figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cluster 1", "cluster 2"]
    sizes = sorted(len(group.get_offsets()) for group in figure.axes[0].collections)
    assert sizes == [1, 3]


def test_sweeps_that_cannot_be_compared_have_figures_of_their_own():
    whole = tables({"memorization": 1})
    other = whole.runs.assign(variant="network=convnet", run=whole.runs["run"] + ",network=convnet")
    both = pd.concat([whole.runs, other], ignore_index=True)
    curves = pd.concat([whole.curves, whole.curves.assign(run=whole.curves["run"] + ",network=convnet")])
    sections = sections_of(Tables(both, curves, whole.epochs), ())
    names = [picture.name for section in sections for picture in pictures(section)]
    assert "figure_1a_demo-digits" in names
    assert "figure_1a_demo-digits_network=convnet" in names
    assert len(set(names)) == len(names)


def test_names_of_files_are_names_of_files():
    whole = tables({"memorization": 1})
    variant = "data.root=a/b c," + ",".join(f"key{i}={'x' * 20}" for i in range(20))
    other = whole.runs.assign(variant=variant, run=whole.runs["run"] + ",odd")
    both = pd.concat([whole.runs, other], ignore_index=True)
    _, section = sections_of(Tables(both, whole.curves, whole.epochs), ())
    assert len(section.suffix) <= 151
    assert not set("/ ") & set(section.suffix)
    another = sections_of(Tables(both.assign(variant=both["variant"] + "."), whole.curves, whole.epochs), ())[1]
    assert another.suffix != section.suffix


def test_sweeps_of_one_experiment_have_different_titles():
    whole = tables({"early_stopping": 2})
    variants = ["", "data.root=cats,network.width=0.25", "data.root=cats,network.width=0.5"]
    parts = [
        whole.runs.assign(variant=variant, run=whole.runs["run"] + str(place)) for place, variant in enumerate(variants)
    ]
    runs = pd.concat(parts, ignore_index=True)
    curves, epochs = (
        pd.concat([table.assign(run=table["run"] + str(place)) for place in range(3)], ignore_index=True)
        for table in (whole.curves, whole.epochs)
    )
    sections = sections_of(Tables(runs, curves, epochs), ())
    titles = [[picture.figure._suptitle.get_text() for picture in pictures(section)] for section in sections]
    assert titles == [
        ["digits at demo scale: 2 trainings", "digits at demo scale"],
        ["digits at demo scale, width 0.25: 2 trainings", "digits at demo scale, width 0.25"],
        ["digits at demo scale, width 0.5: 2 trainings", "digits at demo scale, width 0.5"],
    ]
