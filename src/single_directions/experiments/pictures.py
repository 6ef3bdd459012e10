"""Figures with their captions, for any experiment: curves and AUC by condition, losses and AUC over a training."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from single_directions.errors import BadInput, first_line
from single_directions.experiments.claim import by_seed
from single_directions.experiments.conditions import BASES, Condition
from single_directions.experiments.drawing.ablation import Line, Spread, ablation_figure
from single_directions.experiments.drawing.dots import Column, Row, dots_figure
from single_directions.experiments.drawing.training import training_figure
from single_directions.experiments.experiment import Picture
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import mean_interval
from single_directions.experiments.wording import count, shown

APART = 0.01
"""Accuracies that differ by less look alike in a figure."""


def pictures(section: Section) -> Iterator[Picture]:
    """The figures of a section; none where no run is done. A user's function that raises gives one clear error."""
    experiment = section.experiment
    if section.runs.empty:
        return
    try:
        yield from (experiment.pictures or by_each_key)(section)
    except Exception as error:
        if experiment.figure or experiment.pictures is None:  # of the paper, and so ours
            raise
        raise BadInput(
            f"the experiment {experiment.name}: its function `pictures` fails on {count(len(section.runs), 'run')}: "
            f"{first_line(error)}"
        ) from error


def by_condition(
    section: Section, *, spread: Spread = "orderings", verticals: Sequence[tuple[float, Any]] = ()
) -> Iterator[Picture]:
    """Accuracy against units ablated by condition, and the area under each curve.

    Where conditions start with different accuracies, what each loses is a third figure. `spread` and `verticals` are
    those of `ablation_figure`.
    """
    conditions = section.conditions()
    lines = [Line(one.label, section.curves_of(one.runs), one.colour, one.dotted) for one in conditions]
    title = heading(section)
    name = f"figure_{section.experiment.figure or section.experiment.name}"
    draw = partial(ablation_figure, lines, section.chance, title, spread=spread, verticals=verticals)
    yield Picture(
        f"{name}{section.suffix}",
        draw(),
        "Accuracy on the training images, counted by the labels that the networks were trained on, as ever more units "
        f"are ablated. {lines_and_bands(section, section.runs, spread)}"
        + (" Dashed vertical lines: the dropout fractions of the trainings." if verticals else ""),
    )
    yield areas(section, conditions, f"{name}_auc{section.suffix}", title)
    starts = [line.curves.loc[line.curves["fraction_ablated"] == 0, "accuracy"].mean() for line in lines]
    if pd.Series(starts).max() - pd.Series(starts).min() > APART:
        yield Picture(
            f"{name}_drop{section.suffix}",
            draw(drop=True),
            "The accuracy that each network loses. With nothing ablated, the accuracies of the conditions differ by "
            f"more than {APART:g}.",
        )


def by_each_key(section: Section) -> Iterator[Picture]:
    """For each key that an experiment sweeps, the curves and areas by its values; the areas by all keys together.

    Where the AUC was measured during training, it is drawn too.
    """
    experiment = section.experiment
    for column in experiment.conditions or ("",):
        by = f"_by_{column.removeprefix('config.').removesuffix('._target_')}" if column else ""
        named = replace(experiment, name=f"{experiment.name}{by}", conditions=(column,) if column else ())
        yield from by_condition(replace(section, experiment=named))
    if len(experiment.conditions) > 1:
        name = f"figure_{experiment.name}_auc{section.suffix}"
        yield areas(section, section.conditions(), name, heading(section))
    if not (epochs := section.measured_epochs).empty:
        title = section.heading(count(epochs["run"].nunique(), "training"))
        yield training(epochs, f"figure_{experiment.name}_training{section.suffix}", title)


