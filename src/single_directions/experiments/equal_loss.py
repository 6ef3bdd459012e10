"""Figure 1 at equal training loss: do true and corrupted labels still differ when training has come equally far?

Networks that memorize reach a given training loss later, and Figure 1 measures all networks at the end of training.
Here trainings with the same settings that measured their AUC after every epoch are compared at equal training losses.
This check is not in the paper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from single_directions.experiments.copies import settings_of
from single_directions.experiments.statistics import Estimate, difference
from single_directions.experiments.tables import Tables
from single_directions.experiments.training import NORMALIZED

LOSSES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""Training losses at which trainings are compared, if all of them reach the loss."""


@dataclass(frozen=True)
class Level:
    """True labels against one level of corruption at one training loss: mean AUC of each, and their difference."""

    loss: float
    corruption: float
    true: float
    corrupted: float
    gap: Estimate


@dataclass(frozen=True)
class Matched:
    """Trainings that differ in corruption and seed alone.

    Attributes:
        trainings: `corruption`, `seed`, `epoch`, training `loss` and normalized `auc`; one row for each measured epoch.
        reached: the least training loss that all of them reach.
        levels: the comparisons, sorted by falling loss; the last ones are at `reached`.
        at_the_end: the differences after the last epoch, by corruption.
    """

    trainings: pd.DataFrame
    reached: float
    levels: Sequence[Level]
    at_the_end: Mapping[float, Estimate]


def matched(tables: Tables, runs: pd.DataFrame) -> Matched | None:
    """The trainings, of any experiment, that have the settings of some runs but for corruption and seed.

    None where there are no such trainings with true labels, or none with corrupted ones.
    """
    if runs.empty or not {"config.seed", "corruption"} <= set(tables.runs) or NORMALIZED not in tables.epochs:
        return None
    besides = ("seed", "data.corruption")
    settings = {settings_of(row, besides) for row in runs.to_dict("records")}
    done = tables.runs[(tables.runs["state"] == "done") & (tables.runs["scale"] == runs["scale"].iloc[0])]
    alike = [settings_of(row, besides) in settings for row in done.to_dict("records")]
    found = done.loc[alike, ["run", "corruption", "seed"]]
    epochs = tables.epochs.dropna(subset=[NORMALIZED, "train/loss"])
    columns = {"train/loss": "loss", NORMALIZED: "auc"}
    trainings = found.merge(epochs[["run", "epoch", *columns]].rename(columns=columns), on="run")
    firsts = trainings.groupby(["corruption", "seed"])["run"].transform("first")
    trainings = trainings[trainings["run"] == firsts].drop(columns="run").sort_values(["corruption", "seed", "epoch"])
    corrupted = sorted(set(trainings["corruption"]) - {0.0})
    if not corrupted or not (trainings["corruption"] == 0).any():
        return None
    reached = float(trainings.groupby(["corruption", "seed"])["loss"].min().max())
    levels = []
    for loss in [*(one for one in LOSSES if one > reached), reached]:
        by_level = {level: _by_seed(trainings, level, loss) for level in (0.0, *corrupted)}
        if all(values.notna().all() for values in by_level.values()):
            means = {level: float(values.mean()) for level, values in by_level.items()}
            levels += [
                Level(loss, level, means[0.0], means[level], difference(by_level[0.0], by_level[level]))
                for level in corrupted
            ]
    ends = trainings.groupby(["corruption", "seed"])["auc"].last()
    return Matched(trainings, reached, levels, {level: difference(ends[0.0], ends[level]) for level in corrupted})


def auc_at(loss: float, losses: np.ndarray, areas: np.ndarray) -> float:
    """The AUC where training first reaches a loss, interpolated between two epochs by the logarithm of the loss.

    NaN if the first measured epoch is already below the loss, or no epoch reaches it.
    """
    below = np.flatnonzero(losses <= loss)
    if not len(below) or (below[0] == 0 and losses[0] < loss):
        return float("nan")
    around = slice(max(below[0] - 1, 0), below[0] + 1)
    logarithms = np.log(np.maximum(losses[around], np.finfo(float).tiny))
    return float(np.interp(-np.log(loss), -logarithms, areas[around]))


def _by_seed(trainings: pd.DataFrame, corruption: float, loss: float) -> pd.Series:
    own = trainings[trainings["corruption"] == corruption].groupby("seed")
    return pd.Series({seed: auc_at(loss, one["loss"].to_numpy(), one["auc"].to_numpy()) for seed, one in own})
