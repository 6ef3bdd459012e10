"""What was measured of the trainings, small enough to be kept beside the document that is made of it."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from single_directions.benchmark.precision import Spread
from single_directions.benchmark.watch import FINEST, POINTS, SETTINGS, Setting, Watched
from single_directions.report.claims.early_stopping import stop
from single_directions.runs.folder import write_json, write_text

LAGS = (1, 5, 10)
"""Epochs from a measurement to a later one that is compared with it."""
ITSELF, PEAK = "itself", "peak"
PATIENCES = (5, 10, 20)
"""Epochs that a stopper waits for a larger AUC."""
UNIT = 1e6
PARTS = ("orderings", "images", "rest")


@dataclass(frozen=True)
class Measured:
    """What the document is made of.

    Attributes:
        changes: a row for each training (1 is the first), epoch and `since`: how many epochs before, `peak` (that of
            the largest AUC) or `itself`. Columns for each number of points, in millionths: `change`, that of the AUC
            since then or the AUC itself, and the three standard deviations of its `Spread`.
        costs: of each setting, median.
        stops: a row for each training and patience: epochs after which stock early stopping keeps the network and ends
            the training, by all that was measured, and by each part of it that is as large as the default.
        about: how it was made.
    """

    changes: pd.DataFrame
    costs: dict[Setting, float]
    stops: list[dict[str, Any]]
    about: dict[str, Any]

    @classmethod
    def of(cls, trainings: Sequence[Watched], portion: int, default: Setting, **about: Any) -> "Measured":
        """Of trainings watched, by portions of so many images."""
        rows = [row for number, each in enumerate(trainings, 1) for row in _changes(number, each, portion)]
        costs = {
            setting: statistics.median(each.costs[setting] for each in trainings if each.costs) for setting in SETTINGS
        }
        stops = [
            {"training": number, "patience": patience, **stopped(each, portion, default, patience)}
            for number, each in enumerate(trainings, 1)
            for patience in PATIENCES
        ]
        _, orderings, portions = trainings[0].areas[POINTS[0]].shape
        named = {"trainings": [each.training for each in trainings], "orderings": orderings}
        return cls(pd.DataFrame(rows), costs, stops, {**about, **named, "images": portions * portion})

    def write(self, place: Path) -> None:
        """As two files of this name, `.csv` and `.json`."""
        write_text(place.with_suffix(".csv"), self.changes.to_csv(index=False, lineterminator="\n"))
        costs = [[*setting, float(f"{cost:.5g}")] for setting, cost in self.costs.items()]
        write_json(place.with_suffix(".json"), {"about": self.about, "costs": costs, "stops": self.stops})

    @classmethod
    def read(cls, place: Path) -> "Measured":
        """From the two files."""
        rest = json.loads(place.with_suffix(".json").read_text())
        costs = {(orderings, points, images): cost for orderings, points, images, cost in rest["costs"]}
        return cls(pd.read_csv(place.with_suffix(".csv")), costs, rest["stops"], rest["about"])

    def auc(self, training: int, points: int) -> pd.Series:
        """Of one training, by epoch, in all that was measured."""
        rows = self.changes[(self.changes["training"] == training) & (self.changes["since"] == ITSELF)]
        return rows.set_index("epoch")[f"change_{points}"] / UNIT


def _changes(number: int, training: Watched, portion: int) -> Iterator[dict[str, Any]]:
    """The rows of one training."""
    epochs = len(training.auc)
    peak = int(training.auc.argmax())
    for epoch in range(epochs):
        earlier = {ITSELF: None, **{str(lag): epoch - lag for lag in LAGS if epoch >= lag}}
        for since, start in (earlier | ({PEAK: peak} if epoch > peak else {})).items():
            row: dict[str, Any] = {"training": number, "epoch": epoch + 1, "since": since}
            for points, areas in training.areas.items():
                change = areas[epoch] if start is None else areas[epoch] - areas[start]
                row[f"change_{points}"] = round(UNIT * change.mean().item())
                spread = Spread.of(change, portion)
                row |= {f"{part}_{points}": round(UNIT * getattr(spread, part) ** 0.5) for part in PARTS}
            yield row


def stopped(training: Watched, portion: int, setting: Setting, patience: int) -> dict[str, Any]:
    """When and with which network a training is stopped, by all that was measured and by parts of it.

    `kept` and `ended` are epochs of stopping by all, `kept_by_each`, `ended_by_each` by each part that has as many
    orderings, points and images as the setting; `lost` is how far the AUC, by all, of what these keep lies below that
    of what all keep.
    """
    whole = training.auc
    ended, kept = stop(whole.tolist(), True, patience)
    found = [stop(series.tolist(), True, patience) for series in _parts(training, portion, setting)]
    return {
        "kept": kept + 1,
        "ended": ended + 1,
        "kept_by_each": [best + 1 for _, best in found],
        "ended_by_each": [end + 1 for end, _ in found],
        "lost": [round((whole[kept] - whole[best]).item(), 6) for _, best in found],
    }


def _parts(training: Watched, portion: int, setting: Setting) -> Iterator[Tensor]:
    """The AUC (epochs,) by each part of the orderings and images."""
    orderings, points, images = setting
    areas = training.areas[points]
    _, there, portions = areas.shape
    size = min(portions, max(1, images // portion))  # a setting of more images: all there are
    for first in range(0, there - orderings + 1, orderings):
        for start in range(0, portions - size + 1, size):
            yield areas[:, first : first + orderings, start : start + size].mean((1, 2))


def error(rows: pd.DataFrame, setting: Setting) -> pd.Series:
    """The standard error of each row's change, or AUC, if it were measured by a setting."""
    orderings, points, images = setting
    variances = [(rows[f"{part}_{points}"] / UNIT) ** 2 for part in PARTS]
    return (variances[0] / orderings + variances[1] / images + variances[2] / (orderings * images)) ** 0.5


def orderings_to_see(rows: pd.DataFrame, times: float, points: int, images: int) -> pd.Series:
    """By how many orderings, on so many images, each row's change would be so many standard errors; NaN: by none."""
    orderings, alone, rest = ((rows[f"{part}_{points}"] / UNIT) ** 2 for part in PARTS)
    left = (rows[f"change_{FINEST}"] / UNIT / times) ** 2 - alone / images
    return ((orderings + rest / images) / left.where(left > 0)).apply(np.ceil)
