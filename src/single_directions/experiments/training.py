"""A training with its AUC after every epoch: where AUC and losses turn, and what stopping it would keep.

What a downturn, a divergence and "near" are was fixed before any training was looked at. The AUC is the normalized one,
as the caption of the paper's Figure 3 says.
"""

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from single_directions.experiments.statistics import Floats, spearman
from single_directions.experiments.sweeps import conditions
from single_directions.experiments.tables import Tables

NORMALIZED, RAW = "ablation/auc_normalized", "ablation/auc"
SMOOTHED = 5
"""The measured epochs that a running median is over: centred, fewer at the ends."""
DIVERGED = 0.05
"""The losses diverge if the smoothed test loss ends above its lowest value by more than this share of it."""
TURNED = 0.05
"""The AUC turns down if, smoothed, it ends below its largest value by more than this share of its rise to it."""
NEAR_EPOCHS, NEAR_SHARE = 2, 0.1
"""Two epochs are near if they are this many epochs apart, or this share of the epochs to the onset."""
PATIENCE = 5
"""Training is stopped after this many measured epochs without improvement."""
FOLLOWED = ("test loss until it is lowest", "test loss from there on", "training loss", "test accuracy lost")
"""The keys of `Training.followed`."""


@dataclass(frozen=True)
class Training:
    """The measured epochs of one training: `epoch`, `auc`, `test_loss`, `train_loss`, `test_accuracy`."""

    epochs: pd.DataFrame

    @property
    def correlation(self) -> float:
        """Spearman's correlation of AUC and test loss over the training."""
        return spearman(self.epochs["auc"], self.epochs["test_loss"])

    @property
    def followed(self) -> dict[str, float]:
        """What the AUC follows, by `FOLLOWED`.

        Spearman's correlations of the AUC with the test loss until its lowest smoothed value, with the test loss from
        there on, and with the training loss over all epochs; and the largest smoothed test accuracy minus the last.
        """
        if self.epochs.empty or self.epochs["test_loss"].isna().all():
            return dict.fromkeys(FOLLOWED, nan)
        loss, accuracy = smooth(self.epochs["test_loss"]), smooth(self.epochs["test_accuracy"])
        lowest = middle(loss == np.nanmin(loss))
        falling, rising = Training(self.epochs.iloc[: lowest + 1]), Training(self.epochs.iloc[lowest:])
        with_training_loss = spearman(self.epochs["auc"], self.epochs["train_loss"])
        lost = float(np.nanmax(accuracy) - accuracy[-1]) if np.isfinite(accuracy).any() else nan
        values = (falling.correlation, rising.correlation, with_training_loss, lost)
        return dict(zip(FOLLOWED, values, strict=True))

    @property
    def onset(self) -> float:
        """The epoch at which train and test loss begin to diverge: NaN if they do not.

        It is the epoch of the lowest smoothed test loss (the middle one of equals), if the smoothed test loss ends
        more than 5 % above that, and the smoothed training loss ends below its value at that epoch.
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

        It is the epoch of the largest smoothed AUC (the middle one of equals), if the smoothed AUC ends below that by
        more than 5 % of its rise from the first epoch.
        """
        auc = smooth(self.epochs["auc"])
        if not np.isfinite(auc).any():
            return nan
        largest = middle(auc == np.nanmax(auc))
        turns = auc[largest] - auc[-1] > TURNED * (auc[largest] - auc[0])
        return float(self.epochs["epoch"].iloc[largest]) if turns else nan

    @property
    def tolerance(self) -> float:
        """How many epochs from the onset are near: 2, those between measurements or 10 % of the onset."""
        between = self.epochs["epoch"].diff().max() if len(self.epochs) > 1 else 1.0
        return max(NEAR_EPOCHS, float(between), NEAR_SHARE * self.onset) if isfinite(self.onset) else nan

    @property
    def near(self) -> float:
        """Whether the AUC turns down near the onset, 1 or 0: NaN where the losses do not diverge."""
        if not isfinite(self.onset):
            return nan
        # In floating point 0.1 times 30 epochs is not quite 3.
        return float(isfinite(self.downturn) and abs(self.downturn - self.onset) <= self.tolerance + 1e-9)

    def stopped(self, by: str) -> dict[str, float]:
        """What early stopping by `auc` or `test_loss` keeps: the network of the best epoch so far.

        Returns the epochs trained, the epoch kept, and its test loss and accuracy. `nothing` keeps the last epoch.
        """
        if self.epochs.empty:
            return dict.fromkeys(("epochs", "kept", "test_loss", "test_accuracy"), nan)
        last = len(self.epochs) - 1
        trained, kept = (last, last) if by == "nothing" else stop(list(self.epochs[by]), maximize=by == "auc")
        epoch, loss, accuracy = self.epochs[["epoch", "test_loss", "test_accuracy"]].iloc[kept].astype(float)
        trained_epochs = float(self.epochs["epoch"].iloc[trained])
        return {"epochs": trained_epochs, "kept": epoch, "test_loss": loss, "test_accuracy": accuracy}


def smooth(values: pd.Series) -> Floats:
    """The running median over 5 measured epochs."""
    return values.rolling(SMOOTHED, center=True, min_periods=1).median().to_numpy(dtype=float)


def middle(chosen: NDArray[np.bool_]) -> int:
    """The middle one of the chosen epochs: a median is often the same for several epochs in a row."""
    places = np.flatnonzero(chosen)
    return int(places[(len(places) - 1) // 2])


def stop(values: list[float], maximize: bool, patience: int = PATIENCE) -> tuple[int, int]:
    """When Lightning's early stopping ends a training, and the best epoch until then, both counted from 0.

    It stops after `patience` values in a row that are not better than the best before them.
    """
    best = 0
    for i, value in enumerate(values):
        if value > values[best] if maximize else value < values[best]:
            best = i
        if i - best == patience:
            return i, best
    return len(values) - 1, best


def by_run(tables: Tables, signal: str = NORMALIZED) -> dict[str, Training]:
    """The trainings that measured their AUC, by run; `signal` is the column of the AUC."""
    epochs = _measured(tables, signal)
    return {str(run): Training(own.reset_index(drop=True)) for run, own in epochs.groupby("run")}


def trainings(tables: Tables, signal: str = NORMALIZED) -> pd.DataFrame:
    """One row for each run: `run`, `seed`, `condition` (what is swept but the seed), `training`."""
    measured, runs = by_run(tables, signal), tables.runs
    none = Training(_measured(tables, signal).head(0))
    return pd.DataFrame(
        {
            "run": runs["run"],
            "seed": runs["seed"] if "seed" in runs else range(len(runs)),
            "condition": conditions(runs).replace("", "all trainings"),
            "training": [measured.get(run, none) for run in runs["run"]],
        }
    )


def _measured(tables: Tables, signal: str) -> pd.DataFrame:
    """The epochs after which the AUC was measured, in their order, with the columns of `Training`."""
    columns = {signal: "auc", "test/loss": "test_loss", "train/loss": "train_loss", "test/accuracy": "test_accuracy"}
    epochs = tables.epochs.reindex(columns=["run", "epoch", *columns]).rename(columns=columns)
    return epochs[epochs["auc"].notna()].sort_values("epoch")
