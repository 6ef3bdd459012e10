"""Tables of runs that were never made: numbers drawn so that every figure has something to show."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from single_directions.experiments.judge import Judgement, judge
from single_directions.experiments.tables import Tables

EPOCHS = 12
FRACTIONS = np.linspace(0, 1, 6)
SWEEPS: dict[str, dict[str, list[Any]]] = {
    "memorization": {"data.corruption": [0.0, 0.5, 1.0]},
    "memorization_cifar10": {"data.corruption": [0.0, 1.0]},
    "memorization_imagenet": {"data.corruption": [0.0, 1.0]},
    "ensemble": {},
    "ensemble_learning_rates": {"optimizer.lr": [0.01, 0.1]},
    "early_stopping": {},
    "early_stopping_grid": {"optimizer": ["sgd", "adam"], "data.train_samples": [300, 1200]},
    "early_stopping_corrupted": {"optimizer": ["sgd", "adam"]},
    "dropout": {"network.dropout": [0.1, 0.3], "data.corruption": [0.0, 1.0]},
    "batch_norm": {"network.batch_norm": [True, False]},
}


def tables(experiments: dict[str, int], orderings: int = 2) -> Tables:
    """The tables of so many seeds of each experiment."""
    rng = np.random.default_rng(0)
    rows, curves, epochs = [], [], []
    for experiment, seeds in experiments.items():
        swept = {**SWEEPS[experiment], "seed": range(seeds)}
        words = [f"{key}={','.join(map(str, values))}" for key, values in swept.items()]
        command = f"python scripts/train.py -m experiment={experiment} {' '.join(words)}"
        for values in _settings(experiment, seeds):
            row = {**_row(experiment, values, rng), "orderings": orderings, "command": command}
            rows.append(row)
            curves.append(_curves(row, orderings))
            epochs.append(_epochs(row, rng))
    made = (pd.concat(frames, ignore_index=True) for frames in (curves, epochs))
    return Tables(pd.DataFrame(rows).assign(variant=""), *made)


def write_tables(folder: Path, experiments: dict[str, int], orderings: int = 2) -> Path:
    """The same as an earlier report's files."""
    tables(experiments, orderings).write(folder)
    return folder


def judged(whole: Tables) -> dict[str, Judgement]:
    """All claims judged by the only sweep, by their names without the experiment's."""
    return {one.claim.name: one for one in judge(whole)}


def renamed(whole: Tables, ending: str, **columns: Any) -> Tables:
    """The same runs, with `ending` at the end of their names and other values in some columns."""
    parts = (whole.runs.assign(**columns), whole.curves, whole.epochs)
    return Tables(*(table.assign(run=table["run"] + ending) for table in parts))


def together(*parts: Tables) -> Tables:
    """The runs of several tables."""
    names = ("runs", "curves", "epochs")
    return Tables(*(pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in names))


def _settings(experiment: str, seeds: int) -> Iterator[dict[str, Any]]:
    sweep = {**SWEEPS[experiment], "seed": list(range(seeds))}
    for values in product(*sweep.values()):
        yield dict(zip(sweep, values, strict=True))


def _row(experiment: str, values: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    overrides = [f"{key}={value}" for key, value in sorted(values.items())]
    name = ",".join(overrides)
    corruption = values.get("data.corruption", 0.0)
    config = {
        "experiment": experiment,
        "seed": values["seed"],
        "batch_size": 128,
        "ablation.top_k": 1,
        "data._target_": "single_directions.data.digits",
        "data.corruption": corruption,
        "data.train_samples": values.get("data.train_samples"),
        "network.dropout": values.get("network.dropout", 0.0),
        "network.batch_norm": values.get("network.batch_norm"),
        "optimizer._target_": f"torch.optim.{str(values.get('optimizer', 'sgd')).upper()}",
        "optimizer.lr": values.get("optimizer.lr", 0.03),
    }
    error = 0.1 + 0.02 * rng.random()
    auc = 0.7 - 0.3 * corruption - 0.5 * error + 0.1 * bool(values.get("network.batch_norm")) + 0.02 * rng.random()
    return {
        "run": f"{experiment}/demo-digits/{name}",
        "state": "done",
        "reason": "",
        "experiment": experiment,
        "scale": "demo",
        "data": "digits",
        "overrides": json.dumps(overrides),
        "corruption": corruption,
        "seed": values["seed"],
        "data_seed": 0,
        "ablation_seed": 0,
        "auc": auc,
        "auc_std": 0.01,
        "auc_normalized": auc,
        "auc_normalized_std": 0.01,
        "generalization_error": error,
        "train_accuracy": 1.0,
        "train_loss": 0.01,
        "test_accuracy": 1 - error,
        "test_loss": 0.3,
        "epochs": EPOCHS,
        "train_images": 1297,
        "test_images": 500,
        "images_measured": 1297,
        "classes": 10,
        "units": 256,
        "points": len(FRACTIONS),
        "method": "incremental",
        "label_hash": f"{int(10 * corruption):016x}",
        "seconds.training": 1.5,
        "seconds.measuring": 0.5,
        "device.type": "cpu",
        "device.name": "x86_64",
        "device.threads": 1,
        "versions.python": "3.11.7",
        "versions.torch": "2.6.0",
        **{f"config.{key}": value for key, value in config.items()},
    }


def _curves(row: dict[str, Any], orderings: int) -> pd.DataFrame:
    """Accuracy falls from 1 to chance so that the area is the row's AUC, a little more or less in each ordering."""
    frames = []
    for ordering in range(orderings):
        power = 0.9 / (row["auc"] + 0.01 * ordering - 0.1) - 1
        frames.append(
            pd.DataFrame(
                {
                    "run": row["run"],
                    "epoch": np.nan,
                    "ordering": ordering,
                    "units_ablated": (256 * FRACTIONS).astype(int),
                    "fraction_ablated": FRACTIONS,
                    "accuracy": 0.1 + 0.9 * (1 - FRACTIONS) ** power,
                }
            )
        )
    return pd.concat(frames)


def _epochs(row: dict[str, Any], rng: np.random.Generator) -> pd.DataFrame:
    epoch = np.arange(1, EPOCHS + 1)
    noise = 0.01 * rng.random(len(epoch))
    frame = {
        "run": row["run"],
        "epoch": epoch,
        "train/loss": 2 / epoch,
        "train/accuracy": 1 - 0.5 / epoch,
        "test/loss": 1 / epoch + 0.05 * epoch + noise,
        "test/accuracy": 0.9 - 0.5 / epoch,
    }
    if row["experiment"].startswith("early_stopping"):
        auc = 0.6 - 0.3 / epoch - 0.01 * epoch + noise
        accuracy = 1 - 0.5 / epoch
        frame |= {"ablation/auc": auc, "ablation/auc_std": 0.01, "ablation/accuracy": accuracy}
        frame |= {"ablation/auc_normalized": auc / accuracy}
    return pd.DataFrame(frame)
