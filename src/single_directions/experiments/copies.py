"""Networks that were trained twice, as in two experiments that share a condition."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from single_directions.experiments.sweeps import config_keys, default
from single_directions.runs.identity import is_neutral

# Keys that may differ between runs of the same network: names, what may end a training (the number of
# epochs shows whether it did), and measurements during training.
_NOT_COMPARED = ("experiment", "scale", "stop_at_train_accuracy", "early_stopping", "trainer.max_epochs",
                 "trainer.check_val_every_n_epoch", "ablation.every_epoch")  # fmt: skip
_RESULTS = ("epochs", "label_hash", "auc", "auc_std", "train_accuracy", "train_loss", "test_accuracy", "test_loss")


def first_of(runs: pd.DataFrame) -> dict[str, str]:
    """The runs that trained a network for the second time, each with the first run that trained it.

    Two runs have one network if all keys that decide numbers are equal, and their results are equal to the last digit.
    Runs that are not done, and those without configuration or results, are never copies.
    """
    known = runs[runs["state"] == "done"]
    if not {"config.seed", *_RESULTS} <= set(known):
        return {}
    known = known.dropna(subset=["config.seed", *_RESULTS])
    firsts: dict[tuple[Any, ...], str] = {}
    found = {}
    for row in known.to_dict("records"):
        network = (*settings_of(row), *(row[name] for name in _RESULTS))
        first = firsts.setdefault(network, str(row["run"]))
        if first != row["run"]:
            found[str(row["run"])] = first
    return found


def settings_of(row: Mapping[Any, Any], besides: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """The keys and values of a run's configuration that decide its numbers, without those `besides`.

    Keys that say when training ends are left out.
    """
    config = {"data": {"_target_": str(row.get("config.data._target_"))}}
    found = []
    for key in sorted(config_keys(row)):
        value = default(row[f"config.{key}"], key)
        left_out = any(key == own or key.startswith(f"{own}.") for own in (*_NOT_COMPARED, *besides))
        if pd.notna(value) and not left_out and not is_neutral(key, config):
            found.append((key, str(value)))
    return tuple(found)
