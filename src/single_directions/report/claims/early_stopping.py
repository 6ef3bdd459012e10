"""Figure 3: as a network begins to overfit, its AUC turns down, so that the AUC could tell when to stop.

The definitions below were fixed before any training was looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from single_directions.report.claims.claim import NEGATIVE, POSITIVE, Claim, Finding
from single_directions.report.statistics import Estimate, mean_interval, spearman
from single_directions.report.sweeps import conditions
from single_directions.report.table import Tables
from single_directions.report.weighted import Floats

EXPERIMENTS = ("early_stopping", "early_stopping_grid")
SMOOTHED = 5
"""Epochs measured of which the running median is taken, centred, fewer at the ends."""
DIVERGED = 0.05
"""The share of its lowest value by which the smoothed test loss must end above it."""
TURNED = 0.05
"""The share of its rise, from the first epoch to its largest value, by which the smoothed AUC must end below that."""
NEAR_EPOCHS, NEAR_SHARE = 2, 0.1
"""Two epochs are near each other within so many epochs, or within this share of the epochs to the onset."""
PATIENCE = 5
"""Epochs measured without improvement after which training is stopped."""
FOLLOWED = ("test loss until it is lowest", "test loss from there on", "training loss", "test accuracy lost")
"""What `Training.followed` tells."""


@dataclass(frozen=True)
class Training:
    """The epochs of one training at which its AUC was measured: epoch, AUC, losses and test accuracy."""

    epochs: pd.DataFrame

    @property
    def correlation(self) -> float:
        """Spearman's correlation of AUC and test loss over the training."""
        return spearman(self.epochs["auc"], self.epochs["test_loss"])

    @property
    def followed(self) -> dict[str, float]:
        """What the AUC goes with: Spearman's correlations, and what overfitting costs the test accuracy.

        These are its correlation with the test loss until that is lowest, smoothed, and from there on; with the
        training loss over all epochs; and the largest test accuracy minus the last, smoothed both.
        """
        if self.epochs.empty or self.epochs["test_loss"].isna().all():
            return dict.fromkeys(FOLLOWED, nan)
        loss, accuracy = smooth(self.epochs["test_loss"]), smooth(self.epochs["test_accuracy"])
        lowest = middle(loss == np.nanmin(loss))
        falling, rising = self.epochs.iloc[: lowest + 1], self.epochs.iloc[lowest:]
        values = (
            spearman(falling["auc"], falling["test_loss"]),
            spearman(rising["auc"], rising["test_loss"]),
            spearman(self.epochs["auc"], self.epochs["train_loss"]),
            float(np.nanmax(accuracy) - accuracy[-1]) if np.isfinite(accuracy).any() else nan,
        )
        return dict(zip(FOLLOWED, values, strict=True))

    @property
    def onset(self) -> float:
        """The epoch at which train and test loss begin to diverge: NaN if they do not.

        It is that of the lowest smoothed test loss (the middle one of equals), provided that the smoothed test loss
        ends more than 5 % above it, and the smoothed training loss below its value there.
        """
        test, train = smooth(self.epochs["test_loss"]), smooth(self.epochs["train_loss"])
        if not np.isfinite(test).any():
            return nan
        lowest = middle(test == np.nanmin(test))
        diverges = test[-1] > (1 + DIVERGED) * test[lowest] and train[-1] < train[lowest]
        return float(self.epochs["epoch"].iloc[lowest]) if diverges else nan

    @property
    def downturn(self) -> float:
        """The epoch at which the AUC begins to drop: NaN if it does not.

        It is that of the largest smoothed AUC (the middle one of equals), provided that the smoothed AUC ends below
        that by more than 5 % of its rise.
        """
        auc = smooth(self.epochs["auc"])
        if not np.isfinite(auc).any():
            return nan
        largest = middle(auc == np.nanmax(auc))
        turns = auc[largest] - auc[-1] > TURNED * (auc[largest] - auc[0])
        return float(self.epochs["epoch"].iloc[largest]) if turns else nan

    @property
    def tolerance(self) -> float:
        """How many epochs are near the onset: 2 (or the epochs between measurements), or 10 % of those to the onset."""
        between = self.epochs["epoch"].diff().max() if len(self.epochs) > 1 else 1.0
        return max(NEAR_EPOCHS, float(between), NEAR_SHARE * self.onset) if isfinite(self.onset) else nan

    @property
    def distance(self) -> float:
        """Downturn minus onset, in tolerances; an AUC that never drops counts as dropping after the last epoch."""
        if not isfinite(self.onset):
            return nan
        downturn = self.downturn if isfinite(self.downturn) else float(self.epochs["epoch"].iloc[-1])
        return (downturn - self.onset) / self.tolerance

    def stopped(self, by: str) -> dict[str, float]:
        """What stopping by `auc`, by `test_loss` or by `nothing` leaves: the network of the best epoch so far.

        Returns the epochs trained, the epoch kept (the last if stopped by nothing), and its test loss and accuracy.
        """
        if self.epochs.empty:
            return dict.fromkeys(("epochs", "kept", "test_loss", "test_accuracy"), nan)
        last = len(self.epochs) - 1
        trained, kept = (last, last) if by == "nothing" else stop(list(self.epochs[by]), maximize=by == "auc")
        epoch = self.epochs.iloc[kept]
        return {
            "epochs": float(self.epochs["epoch"].iloc[trained]),
            "kept": float(epoch["epoch"]),
            "test_loss": float(epoch["test_loss"]),
            "test_accuracy": float(epoch["test_accuracy"]),
        }


