"""Which figures the runs of an experiment give, and what each shows in words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from single_directions.report.experiments import CORRUPTION, DROPOUT, LEARNING_RATE, Condition
from single_directions.report.figures import (
    Line, Row, ablation_figure, correlation_figure, dots_figure, leverage_figure, scatter_figure, training_figure,
)  # fmt: skip
from single_directions.report.figures.style import BLUE, VERMILLION
from single_directions.report.section import Section, spearman_of
from single_directions.report.statistics import clusters, correlation, leave_one_out, mean_interval
from single_directions.report.wording import count, interval, number

BEST_AND_WORST = 5
PAPERS_SPEARMAN = -0.728


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and its caption."""

    name: str
    figure: Figure
    caption: str


def pictures(section: Section) -> Iterator[Picture]:
    """The figures of a sweep: the paper's, then those beyond it. None where no run is done."""
    if not section.runs.empty:
        yield from _ALBUM[section.experiment.name](section)


def _by_condition(section: Section) -> Iterator[Picture]:
    """Figures 1a to 1c, 4a and 4b."""
    conditions = section.conditions()
    lines = [Line(one.label, section.curves_of(one.runs), one.colour, one.dotted) for one in conditions]
    spread: Any = "curves" if section.experiment.name == "batch_norm" else "orderings"
    verticals = []
    if section.experiment.name == "dropout":
        verticals = list(dict.fromkeys((float(one.runs[DROPOUT].iloc[0]), one.colour) for one in conditions))
    title, name = _title(section, conditions), f"figure_{section.experiment.figure}"
    yield Picture(
        name + section.suffix,
        ablation_figure(lines, section.chance, title, spread=spread, verticals=verticals),
        f"Accuracy on training images, on the labels trained with, against the fraction of units ablated. {_drawn(section, spread)}"
        + (" Dashed verticals: the dropout fractions trained with." if verticals else ""),
    )
    yield Picture(
        f"{name}_drop{section.suffix}",
        ablation_figure(lines, section.chance, title, spread=spread, verticals=verticals, drop=True),
        "The same as accuracy lost, so that networks that start elsewhere can be compared.",
    )
    yield _areas(section, conditions, f"{name}_auc{section.suffix}", title)


