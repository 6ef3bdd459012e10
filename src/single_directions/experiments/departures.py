"""Where runs differ from the paper's: other or fewer data, another network, a shorter training, lower precision."""

from typing import Any

import pandas as pd

from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.wording import shown

_EVERY = {
    "config.data.train_samples": "all",
    "config.data.test_samples": "all",
    "config.data.corruption_kind": "shuffle",
    "config.ablation.clamp": "zero",
    "config.ablation.samples": "all",
    "config.stop_at_train_accuracy": "all epochs",
    "config.data.held_out": "0",
    "config.early_stopping.monitor": "none",
    "config.trainer.limit_train_batches": "1",
    "config.trainer.max_steps": "-1",
    "config.trainer.max_time": "none",
}
_ROUNDING = {"config.trainer.precision": "32", "config.channels_last": "False"}
"""Settings that change results by rounding alone."""

CONVNET = {"data": "cifar10", "config.network._target_": "ConvNet", "config.network.width": 1.0, "epochs": 100}
"""The paper's convolutional network and its data, for `Experiment.settings`."""


def mlp(width: int, epochs: int) -> dict[str, Any]:
    """The paper's multilayer perceptron and its data, for `Experiment.settings`."""
    hidden = f"[{width}, {width}]"
    return {"data": "mnist", "config.network._target_": "MLP", "config.network.hidden": hidden, "epochs": epochs}


def departures(sweep: pd.DataFrame) -> list[str]:
    """How the runs of a sweep differ from the paper's, in a few words each; nothing for a user's experiment."""
    return [*reductions(sweep), *_others(sweep, _ROUNDING)] if _settings(sweep) is not None else []


def reductions(sweep: pd.DataFrame) -> list[str]:
    """The same without differences by rounding alone."""
    expected = _settings(sweep)
    if expected is None:
        return []
    epochs = expected.pop("epochs", None)
    data = sweep["data"]
    if "config.data.root" in sweep:  # of folders of images, the folder's name is shown
        data = data.where(data != "image_folder", sweep["config.data.root"].astype(str) + " (a folder of images)")
    found = _others(sweep.assign(data=data), expected)
    trained = sweep.get("config.trainer.max_epochs", pd.Series(dtype=float)).min()
    if epochs is not None and trained < epochs:
        found.append(f"at most {trained:g} epochs in place of {epochs}")
    return found


def _settings(sweep: pd.DataFrame) -> dict[str, Any] | None:
    """The paper's settings for the experiment of a sweep; None for an experiment that is not the paper's."""
    experiment = EXPERIMENTS.get(sweep["experiment"].iloc[0])
    return {**_EVERY, **experiment.settings} if experiment and experiment.figure else None


def _others(sweep: pd.DataFrame, expected: dict[str, Any]) -> list[str]:
    """The keys that have other values than expected. A missing key or null counts as the paper's value."""
    found = []
    for column, paper in expected.items():
        if column in sweep and (others := sorted({*map(_named, sweep[column].dropna())} - {_named(paper)})):
            found.append(f"{column.removeprefix('config.')} {', '.join(others)} in place of {_named(paper)}")
    return found


def _named(value: Any) -> str:
    return shown(value).removeprefix("single_directions.networks.").removesuffix("-true")
