"""The paper's experiments as the report shows them, and what sets the networks of each apart."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from single_directions.report.figures.style import BLACK, BLUE, DISTINCT, GREY, VERMILLION, corruption_colour

CORRUPTION = "config.data.corruption"
DROPOUT = "config.network.dropout"
BATCH_NORM = "config.network.batch_norm"
LEARNING_RATE = "config.optimizer.lr"
OPTIMIZER = "config.optimizer._target_"
TRAIN_SAMPLES = "config.data.train_samples"


@dataclass(frozen=True)
class Experiment:
    """One of the paper's experiments.

    `figure` is its number in the paper, `data` what it has there. `conditions` are the columns of the table of runs by
    which its networks are told apart, seeds aside. Claims of those that are not the paper's, which ask the same of
    more settings, are not counted.
    """

    name: str
    figure: str
    heading: str
    asks: str
    data: str
    conditions: tuple[str, ...] = ()
    papers: bool = True


_MEMORIZES = "Ever more of the training labels were shuffled. Do networks that must memorize them lose accuracy sooner?"
_DIFFER = (
    "Networks that differ in {} were trained alike. Do those that generalize better rely less on single directions?"
)
_DROPOUT = "True and shuffled labels were learnt with dropout. Does it guard against ablation past its own fraction?"
_BATCH_NORM = "The same network with and without batch norm. Does it rely less on single directions with it?"
_TRAINING = (
    "AUC and losses were measured after every epoch; nothing stopped the training. Does the AUC turn down where train "
    "and test loss part?"
)
_GRID = "The same for several optimizers, learning rates and numbers of training images: when does the AUC tell?"

_CORRUPTED = (
    "The same with half of the labels shuffled, where overfitting costs test accuracy: does the AUC turn down then? A "
    "check, not in the paper."
)

_ALL = (
    Experiment("memorization", "1a", "Memorization: multilayer perceptron", _MEMORIZES, "mnist", (CORRUPTION,)),
    Experiment("memorization_cifar10", "1b", "Memorization: convolutional network", _MEMORIZES, "cifar10",
               (CORRUPTION,)),
    Experiment("memorization_imagenet", "1c", "Memorization: ResNet-50", _MEMORIZES, "imagenet", (CORRUPTION,)),
    Experiment("ensemble", "2", "Networks of different seeds", _DIFFER.format("their seed alone"), "cifar10"),
    Experiment("ensemble_learning_rates", "2", "Networks of different seeds and learning rates",
               _DIFFER.format("seed and learning rate"), "cifar10", (LEARNING_RATE,), papers=False),
    Experiment("early_stopping", "3", "Over the course of training", _TRAINING, "mnist"),
    Experiment("early_stopping_grid", "3", "Over the course of training, by optimizer and number of images", _GRID,
               "mnist", (OPTIMIZER, LEARNING_RATE, TRAIN_SAMPLES), papers=False),
    Experiment("early_stopping_corrupted", "3", "Over the course of training, with half of the labels shuffled",
               _CORRUPTED, "mnist", (OPTIMIZER,), papers=False),
    Experiment("dropout", "4a", "Dropout", _DROPOUT, "mnist", (DROPOUT, CORRUPTION)),
    Experiment("batch_norm", "4b", "Batch normalization", _BATCH_NORM, "cifar10", (BATCH_NORM,)),
)  # fmt: skip
IMAGES = {"digits": (1297, 500), "mnist": (60_000, 10_000), "cifar10": (50_000, 10_000)}
"""How many training and test images there are in data sets that are the same everywhere."""
EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}
"""By name, in the paper's order."""
PAPERS = [experiment for experiment in _ALL if experiment.papers]
"""Those that the paper's figures are of."""


@dataclass(frozen=True)
class Condition:
    """Networks that differ in their seed alone: rows of the table of runs, what to call them, and how to draw them."""

    label: str
    runs: pd.DataFrame
    colour: Any
    dotted: bool = False


def conditions_of(experiment: Experiment, runs: pd.DataFrame) -> list[Condition]:
    """The conditions among `runs`, sorted; what no run was made for is not among them."""
    columns = [column for column in experiment.conditions if column in runs]
    if not columns:
        return [Condition("all networks", runs, BLUE)]
    ranks = {column: sorted(set(runs[column].dropna()) - {0}, key=_order) for column in columns}
    groups = sorted(
        runs.groupby(columns, dropna=False), key=lambda group: [_order(value) for value in _as_tuple(group[0])]
    )
    return [_condition(dict(zip(columns, _as_tuple(key), strict=True)), group, ranks) for key, group in groups]


def _condition(values: dict[str, Any], runs: pd.DataFrame, ranks: dict[str, list[Any]]) -> Condition:
    label = ", ".join(_label(column, value) for column, value in values.items())
    corruption = values.get(CORRUPTION)
    if list(values) == [CORRUPTION]:
        colour = GREY if pd.isna(corruption) else corruption_colour(float(corruption))
        return Condition(label, runs, colour)
    if list(values) == [BATCH_NORM]:
        return Condition(label, runs, BLUE if str(values[BATCH_NORM]) == "True" else VERMILLION)
    first, value = next(iter(values.items()))
    dotted = bool(pd.notna(corruption) and corruption > 0)
    if value == 0:
        return Condition(label, runs, BLACK, dotted)  # so that the others' colours do not depend on it
    place = ranks[first].index(value) if value in ranks[first] else len(ranks[first])
    return Condition(label, runs, DISTINCT[place % len(DISTINCT)], dotted)


def _label(column: str, value: Any) -> str:
    if column == TRAIN_SAMPLES:
        return "all images" if pd.isna(value) else f"{float(value):,.0f} images"
    if pd.isna(value):
        return f"no {column.rpartition('.')[2]}"
    if column == DROPOUT and value == 0:
        return "no dropout"
    if column == CORRUPTION:
        return "true labels" if value == 0 else f"{100 * float(value):.0f} % corrupted"
    if column == BATCH_NORM:
        return "with batch norm" if str(value) == "True" else "without batch norm"
    if column == OPTIMIZER:
        return str(value).rpartition(".")[2]
    if column.endswith("._target_"):
        return str(value).rpartition(".")[2]
    shown = value if isinstance(value, str | bool) else f"{value:g}"
    return f"{'learning rate' if column == LEARNING_RATE else column.rpartition('.')[2]} {shown}"


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _order(value: Any) -> tuple[bool, str, float]:
    """Numbers by size, after them words, then what is missing; "with" before "without"."""
    if pd.isna(value):
        return (True, "", 0.0)
    if str(value) in ("True", "False"):
        return (False, "", float(str(value) == "False"))
    return (False, "", float(value)) if isinstance(value, int | float) else (False, str(value), 0.0)
