"""Figure 3: does the AUC of a network turn down as it begins to overfit, so that it can tell when to stop?

That downturns near the divergence are counted was not fixed before trainings were looked at: see
docs/results/history.json. All else was.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import inf
from operator import attrgetter
from typing import Any

import pandas as pd

from single_directions.experiments.claim import NEGATIVE, POSITIVE, Claim, Finding
from single_directions.experiments.conditions import LEARNING_RATE, OPTIMIZER, TRAIN_SAMPLES
from single_directions.experiments.departures import mlp
from single_directions.experiments.drawing.dots import Column, dots_figure
from single_directions.experiments.drawing.training import PANELS, correlation_figure
from single_directions.experiments.experiment import Experiment, Picture, register
from single_directions.experiments.pictures import heading, row, training
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import Estimate, mean_interval, share, spearman
from single_directions.experiments.tables import Tables
from single_directions.experiments.training import NORMALIZED, PATIENCE, RAW, trainings
from single_directions.experiments.wording import count, number

PAPERS_SPEARMAN = -0.728
CORRELATIONS = (-1.0, 1.0)
"""The least and the greatest possible correlation."""
FEW = 2
"""Settings of the grid that each have figures of their own; more would make the page too long."""


def test_loss(tables: Tables) -> Finding:
    """Spearman's correlation of AUC and test loss over the epochs of each training."""
    rows, raw = trainings(tables), trainings(tables, RAW)
    values, raw_values = (_each(own, "correlation") for own in (rows, raw))
    details = {
        "trainings": _listed(rows, correlation=values, correlation_of_raw=raw_values),
        "by_raw_auc": _means(raw, raw_values, CORRELATIONS),
    }
    return Finding(_means(rows, values, CORRELATIONS), details, _unmeasured(rows))


def downturn(tables: Tables) -> Finding:
    """Of the trainings that diverge, the share in which the AUC turns down near the onset."""
    rows = trainings(tables)
    each = {name: _each(rows, name) for name in ("onset", "downturn", "tolerance", "near")}
    diverge, near, turn = each["onset"].notna(), each["near"] == 1, each["downturn"].notna()
    parts = {
        str(condition): share(int(near[own.index].sum()), int(diverge[own.index].sum()))
        for condition, own in rows.groupby("condition", sort=False)
    }
    caveats = list(_unmeasured(rows))
    if not diverge.all():
        caveats.append(f"in {(~diverge).sum()} of {len(rows)} trainings the losses do not diverge: left out")
    if diverge.any():
        caveats.append(
            f"of {diverge.sum()} trainings whose losses diverge, the AUC turns down near the divergence in "
            f"{near.sum()}, elsewhere in {(diverge & turn & ~near).sum()}, never in {(diverge & ~turn).sum()}"
        )
    return Finding(parts, {"trainings": _listed(rows, **each)}, tuple(caveats))


def stopping(tables: Tables) -> Finding:
    """The test loss of the last epoch minus that of the epoch that stopping by AUC would have kept."""
    rows = trainings(tables)
    left = {
        by: pd.DataFrame([training.stopped(by) for training in rows["training"]], rows.index)
        for by in ("auc", "test_loss", "nothing")
    }
    gained = left["nothing"]["test_loss"] - left["auc"]["test_loss"]
    settings = [
        {
            "condition": condition,
            "n": len(own),
            "means": {by: table.loc[own.index].mean().to_dict() for by, table in left.items()},
            "auc_minus_test_loss": _cost(left["auc"], left["test_loss"], own.index),
            "auc_minus_nothing": _cost(left["auc"], left["nothing"], own.index),
        }
        for condition, own in rows.groupby("condition", sort=False)
    ]
    caveats = (*_unmeasured(rows), *_beside(left["auc"].dropna(), left["test_loss"].dropna()))
    return Finding(_means(rows, gained), {"patience": PATIENCE, "settings": settings}, caveats)


def _beside(by_auc: pd.DataFrame, by_test_loss: pd.DataFrame) -> list[str]:
    """What stopping by AUC and stopping by test loss keep, as caveats: means over all trainings."""
    if by_auc.empty or by_test_loss.empty:
        return []
    kept = [
        f"stopping by {name} keeps {_epochs(each['kept'])}, with a mean test loss "
        f"of {each['test_loss'].mean():.2f} and a mean test accuracy of {each['test_accuracy'].mean():.2f}"
        for name, each in (("AUC", by_auc), ("test loss", by_test_loss))
    ]
    return ["this compares with not stopping at all: where networks overfit, nearly any early stop passes", *kept]


def _epochs(kept: pd.Series) -> str:
    first, last = f"{kept.min():.0f}", f"{kept.max():.0f}"
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def _cost(one: pd.DataFrame, other: pd.DataFrame, rows: pd.Index) -> dict[str, Estimate]:
    """What one way to stop leaves minus what another leaves."""
    return {str(name): mean_interval((one[name] - other[name])[rows]) for name in one}


def _means(rows: pd.DataFrame, values: pd.Series, bounds: tuple[float, float] = (-inf, inf)) -> dict[str, Estimate]:
    """The mean over seeds at each setting."""
    grouped = rows.assign(value=values.astype(float)).groupby("condition", sort=False)
    return {str(condition): mean_interval(own.groupby("seed")["value"].mean(), bounds) for condition, own in grouped}


def _listed(rows: pd.DataFrame, **values: pd.Series) -> list[Any]:
    """A dict for each training: its run, its condition and some numbers."""
    return rows[["run", "condition"]].assign(**values).to_dict("records")


