"""Which figures the runs of an experiment give, and what each shows in words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from single_directions.report.claims import ensemble
from single_directions.report.experiments import DROPOUT, LEARNING_RATE, Condition
from single_directions.report.figures import (
    Line,
    Row,
    ablation_figure,
    correlation_figure,
    dots_figure,
    leverage_figure,
    scatter_figure,
    training_figure,
)
from single_directions.report.figures.style import BLUE, VERMILLION
from single_directions.report.section import Section
from single_directions.report.statistics import leave_one_out, mean_interval, spearman
from single_directions.report.weighted import Floats
from single_directions.report.wording import count, interval, number

PAPERS_SPEARMAN = -0.728


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and its caption."""

    name: str
    figure: Figure
    caption: str


def pictures(section: Section) -> Iterator[Picture]:
    """The figures of a section: the paper's, then those beyond it. None where no run is done."""
    if not section.runs.empty:
        yield from _ALBUM.get(section.experiment.name, _own)(section)


def _by_condition(section: Section) -> Iterator[Picture]:
    """Figures 1a to 1c, 4a and 4b."""
    conditions = section.conditions()
    lines = [Line(one.label, section.curves_of(one.runs), one.colour, one.dotted) for one in conditions]
    look: dict[str, Any] = {"spread": "curves" if section.experiment.name == "batch_norm" else "orderings"}
    if section.experiment.name == "dropout":
        look["verticals"] = list(dict.fromkeys((float(one.runs[DROPOUT].iloc[0]), one.colour) for one in conditions))
    title, name = _title(section, conditions), f"figure_{section.experiment.figure}"
    yield Picture(
        f"{name}{section.suffix}",
        ablation_figure(lines, section.chance, title, **look),
        "Accuracy on training images, on the labels trained with, against the fraction of units ablated. "
        + _drawn(section, section.runs, look["spread"])
        + (" Dashed verticals: the dropout fractions trained with." if "verticals" in look else ""),
    )
    yield _areas(section, conditions, f"{name}_auc{section.suffix}", title)
    yield Picture(
        f"{name}_drop{section.suffix}",
        ablation_figure(lines, section.chance, title, **look, drop=True),
        "The same as accuracy lost, so that networks that start elsewhere can be compared.",
    )


def _ensemble(section: Section) -> Iterator[Picture]:
    """Figures 2a and 2b, and the leverage of single networks."""
    networks = ensemble.networks(section.runs)
    rates = section.experiment.name == "ensemble_learning_rates"
    place = f"{'_learning_rates' if rates else ''}{section.suffix}"
    if len(networks) > 1:
        yield _best_and_worst(section, f"figure_2a{place}")
    if len(networks):
        yield _scatter(section, networks, f"figure_2b{place}")
    without = leave_one_out(networks["generalization_error"], networks["auc_normalized"])
    if len(networks) > 3 and np.isfinite(without).all():
        yield _leverage(section, networks, without, f"figure_2_leverage{place}")
    if rates:
        yield _areas(section, section.conditions(), f"figure_2_auc{place}", _title(section))


def _best_and_worst(section: Section, name: str) -> Picture:
    networks = ensemble.networks(section.runs)
    best, worst = ensemble.best_and_worst(networks)
    lines = [
        Line(f"{len(best)} smallest", section.curves_of(best), BLUE),
        Line(f"{len(worst)} largest", section.curves_of(worst), VERMILLION),
    ]
    return Picture(
        name,
        ablation_figure(lines, section.chance, _title(section), legend="generalization error", spread="curves"),
        f"The {len(best)} networks with the smallest and the {len(worst)} with the largest generalization error, of "
        f"{len(networks)}. {_drawn(section, best, 'curves')}",
    )


def _scatter(section: Section, networks: pd.DataFrame, name: str) -> Picture:
    claim: Any = next((claim for claim in section.claims if claim["id"].endswith(".generalization")), None)
    told = f": ρ {interval(claim, 2)}" if claim and claim["value"] is not None else ""
    groups, legend = _clusters(claim, networks), "cluster"
    if section.experiment.conditions:
        groups, legend = networks[LEARNING_RATE].sort_values().map("{:g}".format), "learning rate"
    return Picture(
        name,
        scatter_figure(networks, groups, legend, f"{section.title}{told}"),
        f"A mark a network ({len(networks)}): the area under its curve, divided by the accuracy with nothing ablated, "
        f"against its generalization error.{f' Colours and marks: {legend}.' if groups is not None else ''}",
    )


def _leverage(section: Section, networks: pd.DataFrame, without: Floats, name: str) -> Picture:
    names = [f"seed {seed:.0f}" for seed in networks["seed"]]
    if section.experiment.conditions:
        rates = [f"learning rate {rate:g}" for rate in networks[LEARNING_RATE]]
        names = [", ".join(pair) for pair in zip(names, rates, strict=True)]
    whole = spearman(networks["generalization_error"], networks["auc_normalized"])
    return Picture(
        name,
        leverage_figure(names, without, whole, f"{section.title}: ρ {number(whole, 2)} with all"),
        "Spearman's correlation of normalized AUC and generalization error when one network is left out; the three "
        "that matter most are named. Dashed: with all networks.",
    )


def _early_stopping(section: Section) -> Iterator[Picture]:
    """Figures 3a and 3b."""
    epochs = section.measured_epochs
    if epochs.empty:
        return
    trainings = dict(list(epochs.groupby("run")))
    yield _training(section, epochs, "figure_3a", section.title)
    seeds = section.runs.set_index("run")["seed"]
    titles = {str(run): f"seed {seeds[run]:.0f}: ρ {number(_correlation(one), 2)}" for run, one in trainings.items()}
    yield Picture(
        f"figure_3b{section.suffix}",
        correlation_figure(epochs, titles, section.title),
        "AUC against test loss, a mark an epoch, a panel a training, with Spearman's correlation over all its epochs "
        f"(the paper's: {number(PAPERS_SPEARMAN)}). The axes are those of the epochs past the first tenth.",
    )


