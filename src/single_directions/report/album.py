"""Which figures the runs of an experiment give, and what each shows in words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from single_directions.report.claims import ensemble
from single_directions.report.claims.claim import by_seed
from single_directions.report.claims.matched import Matched
from single_directions.report.experiments import BATCH_NORM, CORRUPTION, DROPOUT, LEARNING_RATE, Condition, Experiment
from single_directions.report.figures import (
    Column,
    Line,
    Row,
    ablation_figure,
    correlation_figure,
    dots_figure,
    equal_loss_figure,
    leverage_figure,
    scatter_figure,
    training_figure,
)
from single_directions.report.figures.early_stopping import PANELS
from single_directions.report.figures.style import BLUE, VERMILLION
from single_directions.report.heading import heading
from single_directions.report.section import Section
from single_directions.report.statistics import leave_one_out, mean_interval, spearman
from single_directions.report.weighted import Floats
from single_directions.report.wording import count, interval, number

PAPERS_SPEARMAN = -0.728
APART = 0.01
"""What accuracies may differ by without being called different: as little as that is not seen in a figure."""
_BASES = {
    CORRUPTION: ("0", "with true labels"),
    DROPOUT: ("0", "without dropout"),
    BATCH_NORM: ("False", "without batch norm"),
}
"""What conditions are compared with, by what the experiment sweeps: its value, and in words."""


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
        fractions = ((float(one.runs[DROPOUT].iloc[0]), one.colour) for one in conditions if DROPOUT in one.runs)
        look["verticals"] = list(dict.fromkeys(one for one in fractions if one[0] > 0))
    title, name = heading(section, _amount(section, conditions)), f"figure_{section.experiment.figure}"
    yield Picture(
        f"{name}{section.suffix}",
        ablation_figure(lines, section.chance, title, **look),
        "Accuracy on the training images, counted by the labels that the networks were trained on, as ever more units "
        f"are ablated. {_drawn(section, section.runs, look['spread'])}"
        + (" Dashed vertical lines: the dropout fractions of the trainings." if "verticals" in look else ""),
    )
    yield _areas(section, conditions, f"{name}_auc{section.suffix}", title)
    if _start_apart(lines):
        yield Picture(
            f"{name}_drop{section.suffix}",
            ablation_figure(lines, section.chance, title, **look, drop=True),
            "The accuracy that each network loses. With nothing ablated, the accuracies of the conditions differ by "
            f"more than {APART:g}.",
        )
    if section.matched:
        yield _equal_loss(section, section.matched, f"{name}_equal_loss{section.suffix}")


def _start_apart(lines: Sequence[Line]) -> bool:
    """Whether the conditions' accuracies differ before anything is ablated, so that what each loses tells more."""
    starts = [line.curves.loc[line.curves["fraction_ablated"] == 0, "accuracy"].mean() for line in lines]
    return bool(np.nanmax(starts) - np.nanmin(starts) > APART) if np.isfinite(starts).any() else False