def _unmeasured(rows: pd.DataFrame) -> tuple[str, ...]:
    unmeasured = sum(training.epochs.empty for training in rows["training"])
    return (f"in {unmeasured} of {len(rows)} trainings no AUC was measured",) if unmeasured else ()


def _each(rows: pd.DataFrame, name: str) -> pd.Series:
    """A property of each training."""
    return rows["training"].map(attrgetter(name))


_claim = partial(Claim, several="settings", trained_to_the_end=False)
CLAIMS = (
    _claim(
        name="downturn",
        figure="3a",
        role="main",  # 3a shows nothing else: "the same point"
        paper="the point in training at which the AUC began to drop was the same point that the train and test loss "
        "started to diverge",
        statistic="share of the trainings whose losses diverge in which the normalized AUC turns down near the "
        "divergence: before or after it by at most 2 epochs, or by at most 10 % of the epochs up to it",
        where="above one half",
        region=(0.5, inf),
        find=downturn,
        of_shares=True,
    ),
    _claim(
        name="test_loss",
        figure="3b",
        role="main",  # the caption of 3b
        paper="AUC and test loss are negatively correlated over the course of training",
        statistic="Spearman's correlation of normalized AUC and test loss over the epochs of a training, mean over "
        "seeds",
        where="below 0",
        region=NEGATIVE,
        find=test_loss,
    ),
    _claim(
        name="stopping",  # what "these results suggest"
        figure="3a",
        paper="AUC may serve as a proxy for early stopping",
        statistic="test loss at the end of training minus that of the network kept by stopping by normalized AUC with "
        "patience 5",
        where="above 0",
        region=POSITIVE,
        find=stopping,
    ),
)


def draw(section: Section) -> Iterator[Picture]:
    """Figures 3a and 3b; for each condition where there are several."""
    for condition in section.conditions():
        epochs = section.measured_epochs
        epochs = epochs[epochs["run"].isin(condition.runs["run"])]
        if epochs.empty:
            continue
        trainings, name = count(epochs["run"].nunique(), "training"), section.suffix
        if section.experiment.conditions:
            kind = section.experiment.name.removeprefix("early_stopping_")
            trainings = f"{condition.label}, {trainings}"
            name = f"_{kind}_{re.sub(r'[^a-z0-9.]+', '_', condition.label.lower().replace(',', ''))}{section.suffix}"
        title = section.heading(trainings)
        yield training(epochs, f"figure_3a{name}", title)
        yield _correlations(section, epochs, f"figure_3b{name}", title)


def _correlations(section: Section, epochs: pd.DataFrame, name: str, title: str) -> Picture:
    """AUC against test loss over the epochs of some trainings."""
    seeds = section.runs.set_index("run")["seed"]
    each = {str(run): one for run, one in epochs.groupby("run")}
    titles = {run: f"seed {seeds[run]:.0f}: ρ {number(_spearman(one), 2)}" for run, one in each.items()}
    more = f" The first {PANELS} of {len(each)} trainings are shown." if len(each) > PANELS else ""
    return Picture(
        name,
        correlation_figure(epochs, titles, title),
        "Normalized AUC against test loss: one panel for each training, one mark for each epoch. ρ: Spearman's "
        f"correlation over all epochs (in the paper, with true labels: {number(PAPERS_SPEARMAN)}).{more}",
    )


def draw_grid(section: Section) -> Iterator[Picture]:
    """The correlation of AUC and test loss by optimizer, learning rate and number of images; all else of a few."""
    found = {run: _spearman(one) for run, one in section.measured_epochs.groupby("run")}
    conditions = section.conditions()
    rows = [row(one, one.runs["run"].map(found)) for one in conditions]
    known = {one.label: shown for one, shown in zip(conditions, rows, strict=True) if shown is not None}
    if known:
        marked = [(PAPERS_SPEARMAN, f"paper: {number(PAPERS_SPEARMAN)}"), (0.0, "no correlation")]
        column = Column(list(known.values()), "ρ of normalized AUC and test loss", (-1, 1), marked)
        yield Picture(
            f"figure_3_grid{section.suffix}",
            dots_figure(list(known), [column], heading(section, "training")),
            "ρ: Spearman's correlation of normalized AUC and test loss over the epochs of a training. Dot: one "
            "training; diamond: the mean, with its 95 % interval.",
        )
    if len(conditions) <= FEW:
        yield from draw(section)


def _spearman(epochs: pd.DataFrame) -> float:
    return spearman(epochs[NORMALIZED], epochs["test/loss"])


_experiment = partial(Experiment, figure="3", claims=CLAIMS, settings=mlp(2048, epochs=640))
register(
    _experiment(
        name="early_stopping",
        heading="Over the course of training",
        asks="AUC and losses were measured after every epoch; nothing stopped the training. Does the AUC turn down "
        "where train and test loss diverge?",
        claims=tuple(replace(one, paper_value=PAPERS_SPEARMAN) if one.name == "test_loss" else one for one in CLAIMS),
        pictures=draw,
        papers=True,
    ),
    _experiment(
        name="early_stopping_grid",
        heading="Over the course of training, by optimizer and number of images",
        asks="Does the AUC turn down where train and test loss diverge, with other optimizers, learning rates and "
        "numbers of training images?",
        conditions=(OPTIMIZER, LEARNING_RATE, TRAIN_SAMPLES),
        pictures=draw_grid,
    ),
    _experiment(
        name="early_stopping_corrupted",
        heading="Over the course of training, with half of the labels shuffled",
        asks="The same with half of the labels shuffled, where overfitting costs test accuracy: does the AUC turn down "
        "then? A check, not in the paper.",
        conditions=(OPTIMIZER,),
        pictures=draw,
    ),
)