def areas(section: Section, conditions: Sequence[Condition], name: str, title: str, raw: bool = True) -> Picture:
    """The area under each network's curve by condition, and how it differs from the base's within seeds."""
    column, kind = ("auc", "AUC (raw)") if raw else ("auc_normalized", "normalized AUC")
    columns = [Column([row(one, one.runs[column]) for one in conditions], kind, (0, 1))]
    compared = [_minus_base(one, _base(section.experiment.conditions, one, conditions), column) for one in conditions]
    caption = (
        f"Area under the curve of accuracy against fraction ablated{', not' if raw else ''} divided by the accuracy "
        "with nothing ablated. Dot: one network, the mean over its orderings; diamond: the mean over networks, with "
        "its 95 % interval where there are several."
    )
    if any(compared):
        base = BASES[section.experiment.conditions[0]][1]
        columns.append(Column(compared, f"AUC minus that\n{base}", marked=[(0.0, "")]))
        caption += f" Right: AUC minus that of the network of the same seed {base}."
    return Picture(name, dots_figure([one.label for one in conditions], columns, title), caption)


def training(epochs: pd.DataFrame, name: str, title: str) -> Picture:
    """Losses and AUC over the epochs of some trainings."""
    return Picture(
        name,
        training_figure(epochs, title),
        "Train loss, test loss and normalized AUC after every epoch. Thin lines: one training each; thick lines: the "
        "mean. Where the axis says so, high losses are cut off, to show where train and test loss diverge. "
        "Marks: the least test loss and the highest normalized AUC, small for a training and large for the mean.",
    )


def row(condition: Condition, values: pd.Series) -> Row | None:
    """A condition's row in a figure of dots: one value per network; None where no value is known."""
    known = pd.to_numeric(values).dropna()
    if known.empty:
        return None
    mean = mean_interval(known)
    return Row(list(known), mean.value, mean.low, mean.high, condition.colour, condition.dotted)


def heading(section: Section, noun: str = "network") -> str:
    """The title of a figure of all networks: with how many there are, or are in each condition."""
    counts = sorted(len(one.runs) for one in section.conditions())
    networks = count(counts[0], noun) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} {noun}s"
    return section.heading(f"{networks}{' per condition' if len(counts) > 1 else ''}")


def lines_and_bands(section: Section, runs: pd.DataFrame, spread: Spread) -> str:
    """What lines and bands of a figure of curves are, and of how many units and orderings."""
    curves = section.curves_of(runs).groupby("run")
    orderings, units = (span(values) for values in (curves["ordering"].nunique(), curves["units_ablated"].max()))
    many = len(runs) > len(section.conditions())
    over = "the orderings within a network" if spread == "orderings" else "all curves of a condition"
    return (
        f"Thick lines: means over {'networks and ' if many else ''}{orderings} ordering{'s' * (orderings != '1')} of "
        f"{units} units. Bands: one standard deviation over {over}.{' Thin lines: single networks.' if many else ''}"
    )


def span(values: pd.Series) -> str:
    """The least and the greatest value, "3 to 5"; one value where they are equal."""
    return " to ".join(f"{value:,.0f}" for value in sorted({values.min(), values.max()}))


def _base(columns: Sequence[str], condition: Condition, conditions: Sequence[Condition]) -> Condition | None:
    """What a condition is compared with: the one that differs from it in the experiment's first column alone."""
    first, *others = columns or ("",)
    if first not in BASES or first not in condition.runs:
        return None

    def values(one: Condition) -> list[str]:
        return [shown(one.runs[column].iloc[0]) for column in (first, *others) if column in one.runs]

    base = [BASES[first][0], *values(condition)[1:]]
    return next((one for one in conditions if one is not condition and values(one) == base), None)


def _minus_base(condition: Condition, base: Condition | None, column: str) -> Row | None:
    """The AUC of each network of a condition minus that of the base's network of the same seed."""
    if base is None:
        return None
    one, other = (by_seed(runs, column).groupby(level=0).mean() for runs in (condition.runs, base.runs))
    return row(condition, one - other)