def _equal_loss(section: Section, matched: Matched, name: str) -> Picture:
    trainings = matched.trainings[["corruption", "seed"]].drop_duplicates().groupby("corruption").size()
    return Picture(
        name,
        equal_loss_figure(
            matched.trainings, matched.reached, heading(section, f"{_range(trainings)} trainings a level")
        ),
        "Normalized AUC against training loss, which falls from left to right, in trainings of the same settings that "
        "measured both after every epoch. Thin: a training; thick: the mean at equal training loss. Dashed: the least "
        "training loss that all of them reach.",
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
        title = heading(section, _amount(section, section.conditions()))
        yield _areas(section, section.conditions(), f"figure_2_auc{place}", title, raw=False)


def _best_and_worst(section: Section, name: str) -> Picture:
    networks = ensemble.networks(section.runs)
    best, worst = ensemble.best_and_worst(networks)
    lines = [
        Line(f"{len(best)} smallest", section.curves_of(best), BLUE),
        Line(f"{len(worst)} largest", section.curves_of(worst), VERMILLION),
    ]
    title = heading(section, f"{len(best) + len(worst)} of {count(len(networks), 'network')}")
    return Picture(
        name,
        ablation_figure(lines, section.chance, title, legend="generalization error", spread="curves"),
        f"Accuracy on the training images as ever more units are ablated, for the {len(best)} networks with the "
        f"smallest and the {len(worst)} with the largest generalization error. "
        f"{_drawn(section, pd.concat([best, worst]), 'curves')}",
    )


def _scatter(section: Section, networks: pd.DataFrame, name: str) -> Picture:
    claim: Any = next((claim for claim in section.claims if claim["id"].endswith(".generalization")), None)
    told = f": ρ {interval(claim, 2)}" if claim and claim["value"] is not None else ""
    groups, legend = _clusters(claim, networks), "cluster"
    if section.experiment.conditions:
        groups, legend = networks[LEARNING_RATE].sort_values().map("{:g}".format), "learning rate"
    return Picture(
        name,
        scatter_figure(networks, groups, legend, heading(section, count(len(networks), "network")) + told),
        "One mark for each network. Normalized AUC: the area under its curve, divided by its accuracy with nothing "
        "ablated."
        + (" Bars: one standard error of the mean over orderings." if "auc_normalized_std" in networks else "")
        + (f" Colours and marks: {legend}." if groups is not None else "")
        + (" ρ: Spearman's correlation, with its 95 % interval." if told else ""),
    )


def _leverage(section: Section, networks: pd.DataFrame, without: Floats, name: str) -> Picture:
    names = [f"seed {seed:.0f}" for seed in networks["seed"]]
    if section.experiment.conditions:
        rates = [f"learning rate {rate:g}" for rate in networks[LEARNING_RATE]]
        names = [", ".join(pair) for pair in zip(names, rates, strict=True)]
    whole = spearman(networks["generalization_error"], networks["auc_normalized"])
    return Picture(
        name,
        leverage_figure(names, without, whole, heading(section, count(len(networks), "network"))),
        "ρ: Spearman's correlation of normalized AUC and generalization error when one network is left out. The three "
        f"networks that change it most are named. Dashed line: the correlation of all networks, {number(whole, 2)}.",
    )


def _early_stopping(section: Section) -> Iterator[Picture]:
    """Figures 3a and 3b."""
    epochs = section.measured_epochs
    if epochs.empty:
        return
    yield _training(section, epochs, f"figure_3a{section.suffix}")
    yield _correlations(section, epochs, f"figure_3b{section.suffix}")


def _early_stopping_corrupted(section: Section) -> Iterator[Picture]:
    """Figures 3a and 3b for each optimizer."""
    for condition in section.conditions():
        epochs = section.measured_epochs
        epochs = epochs[epochs["run"].isin(condition.runs["run"])]
        if not epochs.empty:
            name = f"corrupted_{condition.label.lower().replace(' ', '_')}{section.suffix}"
            yield _training(section, epochs, f"figure_3a_{name}", condition.label)
            yield _correlations(section, epochs, f"figure_3b_{name}", condition.label)


def _training(section: Section, epochs: pd.DataFrame, name: str, condition: str = "") -> Picture:
    """Losses and AUC over the epochs of some trainings."""
    amount = count(epochs["run"].nunique(), "training")
    return Picture(
        name,
        training_figure(epochs, heading(section, ", ".join(filter(None, (condition, amount))))),
        "Train loss, test loss and normalized AUC after every epoch. Thin lines: one training each; thick lines: the "
        "mean. Where the axis says so, high losses are cut off, to show where train and test loss part. "
        "Marks: the least test loss and the highest normalized AUC, small for a training and large for the mean.",
    )


def _correlations(section: Section, epochs: pd.DataFrame, name: str, condition: str = "") -> Picture:
    """AUC against test loss over the epochs of some trainings."""
    seeds = section.runs.set_index("run")["seed"]
    trainings = {str(run): one for run, one in epochs.groupby("run")}
    titles = {run: f"seed {seeds[run]:.0f}: ρ {number(_correlation(one), 2)}" for run, one in trainings.items()}
    amount = count(len(trainings), "training")
    more = f" The first {PANELS} of {len(trainings)} trainings are shown." if len(trainings) > PANELS else ""
    return Picture(
        name,
        correlation_figure(epochs, titles, heading(section, ", ".join(filter(None, (condition, amount))))),
        "Normalized AUC against test loss: one panel for each training, one mark for each epoch. ρ: Spearman's "
        f"correlation over all epochs (in the paper, with true labels: {number(PAPERS_SPEARMAN)}).{more}",
    )


def _early_stopping_grid(section: Section) -> Iterator[Picture]:
    """Spearman over optimizer, learning rate and number of training images."""
    found = {run: _correlation(one) for run, one in section.measured_epochs.groupby("run")}
    conditions = section.conditions()
    rows = [_row(one, one.runs["run"].map(found)) for one in conditions]
    known = [(one.label, row) for one, row in zip(conditions, rows, strict=True) if row is not None]
    if known:
        marked = [(PAPERS_SPEARMAN, "the paper's"), (0.0, "no correlation")]
        column = Column([row for _, row in known], "ρ of normalized AUC and test loss", (-1, 1), marked)
        yield Picture(
            f"figure_3_grid{section.suffix}",
            dots_figure(
                [label for label, _ in known], [column], heading(section, _amount(section, conditions, "training"))
            ),
            "ρ: Spearman's correlation of normalized AUC and test loss over the epochs of a training. Dot: one "
            "training; diamond: the mean, with its 95 % interval.",
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


def _areas(section: Section, conditions: Sequence[Condition], name: str, title: str, raw: bool = True) -> Picture:
    """The area under each network's curve, by condition, and within seeds what tells it from that of the base."""
    areas, kind = ("auc", "AUC (raw)") if raw else ("auc_normalized", "normalized AUC")
    columns = [Column([_row(one, one.runs[areas]) for one in conditions], kind, (0, 1))]
    compared = [_apart(one, _base(section.experiment, one, conditions), areas) for one in conditions]
    caption = (
        f"Area under the curve of accuracy against fraction ablated{', not' if raw else ''} divided by the accuracy "
        "with nothing ablated. Dot: one network, the mean over its orderings; diamond: the mean over networks, with "
        "its 95 % interval where there are several."
    )
    if any(compared):
        base = _BASES[section.experiment.conditions[0]][1]
        columns.append(Column(compared, f"AUC minus that\n{base}", marked=[(0.0, "")]))
        caption += f" Right: AUC minus that of the network of the same seed {base}."
    return Picture(name, dots_figure([one.label for one in conditions], columns, title), caption)


def _base(experiment: Experiment, condition: Condition, conditions: Sequence[Condition]) -> Condition | None:
    """What a condition is compared with: the one that differs from it in the experiment's first key alone."""
    first, *others = experiment.conditions or ("",)
    if first not in _BASES or first not in condition.runs:
        return None

    def value(one: Condition, column: str) -> str:
        found = one.runs[column].iloc[0] if column in one.runs else ""
        return str(found) if isinstance(found, str | bool | np.bool_) else f"{found:g}"

    for other in conditions:
        alike = all(value(other, column) == value(condition, column) for column in others)
        if other is not condition and alike and value(other, first) == _BASES[first][0]:
            return other
    return None


def _apart(condition: Condition, base: Condition | None, areas: str) -> Row | None:
    """The AUC of each network of a condition minus that of the base's network of the same seed."""
    if base is None:
        return None
    one, other = (by_seed(runs, areas).groupby(level=0).mean() for runs in (condition.runs, base.runs))
    return _row(condition, one - other)


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


def _amount(section: Section, conditions: Sequence[Condition] = (), noun: str = "network") -> str:
    """How many networks there are, or are in each condition."""
    counts = sorted({len(one.runs) for one in conditions} or {len(section.runs)})
    networks = f"{counts[0]} to {counts[-1]} {noun}s" if len(counts) > 1 else count(counts[0], noun)
    return f"{networks}{' per condition' if len(conditions) > 1 else ''}"


def _drawn(section: Section, runs: pd.DataFrame, spread: str) -> str:
    """What lines and bands are, and of how many units and orderings."""
    curves = section.curves_of(runs).groupby("run")
    orderings, units = (_range(values) for values in (curves["ordering"].nunique(), curves["units_ablated"].max()))
    many = len(runs) > len(section.conditions())
    over = "the orderings within a network" if spread == "orderings" else "all curves of a condition"
    return (
        f"Thick lines: means over {'networks and ' if many else ''}{orderings} ordering{'s' * (orderings != '1')} of "
        f"{units} units. Bands: one standard deviation over {over}.{' Thin lines: single networks.' if many else ''}"
    )


def _range(values: pd.Series) -> str:
    return " to ".join(f"{value:,.0f}" for value in sorted({values.min(), values.max()}))


def _correlation(epochs: pd.DataFrame) -> float:
    return spearman(epochs["ablation/auc_normalized"], epochs["test/loss"])
