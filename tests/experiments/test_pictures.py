"""Which figures there are: every experiment's, whatever is missing from its tables."""

from dataclasses import replace

import numpy as np
import pytest
from constructed import SWEEPS, renamed, tables, together

from single_directions.experiments.judge import judge
from single_directions.experiments.pictures import pictures
from single_directions.experiments.section import sections_of
from single_directions.experiments.statistics import spearman
from single_directions.experiments.tables import Tables

FIGURES = {
    "memorization": ["1a", "1a_auc"],
    "memorization_cifar10": ["1b", "1b_auc"],
    "memorization_imagenet": ["1c", "1c_auc"],
    "ensemble": ["2a", "2b", "2_leverage"],
    "ensemble_learning_rates": [f"{name}_learning_rates" for name in ("2a", "2b", "2_leverage", "2_auc")],
    "early_stopping": ["3a", "3b"],
    "early_stopping_grid": ["3_grid"],
    "early_stopping_corrupted": [f"{part}_corrupted_{name}" for name in ("adam", "sgd") for part in ("3a", "3b")],
    "dropout": ["4a", "4a_auc"],
    "batch_norm": ["4b", "4b_auc"],
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
    others = ("2a", "2_leverage", "3a_corrupted_adam", "3b_corrupted_adam")
    own = [f"figure_{name}" for name in FIGURES[experiment] if not name.startswith(others)]
    if experiment == "early_stopping_grid":
        own += [f"figure_{part}_grid_sgd_learning_rate_0.03_300_images" for part in ("3a", "3b")]
    return own


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


def test_a_grid_of_few_settings_has_the_figures_of_each():
    whole = tables({"early_stopping_grid": 2})
    album = list(drawn(whole.of(whole.runs[whole.runs["config.data.train_samples"] == 300])))
    assert album[0] == "figure_3_grid"
    settings = ("adam_learning_rate_0.03", "sgd_learning_rate_0.03")
    own = [f"figure_{part}_grid_{setting}_300_images" for setting in settings for part in ("3a", "3b")]
    assert album[1:] == own


@pytest.mark.parametrize("experiment", FIGURES)
def test_figures_where_numbers_are_missing(experiment):
    whole = tables({experiment: 2})
    runs, curves, epochs = whole.runs.copy(), whole.curves.copy(), whole.epochs.copy()
    runs.loc[0, ["auc", "auc_std", "auc_normalized", "train_accuracy", "generalization_error"]] = np.nan
    curves.loc[curves["run"] == runs.loc[0, "run"], "accuracy"] = np.nan
    epochs.loc[epochs["run"] == runs.loc[0, "run"], "test/loss"] = np.nan
    needed = set(of_one(experiment)) & {f"figure_{name}" for name in FIGURES[experiment]}
    assert needed <= set(drawn(Tables(runs, curves, epochs)))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_epochs_with_infinite_losses_are_left_out(share):
    whole = tables({"early_stopping": 1})
    epochs = whole.epochs.assign(
        **{"test/loss": whole.epochs["test/loss"].where(whole.epochs["epoch"] > 12 * share, np.inf)}
    )
    album = drawn(Tables(whole.runs, whole.curves, epochs))
    assert len(album) == (2 if share < 1 else 0)
    for one in album.values():
        assert np.isfinite(one.figure.axes[0].get_xlim()).all()


@pytest.mark.parametrize("experiment", ["memorization", "dropout", "batch_norm"])
def test_figures_where_no_run_tells_its_condition(experiment):
    whole = tables({experiment: 1})
    runs = whole.runs.drop(columns=["config.data.corruption", "config.network.dropout", "config.network.batch_norm"])
    assert list(drawn(whole.of(runs))) == of_one(experiment)


@pytest.mark.parametrize("experiment", ["memorization", "dropout", "batch_norm", "early_stopping_grid"])
def test_figures_where_a_condition_is_missing(experiment):
    whole = tables({experiment: 2})
    first = whole.runs["run"].iloc[0].rpartition(",seed=")[0]
    some = whole.of(whole.runs[~whole.runs["run"].str.startswith(first)])
    assert list(drawn(some)) == [f"figure_{name}" for name in FIGURES[experiment]]


def test_no_figure_of_what_is_not_done():
    whole = tables({"memorization": 1})
    assert not drawn(whole.of(whole.runs.assign(state="failed")))


def test_bands_of_batch_norm_are_over_all_curves_and_others_over_orderings():
    first = {name: next(iter(drawn(tables({name: 2})).values())).caption for name in ("memorization", "batch_norm")}
    assert "over the orderings within a network" in first["memorization"]
    assert "over all curves of a condition" in first["batch_norm"]


def test_dropout_fractions_are_marked_in_their_colours():
    [axes] = drawn(tables({"dropout": 1}))["figure_4a"].figure.axes
    marks = [line for line in axes.lines if list(line.get_ydata()) == [0, 1] and line.get_linewidth() == 0.9]
    assert [line.get_xdata()[0] for line in marks] == [0.1, 0.3]
    curves = {line.get_label(): line.get_color() for line in axes.lines}
    assert [line.get_color() for line in marks] == [curves[f"dropout {share}, true labels"] for share in (0.1, 0.3)]


@pytest.fixture
def with_none():
    """A sweep of dropout that has networks without."""
    whole = tables({"dropout": 2})
    none = whole.of(whole.runs[whole.runs["config.network.dropout"] == 0.3])
    columns = {"config.network.dropout": 0.0, "auc": none.runs["auc"] - [0.1, 0.3, 0.2, 0.2]}
    return together(whole, renamed(none, ",none", **columns))


def test_networks_without_dropout_are_among_those_with_it(with_none):
    before = drawn(tables({"dropout": 2}))["figure_4a"].figure.axes[0]
    [axes] = drawn(with_none)["figure_4a"].figure.axes
    colours = [{line.get_label(): line.get_color() for line in one.lines} for one in (axes, before)]
    assert set(colours[0]) - set(colours[1]) >= {"no dropout, true labels", "no dropout, 100 % corrupted"}
    assert all(colours[0][f"dropout {share}, true labels"] == colours[1][f"dropout {share}, true labels"]
               for share in (0.1, 0.3))  # fmt: skip
    assert sum(line.get_xdata()[0] == 0 == line.get_xdata()[-1] for line in axes.lines) == 0  # no vertical at 0


def dots(axes):
    return [marks.get_offsets()[:, 0].tolist() for marks in axes.collections]


def test_areas_share_an_axis_and_are_compared_with_their_base_within_seeds(with_none):
    whole, apart = drawn(with_none)["figure_4a_auc"].figure.axes
    assert (whole.get_xlabel(), apart.get_xlabel()) == ("AUC (raw)", "AUC minus that\nwithout dropout")
    assert whole.get_xlim() == pytest.approx((-0.04, 1.04))
    labels = [label.get_text().replace("\n", " ") for label in whole.get_yticklabels()]
    assert labels[:3] == ["no dropout, true labels", "no dropout, 100 % corrupted", "dropout 0.1, true labels"]
    assert len(dots(whole)) == 6
    assert np.array(dots(apart)[-2:]) == pytest.approx(np.array([[0.1, 0.3], [0.2, 0.2]]))  # dropout 0.3 minus none
    for experiment, base in (("memorization", "with true labels"), ("batch_norm", "without batch norm")):
        axes = drawn(tables({experiment: 2}))[f"figure_{'1a' if base.endswith('labels') else '4b'}_auc"].figure.axes
        assert axes[1].get_xlabel() == f"AUC minus that\n{base}"
    assert len(drawn(tables({"dropout": 2}))["figure_4a_auc"].figure.axes) == 1  # there is nothing to compare with
    [normalized] = drawn(tables({"ensemble_learning_rates": 2}))["figure_2_auc_learning_rates"].figure.axes
    assert normalized.get_xlabel() == "normalized AUC"


def test_networks_without_one_of_the_same_seed_are_not_compared(with_none):
    runs = with_none.runs.assign(seed=with_none.runs["seed"] + 5 * (with_none.runs["config.network.dropout"] == 0))
    figure = drawn(with_none.of(runs))["figure_4a_auc"].figure
    assert len(figure.axes) == 1


def test_accuracy_lost_is_shown_where_conditions_start_apart():
    whole = tables({"batch_norm": 2})
    off = whole.curves["run"].str.contains("batch_norm=False")
    for lower, shown in ((0.005, False), (0.02, True)):
        curves = whole.curves.assign(accuracy=whole.curves["accuracy"] - lower * off)
        assert ("figure_4b_drop" in drawn(Tables(whole.runs, curves, whole.epochs))) == shown


def test_auc_over_a_training_is_the_normalized_one():
    whole = tables({"early_stopping": 1})
    values = whole.epochs["ablation/auc_normalized"]
    album = drawn(whole)
    areas = album["figure_3a"].figure.axes[1]
    assert areas.get_ylabel() == "normalized AUC (training images)"
    assert areas.lines[0].get_ydata() == pytest.approx(values)
    panel = album["figure_3b"].figure.axes[0]
    rho = spearman(values, whole.epochs["test/loss"])
    assert panel.get_title(loc="left") == f"seed 0: ρ {rho:.2f}".replace("-", "\N{MINUS SIGN}")
    assert panel.collections[0].get_offsets()[:, 1].tolist() == pytest.approx(values.tolist())


def test_titles_say_data_network_and_how_many():
    whole = tables({"memorization": 2})
    mlp = {"scale": "paper", "data": "mnist", "config.network._target_": "single_directions.networks.MLP"}
    runs = whole.runs.assign(**mlp, **{"config.network.hidden": "[2048, 2048]", "train_images": 10_000})
    convnet = {"config.network._target_": "x.ConvNet", "config.network.width": 0.25}
    folder = runs.assign(data="image_folder", variant="data.root=cats", **convnet)
    several = runs.assign(**{"config.network.hidden": "[8, 4]", "train_images": range(6)})
    titles = [drawn(whole.of(table))["figure_1a"].figure._suptitle.get_text() for table in (runs, folder, several)]
    assert titles == [
        "MNIST (10,000 images), MLP 2 × 2,048\n2 networks per condition",
        "cats (10,000 images), ConvNet (width 0.25)\n2 networks per condition",
        "MNIST, MLP 8, 4, 2 networks per condition",
    ]


def test_best_and_worst_are_those_of_least_and_greatest_generalization_error():
    whole = tables({"ensemble": 4})
    runs = whole.runs.assign(generalization_error=[0.3, 0.1, 0.4, 0.2])
    [axes] = drawn(whole.of(runs))["figure_2a"].figure.axes
    by_run = whole.curves.groupby(["run", "fraction_ablated"])["accuracy"].mean().unstack()
    shown = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert shown["2 smallest"] == pytest.approx(by_run.loc[runs["run"].iloc[[1, 3]]].mean().to_numpy())
    assert shown["2 largest"] == pytest.approx(by_run.loc[runs["run"].iloc[[0, 2]]].mean().to_numpy())


def test_correlation_of_the_figure_is_that_of_the_claim():
    whole = tables({"ensemble": 4})
    claims = judge(whole)
    [claim] = [claim for claim in claims if claim.id == "ensemble.generalization"]
    shown = " ".join(drawn(whole, claims)["figure_2b"].figure.get_suptitle().replace("\N{MINUS SIGN}", "-").split())
    assert f": ρ {claim.value:.3f} [{claim.low:.3f}, {claim.high:.3f}]" in shown


def test_clusters_that_the_claim_found_are_marked():
    whole = tables({"ensemble": 4})
    names = list(whole.runs["run"])
    found = {"number": 2, "names": ["cluster 1", "cluster 2"], "runs": [names[:1], names[1:]]}
    [claim] = [claim for claim in judge(whole) if claim.id == "ensemble.generalization"]
    figure = drawn(whole, [replace(claim, details={"clusters": found})])["figure_2b"].figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cluster 1", "cluster 2"]
    sizes = sorted(len(marks.lines[0].get_xdata()) for marks in figure.axes[0].containers)
    assert sizes == [1, 3]


def test_sweeps_that_cannot_be_compared_have_figures_of_their_own():
    whole = tables({"memorization": 1})
    sections = sections_of(together(whole, renamed(whole, ",network=convnet", variant="network=convnet")), ())
    names = [picture.name for section in sections for picture in pictures(section)]
    assert "figure_1a_demo-digits" in names
    assert "figure_1a_demo-digits_network=convnet" in names
    assert len(set(names)) == len(names)


def test_sections_of_an_own_experiment_have_figures_of_their_own():
    own = renamed(tables({"early_stopping": 1}), "", experiment="mine")
    sections = sections_of(together(own, renamed(own, ",again", scale="paper")), ())
    names = [picture.name for section in sections for picture in pictures(section)]
    assert {"figure_mine_training_demo-digits", "figure_mine_training_paper-digits"} <= set(names)
    assert len(set(names)) == len(names)


def test_names_of_files_are_names_of_files():
    whole = tables({"memorization": 1})
    variant = "data.root=a/b c," + ",".join(f"key{i}={'x' * 20}" for i in range(20))
    both = together(whole, renamed(whole, ",odd", variant=variant))
    _, section = sections_of(both, ())
    assert len(section.suffix) <= 151
    assert not set("/ ") & set(section.suffix)
    another = sections_of(renamed(both, "", variant=both.runs["variant"] + "."), ())[1]
    assert another.suffix != section.suffix


def test_sweeps_of_one_experiment_have_different_titles():
    whole = tables({"early_stopping": 2})
    variants = ["", "data.root=cats,network.width=0.25", "data.root=cats,network.width=0.5"]
    parts = [renamed(whole, str(place), variant=variant) for place, variant in enumerate(variants)]
    sections = sections_of(together(*parts), ())
    titles = [[picture.figure._suptitle.get_text() for picture in pictures(section)] for section in sections]
    assert titles == [
        ["digits (1,297 images), 2 trainings"] * 2,
        ["digits (1,297 images), width 0.25, 2 trainings"] * 2,
        ["digits (1,297 images), width 0.5, 2 trainings"] * 2,
    ]
