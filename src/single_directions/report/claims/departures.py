"""Where runs depart from the paper: other data, fewer of them, another network, a shorter training, coarser numbers."""

from typing import Any

import pandas as pd

_EVERY = {
    "config.data.train_samples": "all",
    "config.data.test_samples": "all",
    "config.data.corruption_kind": "shuffle",
    "config.ablation.clamp": "zero",
    "config.ablation.samples": "all",
    "config.stop_at_train_accuracy": "all epochs",
}
_ROUNDING = {"config.trainer.precision": "32", "config.channels_last": "False"}
"""What changes results by rounding alone."""
_CONVNET = {"data": "cifar10", "config.network._target_": "ConvNet", "config.network.width": 1.0, "epochs": 100}
_LARGE_MLP = {"data": "mnist", "config.network._target_": "MLP", "config.network.hidden": "[2048, 2048]"}
PAPER: dict[str, dict[str, Any]] = {
    "memorization": {**_LARGE_MLP, "config.network.hidden": "[512, 512]", "epochs": 640},
    "memorization_cifar10": _CONVNET,
    "memorization_imagenet": {
        "data": "imagenet",
        "config.network._target_": "ResNet50",
        "config.network.stem": "imagenet",
        "config.network.width": 1.0,
    },
    "ensemble": _CONVNET,
    "ensemble_learning_rates": _CONVNET,
    "early_stopping": {**_LARGE_MLP, "epochs": 640},
    "early_stopping_grid": {**_LARGE_MLP, "epochs": 640},
    "early_stopping_corrupted": {**_LARGE_MLP, "epochs": 640},
    "dropout": {**_LARGE_MLP, "epochs": 5000},
    "batch_norm": _CONVNET,
}
"""What the paper's networks and data are; `epochs` is the least that `trainer.max_epochs` should be."""


def departures(sweep: pd.DataFrame) -> list[str]:
    """Each way in which the runs of a sweep are not the paper's, in a few words."""
    return [*reductions(sweep), *_others(sweep, _ROUNDING)]


def reductions(sweep: pd.DataFrame) -> list[str]:
    """Those of them that are more than rounding."""
    expected = {**_EVERY, **PAPER.get(sweep["experiment"].iloc[0], {})}
    epochs = expected.pop("epochs", None)
    found = _others(sweep.assign(data=_data(sweep)), expected)
    trained = sweep.get("config.trainer.max_epochs", pd.Series(dtype=float)).min()
    if epochs is not None and trained < epochs:
        found.append(f"at most {trained:g} epochs in place of {epochs}")
    return found


def _others(sweep: pd.DataFrame, expected: dict[str, Any]) -> list[str]:
    """The keys that have other values than expected; one that a run lacks, or that is null, has the paper's."""
    found = []
    for column, paper in expected.items():
        if column in sweep and (others := sorted({*map(_shown, sweep[column].dropna())} - {_shown(paper)})):
            found.append(f"{column.removeprefix('config.')} {', '.join(others)} in place of {_shown(paper)}")
    return found


def _data(sweep: pd.DataFrame) -> pd.Series:
    """The data sets' names, those of image folders with the folder's."""
    if "config.data.root" not in sweep:
        return sweep["data"]
    folder = sweep["config.data.root"].astype(str) + " (a folder of images)"
    return sweep["data"].where(sweep["data"] != "image_folder", folder)


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return text.removeprefix("single_directions.networks.").removesuffix("-true")