def _ensemble(section: Section) -> Iterator[Picture]:
    """Figures 2a and 2b, and the leverage of single networks."""
    networks = section.runs.dropna(subset=["generalization_error", "auc_normalized"])
    tag = "_learning_rates" if section.experiment.name.endswith("learning_rates") else ""
    if len(networks) > 1:
        count = min(BEST_AND_WORST, len(networks) // 2)
        ranked = networks.sort_values(["generalization_error", "run"])
        lines = [
            Line(f"{count} smallest", section.curves_of(ranked.head(count)), BLUE),
            Line(f"{count} largest", section.curves_of(ranked.tail(count)), VERMILLION),
        ]
        yield Picture(
            f"figure_2a{tag}{section.suffix}",
            ablation_figure(lines, section.chance, _title(section), legend="generalization\nerror", spread="curves"),
            f"The {count} networks with the smallest and the {count} with the largest generalization error of "
            f"{len(networks)}. {_drawn(section, 'curves')}",
        )
    if networks.empty:
        return
    errors, areas = networks["generalization_error"], networks["auc_normalized"]
    found, (groups, legend) = correlation(areas, errors), _groups(section, networks)
    told = f"Spearman {interval(found.value, found.low, found.high, 2)}"
    yield Picture(
        f"figure_2b{tag}{section.suffix}",
        scatter_figure(networks, groups, legend, f"{_title(section)}, {told}"),
        "A mark a network: the area under its curve, over the accuracy with nothing ablated, against its "
        "generalization error." + (f" Colours and marks: {legend}." if groups else ""),
    )
    if len(networks) > 3 and np.isfinite(found.value):
        names = [f"seed {seed}" for seed in networks["seed"]]
        yield Picture(
            f"figure_2_leverage{tag}{section.suffix}",
            leverage_figure(names, leave_one_out(areas, errors), found.value, _title(section), "Spearman without it"),
            "What the correlation of AUC with generalization error becomes when one network is left out; the three that "
            "matter most are named.",
        )
    if tag:
        yield _areas(section, section.conditions(), f"figure_2_auc{tag}{section.suffix}", _title(section))


def _early_stopping(section: Section) -> Iterator[Picture]:
    """Figures 3a and 3b."""
    epochs = section.measured_epochs
    if epochs.empty:
        return
    title = f"{section.place}: {count(epochs['run'].nunique(), 'training')}"
    yield Picture(
        f"figure_3a{section.suffix}",
        training_figure(epochs, title),
        "Losses and AUC after every epoch. Thin: a training; thick: the mean. The losses' axis is cut off so that train "
        "and test loss are seen to part. Marks: the least test loss and the highest AUC, large for the mean.",
    )
    titles = {
        run: f"{_seed(section, run)}: ρ = {number(spearman_of(one), 2)}"
        for run, one in epochs.groupby("run")
    }
    yield Picture(
        f"figure_3b{section.suffix}",
        correlation_figure(epochs, titles),
        "AUC against test loss, a mark an epoch, a panel a training, with Spearman's correlation over its epochs "
        f"(the paper's: {number(PAPERS_SPEARMAN)}).",
    )


def _early_stopping_grid(section: Section) -> Iterator[Picture]:
    """Spearman over optimizer, learning rate and number of training images."""
    epochs = section.measured_epochs
    if epochs.empty:
        return
    found = {run: spearman_of(one) for run, one in epochs.groupby("run")}
    rows = [_row(one, one.runs["run"].map(found)) for one in section.conditions()]
    yield Picture(
        f"figure_3_grid{section.suffix}",
        dots_figure(
            [row for row in rows if row is not None], "Spearman(AUC, test loss) over a training", _title(section),
            [(PAPERS_SPEARMAN, "the paper's"), (0, "none")],
        ),
        "Spearman's correlation of AUC with test loss over the epochs of a training: a dot a training, a diamond at the "
        "mean, with a 95 % interval.",
    )  # fmt: skip


def _areas(section: Section, conditions: list[Condition], name: str, title: str) -> Picture:
    """The area under each network's curve, by condition."""
    rows = [_row(one, one.runs["auc"]) for one in conditions]
    return Picture(
        name,
        dots_figure([row for row in rows if row is not None], "AUC", title),
        "Area under the curve: a dot a network (the mean over its orderings), a diamond at the mean over networks, with a "
        "95 % interval where there are several.",
    )


def _row(condition: Condition, values: pd.Series) -> Row | None:
    known = values.astype(float).dropna()
    if known.empty:
        return None
    mean = mean_interval(known)
    return Row(condition.label, list(known), mean.value, mean.low, mean.high, condition.colour, condition.dotted)


def _title(section: Section, conditions: list[Condition] | None = None) -> str:
    counts = sorted({len(one.runs) for one in conditions or [Condition("", section.runs, BLUE)]})
    networks = f"{counts[0]} to {counts[-1]} networks" if len(counts) > 1 else count(counts[0], "network")
    return f"{section.place}: {networks}{' a condition' if conditions and len(conditions) > 1 else ''}"


def _drawn(section: Section, spread: str) -> str:
    """What lines and bands are, and of how many units and orderings."""
    orderings, units = (_range(section.runs[column]) for column in ("orderings", "units"))
    over = "orderings within a network" if spread == "orderings" else "all curves"
    several = section.runs.shape[0] > len(section.conditions())
    thin = ", thin lines: single networks" if several else ""
    return f"{orderings} orderings of {units} units; bands: one standard deviation over {over}{thin}."


def _range(values: pd.Series) -> str:
    known = sorted({int(value) for value in values.dropna()})
    return "?" if not known else f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"


def _groups(section: Section, networks: pd.DataFrame) -> tuple[list[str] | None, str]:
    """What sets networks of Figure 2b apart, and its name: the learning rate, or clusters if there are several."""
    if LEARNING_RATE in section.experiment.conditions:
        return [f"{rate:g}" for rate in networks[LEARNING_RATE]], "learning rate"
    found = clusters(networks["generalization_error"], networks["auc_normalized"])
    return ([f"{cluster + 1}" for cluster in found], "cluster") if found.any() else (None, "")


def _seed(section: Section, run: object) -> str:
    return f"seed {section.runs.set_index('run').at[run, 'seed']}"


_ALBUM: dict[str, Callable[[Section], Iterator[Picture]]] = {
    "memorization": _by_condition,
    "memorization_cifar10": _by_condition,
    "memorization_imagenet": _by_condition,
    "ensemble": _ensemble,
    "ensemble_learning_rates": _ensemble,
    "early_stopping": _early_stopping,
    "early_stopping_grid": _early_stopping_grid,
    "dropout": _by_condition,
    "batch_norm": _by_condition,
}
