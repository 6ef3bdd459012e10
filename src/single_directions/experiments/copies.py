"""Networks that were trained twice under two names, as in two experiments that share a condition."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from single_directions.experiments.sweeps import defaults
from single_directions.runs.identity import is_neutral

# What may differ between runs whose network is the same: what they are called, what may end a training (where it did,
# the number of epochs tells), and what is only measured on the way.
_UNTOLD = ("experiment", "scale", "stop_at_train_accuracy", "early_stopping", "trainer.max_epochs",
           "trainer.check_val_every_n_epoch", "ablation.every_epoch")  # fmt: skip
_RESULTS = ("epochs", "label_hash", "auc", "auc_std", "train_accuracy", "train_loss", "test_accuracy", "test_loss")


def first_of(runs: pd.DataFrame) -> dict[str, str]:
    """The runs that are done whose network another run has too, by name, and the first of these runs.

    Two runs are of one network if what decides their numbers is the same in both configurations, and their results are
    the same to the last digit. Runs whose configuration or results are not known are nobody's copies.
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
    """What decides a network's numbers: keys of its configuration and their values, without those `besides`.

    Of when a training ends nothing is in it.
    """
    config = {"data": {"_target_": str(row.get("config.data._target_"))}}
    keys = sorted(str(key).removeprefix("config.") for key in row if str(key).startswith("config."))
    return tuple(
        (key, str(value))
        for key in keys
        if not (is_neutral(key, config) or any(key == own or key.startswith(f"{own}.") for own in (*_UNTOLD, *besides)))
        and pd.notna(value := _filled(row[f"config.{key}"], key))
    )


def _filled(value: Any, key: str) -> Any:
    """The value, or today's default for a run that was made before there was such a key."""
    return defaults().get(key, value) if pd.isna(value) else value
