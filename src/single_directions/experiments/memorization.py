"""Figure 1: do networks that memorize shuffled labels rely more on single directions?"""

from collections.abc import Iterator, Mapping
from functools import partial

import pandas as pd

from single_directions.experiments.claim import POSITIVE, Claim, Finding, accuracy_column, by_seed
from single_directions.experiments.conditions import CORRUPTION, by_column
from single_directions.experiments.departures import CONVNET, mlp
from single_directions.experiments.drawing.training import equal_loss_figure
from single_directions.experiments.equal_loss import Matched
from single_directions.experiments.experiment import Experiment, Picture, register
from single_directions.experiments.pictures import by_condition, span
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import Estimate, difference, mean_interval
from single_directions.experiments.tables import Tables

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The paper's levels of corruption."""
ABOUT_ONE = 0.99
"""What "approximately 1" means for a training accuracy."""


def auc(tables: Tables) -> Finding:
    """How much lower the AUC of each corrupted level is than that of true labels, within seeds."""
    by_level = by_column(tables.runs, "corruption")
    means = {level: by_seed(networks, "auc").mean() for level, networks in by_level.items()}
    falls = bool(pd.Series(means, dtype=float).is_monotonic_decreasing)
    details = {
        "normalized": _below_true_labels(by_level, "auc_normalized"),
        "order": {"levels": list(means), "auc": list(means.values()), "falls_at_every_step": falls},
    }
    return Finding(_below_true_labels(by_level, "auc"), details, _missing(by_level))


def test_accuracy(tables: Tables) -> Finding:
    """How much lower the test accuracy of each corrupted level is than that of true labels, within seeds."""
    by_level = by_column(tables.runs, "corruption")
    return Finding(_below_true_labels(by_level, accuracy_column(tables.runs, "test")), caveats=_missing(by_level))


def train_accuracy(tables: Tables) -> Finding:
    """The training accuracy at each level of corruption, on the labels trained with."""
    by_level, column = by_column(tables.runs, "corruption"), accuracy_column(tables.runs, "train")
    parts = {_label(level): mean_interval(by_seed(networks, column), (0, 1)) for level, networks in by_level.items()}
    return Finding(parts, caveats=_missing(by_level))


def _below_true_labels(by_level: Mapping[float, pd.DataFrame], column: str) -> dict[str, Estimate]:
    if 0.0 not in by_level:
        return {}
    true = by_seed(by_level[0.0], column)
    return {_label(level): difference(true, by_seed(by_level[level], column)) for level in by_level if level > 0}


def _missing(by_level: Mapping[float, pd.DataFrame]) -> tuple[str, ...]:
    missing = [f"{level:g}" for level in LEVELS if level not in by_level]
    return (f"no networks at corruption {', '.join(missing)}",) if missing else ()


def _label(level: float) -> str:
    return f"corruption {level:g}"


CLAIMS = (
    Claim(
        name="auc",
        role="main",  # the caption's title
        paper="networks trained on corrupted labels are more sensitive to cumulative ablations than those trained on "
        "true labels, though curves are not always ordered by the fraction of corrupted labels",
        statistic="AUC with true labels minus AUC with corrupted labels",
        where="above 0",
        region=POSITIVE,
        find=auc,
        several="levels of corruption",
    ),
    Claim(
        name="train_accuracy",
        role="check",
        paper="the training accuracy is approximately 1 for all networks tested",
        statistic="training accuracy, on the labels trained with",
        where=f"above {ABOUT_ONE}",
        region=(ABOUT_ONE, float("inf")),
        find=train_accuracy,
        several="levels of corruption",
        trained_to_the_end=False,
    ),
    Claim(
        name="test_accuracy",
        role="check",
        paper="networks trained on corrupted labels generalize worse",
        statistic="test accuracy with true labels minus that with corrupted labels",
        where="above 0",
        region=POSITIVE,
        find=test_accuracy,
        several="levels of corruption",
    ),
)


def draw(section: Section) -> Iterator[Picture]:
    """Figures 1a to 1c, the area under each curve and, where there are such trainings, AUC at equal training loss."""
    yield from by_condition(section)
    if section.matched:
        yield _equal_loss(section, section.matched, f"figure_{section.experiment.figure}_equal_loss{section.suffix}")


def _equal_loss(section: Section, matched: Matched, name: str) -> Picture:
    """AUC against training loss by level of corruption."""
    trainings = matched.trainings[["corruption", "seed"]].drop_duplicates().groupby("corruption").size()
    title = section.heading(f"{span(trainings)} trainings a level")
    return Picture(
        name,
        equal_loss_figure(matched.trainings, matched.reached, title),
        "Normalized AUC against training loss, which falls from left to right, in trainings of the same settings that "
        "measured both after every epoch. Thin: a training; thick: the mean at equal training loss. Dashed: the least "
        "training loss that all of them reach.",
    )


_experiment = partial(
    Experiment,
    asks="Ever more of the training labels were shuffled. Do networks that must memorize them lose accuracy sooner?",
    conditions=(CORRUPTION,),
    claims=CLAIMS,
    pictures=draw,
    papers=True,
    equal_loss=True,
)
register(
    _experiment(
        name="memorization",
        figure="1a",
        heading="Memorization: multilayer perceptron",
        settings=mlp(512, epochs=640),
    ),
    _experiment(
        name="memorization_cifar10",
        figure="1b",
        heading="Memorization: convolutional network",
        settings=CONVNET,
    ),
    _experiment(
        name="memorization_imagenet",
        figure="1c",
        heading="Memorization: ResNet-50",
        settings={
            "data": "imagenet",
            "config.network._target_": "ResNet50",
            "config.network.stem": "imagenet",
            "config.network.width": 1.0,
        },
    ),
)
