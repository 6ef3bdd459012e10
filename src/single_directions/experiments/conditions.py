"""The conditions of an experiment: networks that differ in their seed alone, with a label and a colour."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from single_directions.experiments.drawing.style import BLACK, BLUE, DISTINCT, GREY, VERMILLION, corruption_colour
from single_directions.experiments.wording import corrupted, shown

CORRUPTION = "config.data.corruption"
DROPOUT = "config.network.dropout"
BATCH_NORM = "config.network.batch_norm"
LEARNING_RATE = "config.optimizer.lr"
OPTIMIZER = "config.optimizer._target_"
TRAIN_SAMPLES = "config.data.train_samples"

BASES = {
    CORRUPTION: ("0", "with true labels"),
    DROPOUT: ("0", "without dropout"),
    BATCH_NORM: ("False", "without batch norm"),
}
"""The value of a column that its other values are compared with, and the words for it."""


@dataclass(frozen=True)
class Condition:
    """Networks that differ in their seed alone: their label, their rows of the table of runs, and how to draw them."""

    label: str
    runs: pd.DataFrame
    colour: Any
    dotted: bool = False


def conditions_of(columns: tuple[str, ...], runs: pd.DataFrame) -> list[Condition]:
    """The conditions among `runs`, sorted by their values in some columns."""
    known = [column for column in columns if column in runs]
    if not known:
        return [Condition("all networks", runs, BLUE)]
    ranks = sorted(set(runs[known[0]].dropna()) - {0}, key=_order)
    groups = sorted(runs.groupby(known, dropna=False), key=lambda group: [_order(value) for value in group[0]])
    return [_condition(dict(zip(known, key, strict=True)), own, ranks) for key, own in groups]


def by_column(runs: pd.DataFrame, column: str) -> dict[Any, pd.DataFrame]:
    """The runs at each value of a column, in order; {} where there is no such column."""
    return dict(iter(runs.groupby(column))) if column in runs else {}


def _condition(values: dict[str, Any], runs: pd.DataFrame, ranks: list[Any]) -> Condition:
    """One condition. `ranks` are the values of the first column without 0; the place among them gives the colour."""
    label = ", ".join(label_of(column, value) for column, value in values.items())
    corruption = values.get(CORRUPTION)
    first = next(iter(values.values()))
    place = ranks.index(first) if first in ranks else len(ranks)
    colour: Any = DISTINCT[place % len(DISTINCT)]
    if list(values) == [CORRUPTION]:
        colour = GREY if pd.isna(corruption) else corruption_colour(float(corruption))
    elif list(values) == [BATCH_NORM]:
        colour = BLUE if str(first) == "True" else VERMILLION
    elif first == 0:
        colour = BLACK  # so that the colours of the others do not depend on it
    dotted = len(values) > 1 and bool(pd.notna(corruption) and corruption > 0)
    return Condition(label, runs, colour, dotted)


_LABELS: dict[str, Callable[[Any], str]] = {
    CORRUPTION: lambda value: corrupted(float(value)),
    DROPOUT: lambda value: "no dropout" if value == 0 else f"dropout {value:g}",
    BATCH_NORM: lambda value: "with batch norm" if str(value) == "True" else "without batch norm",
    LEARNING_RATE: lambda value: f"learning rate {value:g}",
    TRAIN_SAMPLES: lambda value: f"{float(value):,.0f} images",
}


def label_of(column: str, value: Any) -> str:
    """A value of a column in words: "20 % corrupted", "learning rate 0.1", "width 64"."""
    key = column.rpartition(".")[2]
    if pd.isna(value):
        return "all images" if column == TRAIN_SAMPLES else f"no {key}"
    if column in _LABELS:
        return _LABELS[column](value)
    if key == "_target_":
        return str(value).rpartition(".")[2]
    return f"{key} {shown(value)}"


def _order(value: Any) -> tuple[bool, str, float]:
    """Numbers by size, then words, then what is missing; True before False."""
    if pd.isna(value):
        return (True, "", 0.0)
    if str(value) in ("True", "False"):
        return (False, "", float(str(value) == "False"))
    return (False, "", float(value)) if isinstance(value, int | float) else (False, str(value), 0.0)