def smooth(values: pd.Series) -> Floats:
    """The running median over 5 epochs measured."""
    return values.rolling(SMOOTHED, center=True, min_periods=1).median().to_numpy(dtype=float)


def middle(chosen: NDArray[np.bool_]) -> int:
    """The middle one of the epochs chosen: a median is often the same for several in a row."""
    places = np.flatnonzero(chosen)
    return int(places[(len(places) - 1) // 2])


def stop(values: list[float], maximize: bool, patience: int = PATIENCE) -> tuple[int, int]:
    """When stock early stopping ends a training, and the best epoch until then, both counted from 0.

    It stops after `patience` values in a row that are not better than the best before them.
    """
    best, waited = 0, 0
    for i, value in enumerate(values):
        if i == 0 or (value > values[best] if maximize else value < values[best]):
            best, waited = i, 0
        else:
            waited += 1
        if waited == patience:
            return i, best
    return len(values) - 1, best


def by_run(tables: Tables) -> dict[str, Training]:
    """The trainings whose AUC was measured, by the names of their runs."""
    columns = {
        "epoch": "epoch",
        "ablation/auc": "auc",
        "test/loss": "test_loss",
        "train/loss": "train_loss",
        "test/accuracy": "test_accuracy",
    }
    epochs = tables.epochs.reindex(columns=["run", *columns]).rename(columns=columns)
    epochs = epochs[epochs["auc"].notna()].sort_values("epoch")
    return {str(run): Training(own.reset_index(drop=True)) for run, own in epochs.groupby("run")}


def trainings(tables: Tables) -> pd.DataFrame:
    """A row a run: `run`, `seed`, `condition` (what the experiment sweeps besides), `training`."""
    measured = by_run(tables)
    none = Training(pd.DataFrame(columns=["epoch", "auc", "test_loss", "train_loss", "test_accuracy"]))
    runs = tables.runs
    seeds = runs["seed"] if "seed" in runs else pd.Series(range(len(runs)), runs.index)
    return pd.DataFrame(
        {
            "run": runs["run"],
            "seed": seeds,
            "condition": conditions(runs).replace("", "all trainings"),
            "training": [measured.get(run, none) for run in runs["run"]],
        }
    )


def test_loss(tables: Tables) -> Finding:
    """Spearman's correlation of AUC and test loss over a training, one number a training."""
    rows = trainings(tables)
    values = rows["training"].map(lambda training: training.correlation)
    return Finding(_parts(rows, values), {"trainings": _listed(rows, correlation=values)}, _unmeasured(rows))


def downturn(tables: Tables) -> Finding:
    """How far the AUC's downturn is from the onset of divergence, in tolerances, over trainings that diverge."""
    rows = trainings(tables)
    each = {name: rows["training"].map(_get(name)) for name in ("onset", "downturn", "tolerance", "distance")}
    caveats = list(_unmeasured(rows))
    diverge, turn = each["onset"].notna(), each["downturn"].notna()
    if not diverge.all():
        caveats.append(f"in {(~diverge).sum()} of {len(rows)} trainings the losses do not diverge: left out")
    if (diverge & ~turn).any():
        caveats.append(
            f"in {(diverge & ~turn).sum()} of {diverge.sum()} trainings that diverge the AUC does not turn down: "
            "its downturn is taken to be the last epoch"
        )
    return Finding(_parts(rows, each["distance"]), {"trainings": _listed(rows, **each)}, tuple(caveats))


def stopping(tables: Tables) -> Finding:
    """The test loss at the end of training minus that of the network that stopping by AUC would have kept."""
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
    return Finding(_parts(rows, gained), {"patience": PATIENCE, "settings": settings}, _unmeasured(rows))


def _cost(one: pd.DataFrame, other: pd.DataFrame, rows: pd.Index) -> dict[str, Estimate]:
    return {str(name): mean_interval((one[name] - other[name])[rows]) for name in one}


def _parts(rows: pd.DataFrame, values: pd.Series) -> dict[str, Estimate]:
    """The mean over seeds for each setting of the experiment."""
    grouped = rows.assign(value=values.astype(float)).groupby("condition", sort=False)
    return {str(condition): mean_interval(own.groupby("seed")["value"].mean()) for condition, own in grouped}


def _listed(rows: pd.DataFrame, **values: pd.Series) -> list[dict[str, Any]]:
    listed = rows[["run", "condition"]].assign(**values)
    return [{str(name): value for name, value in row.items()} for row in listed.to_dict("records")]


def _unmeasured(rows: pd.DataFrame) -> tuple[str, ...]:
    without = sum(training.epochs.empty for training in rows["training"])
    return (f"in {without} of {len(rows)} trainings no AUC was measured",) if without else ()


def _get(name: str) -> Callable[[Training], float]:
    return lambda training: getattr(training, name)


_claim = partial(Claim, several="settings", trained_to_the_end=False)
CLAIMS = (
    _claim(
        name="downturn",
        figures=dict.fromkeys(EXPERIMENTS, "3a"),
        paper="the point in training at which the AUC began to drop was the same point that the train and test loss "
        "started to diverge",
        statistic="epoch of the AUC's downturn minus epoch of the losses' divergence, in tolerances (the larger of 2 "
        "epochs and 10 % of the epochs to the divergence)",
        where="between -1 and 1",
        region=(-1.0, 1.0),
        find=downturn,
    ),
    _claim(
        name="test_loss",
        figures=dict.fromkeys(EXPERIMENTS, "3b"),
        paper="AUC and test loss are negatively correlated over the course of training",
        statistic="Spearman's correlation of AUC and test loss over the epochs of a training, mean over seeds",
        where="below 0",
        region=NEGATIVE,
        find=test_loss,
        paper_values={"early_stopping": -0.728},
    ),
    _claim(
        name="stopping",
        figures=dict.fromkeys(EXPERIMENTS, "3a"),
        paper="AUC may serve as a proxy for early stopping",
        statistic="test loss at the end of training minus that of the network kept by stopping by AUC with patience 5",
        where="above 0",
        region=POSITIVE,
        find=stopping,
    ),
)  # fmt: skip
