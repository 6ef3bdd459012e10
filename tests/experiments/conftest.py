"""Tables of runs that were never trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from single_directions.experiments.tables import Tables

Made = Callable[..., Tables]


@pytest.fixture
def constructed() -> Made:
    """Makes the tables of one sweep from a row a run, with a straight line or given points as each run's curve."""

    def make(
        experiment: str,
        rows: Sequence[Mapping[str, Any]],
        scale: str = "paper",
        data: str = "mnist",
        variant: str = "",
        curves: Sequence[Sequence[float]] = (),
        epochs: Sequence[Mapping[str, Sequence[float]]] = (),
    ) -> Tables:
        names = [f"{experiment}/{scale}-{data}/{variant}run={i}" for i in range(len(rows))]
        known = {"state": "done", "reason": "", "experiment": experiment, "scale": scale, "data": data}
        runs = pd.DataFrame(
            [{"run": name, **known, "variant": variant, **row} for name, row in zip(names, rows, strict=True)]
        )
        points = [
            {"run": name, "epoch": float("nan"), "ordering": 0, "fraction_ablated": i / (len(curve) - 1), "accuracy": y}
            for name, curve in zip(names, curves, strict=False)
            for i, y in enumerate(curve)
        ]
        columns = ["run", "epoch", "ordering", "units_ablated", "fraction_ablated", "accuracy"]
        trained = [
            pd.DataFrame(own).assign(run=name, epoch=range(1, 1 + len(next(iter(own.values())))))
            for name, own in zip(names, epochs, strict=False)
        ]
        return Tables(
            runs,
            pd.DataFrame(points, columns=columns),
            pd.concat(trained) if trained else pd.DataFrame(columns=["run", "epoch"]),
        )

    return make


@pytest.fixture
def memorization(constructed: Made) -> Made:
    """Makes a memorization sweep in which AUC is `slope` times the corruption below 0.7, give or take the seed."""

    def make(
        slope: float = 0.3,
        seeds: int = 5,
        levels: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1),
        train_accuracy: float = 1.0,
        noise: float = 0.01,
        **also: Any,
    ) -> Tables:
        rows = [
            {
                "corruption": level,
                "seed": seed,
                "auc": 0.7 - slope * level + noise * seed + noise * ((3 * seed + 10 * level) % 4 - 1.5),
                "auc_normalized": 0.7 - slope * level,
                "train_accuracy": train_accuracy,
                "test_accuracy": 0.98 - 0.9 * level + 0.001 * ((seed + 10 * level) % 3),
            }
            for level in levels
            for seed in range(seeds)
        ]
        return constructed("memorization", rows, **also)

    return make