def _early_stopping_corrupted(section: Section) -> Iterator[Picture]:
    """Figure 3a for each optimizer."""
    for condition in section.conditions():
        epochs = section.measured_epochs
        epochs = epochs[epochs["run"].isin(condition.runs["run"])]
        if not epochs.empty:
            name = f"figure_3a_corrupted_{condition.label.lower().replace(' ', '_')}"
            yield _training(section, epochs, name, f"{section.title}, {condition.label}")


def _training(section: Section, epochs: pd.DataFrame, name: str, title: str) -> Picture:
    """Losses and AUC over the epochs of some trainings."""
    return Picture(
        f"{name}{section.suffix}",
        training_figure(epochs, f"{title}: {count(epochs['run'].nunique(), 'training')}"),
        "Losses and AUC after every epoch. Thin: a training; thick: the mean. The losses' axis is cut off so that "
        "train and test loss are seen to part. Marks: the least test loss and the highest AUC, large for the mean.",
    )


def _early_stopping_grid(section: Section) -> Iterator[Picture]:
    """Spearman over optimizer, learning rate and number of training images."""
    found = {run: _correlation(one) for run, one in section.measured_epochs.groupby("run")}
    rows = [_row(one, one.runs["run"].map(found)) for one in section.conditions()]
    known = [row for row in rows if row is not None]
    if known:
        marked = [(PAPERS_SPEARMAN, "the paper's"), (0.0, "no correlation")]
        yield Picture(
            f"figure_3_grid{section.suffix}",
            dots_figure(known, "Spearman(AUC, test loss)", section.title, marked, limits=(-1, 1)),
            "Spearman's correlation of AUC and test loss over the epochs of a training: a dot a training, a diamond at "
            "the mean, with its 95 % interval.",
        )


def _own(section: Section) -> Iterator[Picture]:
    """For each key that an experiment of the user's sweeps, the curves and areas by its values.

    Where several keys are swept, the areas by all of them too.
    """
    experiment = section.experiment
    for column in experiment.conditions or ("",):
        by = f"_by_{column.removeprefix('config.').removesuffix('._target_')}" if column else ""
        named = replace(experiment, figure=f"{experiment.name}{by}", conditions=(column,) if column else ())
        yield from _by_condition(replace(section, experiment=named))
    if len(experiment.conditions) > 1:
        conditions = section.conditions()
        yield _areas(section, conditions, f"figure_{experiment.name}_auc{section.suffix}", section.title)
    if not section.measured_epochs.empty:
        yield _training(section, section.measured_epochs, f"figure_{experiment.name}_training", section.title)


_ALBUM: dict[str, Callable[[Section], Iterator[Picture]]] = {
    "memorization": _by_condition,
    "memorization_cifar10": _by_condition,
    "memorization_imagenet": _by_condition,
    "ensemble": _ensemble,
    "ensemble_learning_rates": _ensemble,
    "early_stopping": _early_stopping,
    "early_stopping_grid": _early_stopping_grid,
    "early_stopping_corrupted": _early_stopping_corrupted,
    "dropout": _by_condition,
    "batch_norm": _by_condition,
}


def _areas(section: Section, conditions: Sequence[Condition], name: str, title: str) -> Picture:
    """The area under each network's curve, by condition."""
    rows = [_row(one, one.runs["auc"]) for one in conditions]
    return Picture(
        name,
        dots_figure([row for row in rows if row is not None], "AUC", title),
        "Area under the curve: a dot a network (the mean over its orderings), a diamond at the mean over networks, "
        "with its 95 % interval where there are several.",
    )


def _row(condition: Condition, values: pd.Series) -> Row | None:
    known = pd.to_numeric(values).dropna()
    if known.empty:
        return None
    mean = mean_interval(known)
    return Row(condition.label, list(known), mean.value, mean.low, mean.high, condition.colour, condition.dotted)


def _clusters(claim: Any, networks: pd.DataFrame) -> pd.Series | None:
    """The cluster of each network, in the clusters' order, where the claim about them found several."""
    found: Any = claim["details"]["clusters"] if claim else {"number": 0}
    if found["number"] < 2:
        return None
    cluster = {run: name for name, runs in zip(found["names"], found["runs"], strict=True) for run in runs}
    return networks["run"].map(cluster).sort_values()


def _title(section: Section, conditions: Sequence[Condition] = ()) -> str:
    """The place in short, and how many networks there are, or are in each condition."""
    counts = sorted({len(one.runs) for one in conditions} or {len(section.runs)})
    networks = f"{counts[0]} to {counts[-1]} networks" if len(counts) > 1 else count(counts[0], "network")
    return f"{section.title}: {networks}{' a condition' if len(conditions) > 1 else ''}"


def _drawn(section: Section, runs: pd.DataFrame, spread: str) -> str:
    """What lines and bands are, and of how many units and orderings."""
    curves = section.curves_of(runs).groupby("run")
    orderings, units = (_range(values) for values in (curves["ordering"].nunique(), curves["units_ablated"].max()))
    over = "orderings within a network" if spread == "orderings" else "all curves"
    thin = ", thin lines: single networks" if len(runs) > len(section.conditions()) else ""
    return f"{orderings} orderings of {units} units; bands: one standard deviation over {over}{thin}."


def _range(values: pd.Series) -> str:
    return " to ".join(f"{value:,.0f}" for value in sorted({values.min(), values.max()}))


def _correlation(epochs: pd.DataFrame) -> float:
    return spearman(epochs["ablation/auc"], epochs["test/loss"])
