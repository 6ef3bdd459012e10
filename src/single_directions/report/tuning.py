"""Which optimizer and learning rate trained fastest: the settings of the other experiments were chosen by it."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import pandas as pd

from single_directions.experiments.conditions import LEARNING_RATE, OPTIMIZER
from single_directions.experiments.sweeps import overrides, overrides_of
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import number, place
from single_directions.report.views import Block, Cell, table

TUNING = "tuning"
"""The name of the experiment and of its Markdown file, and the id of its part of the page."""
REACHED = 0.99
"""Training accuracy."""
HEADS = ("Setting", "Seed", "Epochs to 99 %", "Epochs trained", "Training accuracy", "Training loss", "Chosen")
RULE = (
    "The paper states neither. Of a small grid, the setting is chosen that needs the fewest epochs to reach 99 % "
    "training accuracy on true labels; among equals, the one with the lower training loss. Accuracy and loss are "
    "those of the epoch that reached 99 %, or of the last epoch."
)


def tuning(tables: Tables) -> Iterator[Block]:
    """The rule, and a table per network and data set: one row per setting, the chosen one marked."""
    runs = tables.runs[(tables.runs["state"] == "done") & (tables.runs["experiment"] == TUNING)]
    if runs.empty or not {OPTIMIZER, LEARNING_RATE} <= set(runs):
        return
    yield Block(text=(RULE,))
    for (scale, data, others), own in runs.groupby([runs["scale"], runs["data"], runs.apply(_others, axis=1)]):
        yield _group(place(str(data), str(scale), overrides(str(others))), own, tables.epochs)


def _others(run: Mapping[Any, Any]) -> str:
    """The overrides of a run, a row of the table, that are not what is tuned."""
    others = {key: value for key, value in overrides_of(run).items() if key.split(".")[0] not in ("optimizer", "seed")}
    return ",".join(f"{key}={value}" for key, value in sorted(others.items()))


def _group(heading: str, runs: pd.DataFrame, epochs: pd.DataFrame) -> Block:
    known = {"train/accuracy", "train/loss"} <= set(epochs)
    by_run = dict(list(epochs.sort_values("epoch").groupby("run"))) if known else {}
    settings = [(run, _found(by_run[run["run"]])) for run in runs.to_dict("records") if run["run"] in by_run]
    settings.sort(key=lambda one: (one[1]["reached"], one[1]["loss"]))
    chosen = bool(settings) and settings[0][1]["reached"] < inf
    rows = [_row(run, found, chosen and place == 0) for place, (run, found) in enumerate(settings)]
    text = () if chosen else ("No setting reached 99 % training accuracy, so none is chosen.",)
    return Block(heading, text, table(HEADS, rows))


def _found(epochs: pd.DataFrame) -> dict[str, Any]:
    """The epoch of a training that reached 99 % (infinite if none), with its accuracy and loss or those of the last."""
    reached = epochs[epochs["train/accuracy"] >= REACHED]
    shown = reached.iloc[0] if len(reached) else epochs.iloc[-1]
    return {
        "reached": float(shown["epoch"]) if len(reached) else inf,
        "epochs": len(epochs),
        "accuracy": float(shown["train/accuracy"]),
        "loss": float(shown["train/loss"]),
    }


def _row(run: Mapping[Any, Any], found: Mapping[str, Any], chosen: bool) -> tuple[object, ...]:
    return (
        f"{str(run[OPTIMIZER]).rpartition('.')[2]}, learning rate {run[LEARNING_RATE]:g}",
        number(run["seed"], 0),
        number(found["reached"], 0) if found["reached"] < inf else f"never in {found['epochs']}",
        found["epochs"],
        number(found["accuracy"]),
        number(found["loss"], 4),
        Cell("chosen", "strong") if chosen else "",
    )
