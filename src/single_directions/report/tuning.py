"""Which optimizer and learning rate trained fastest: what the settings of the other experiments rest on."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import pandas as pd

from single_directions.experiments.conditions import LEARNING_RATE, OPTIMIZER
from single_directions.experiments.sweeps import overrides, said
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import number, place
from single_directions.report.markup import Markup, table, tag

NAME = "tuning"
REACHED = 0.99
"""Training accuracy."""
HEADS = ("Setting", "Seed", "Epochs to 99 %", "Epochs trained", "Training accuracy", "Training loss", "Chosen")
RULE = (
    "Which setting trains fastest? Rule: the fewest epochs to 99 % training accuracy on true labels and, of equals, "
    "the lower training loss. Accuracy and loss are those of the epoch that reached it, or else of the last."
)


def tuning(tables: Tables) -> Markup | None:
    """A table a network and data set: a row a setting, the chosen one marked."""
    runs = tables.runs[(tables.runs["state"] == "done") & (tables.runs["experiment"] == NAME)]
    if runs.empty or OPTIMIZER not in runs or LEARNING_RATE not in runs:
        return None
    groups = runs.groupby([runs["scale"], runs["data"], runs.apply(_beside, axis=1)])
    parts = [
        _group(place(str(data), str(scale), overrides(str(beside))), own, tables)
        for (scale, data, beside), own in groups
    ]
    return tag("section", tag("h2", "Tuning: optimizer and learning rate"), tag("p", RULE), parts, id=NAME)


def found(run: Mapping[Any, Any], epochs: pd.DataFrame) -> dict[str, Any]:
    """What a training came to: the epoch that reached 99 % (infinite if none), its accuracy and its loss."""
    own = epochs[epochs["run"] == run["run"]].sort_values("epoch")
    reached = own[own["train/accuracy"] >= REACHED]
    shown = reached.iloc[0] if len(reached) else own.iloc[-1]
    return {
        "reached": float(shown["epoch"]) if len(reached) else inf,
        "epochs": len(own),
        "accuracy": float(shown["train/accuracy"]),
        "loss": float(shown["train/loss"]),
    }


def _beside(run: Mapping[Any, Any]) -> str:
    """The overrides of a run, a row of the table, that are not what is tuned."""
    others = {key: value for key, value in said(run).items() if key.split(".")[0] not in ("optimizer", "seed")}
    return ",".join(f"{key}={value}" for key, value in sorted(others.items()))


def _group(heading: str, runs: pd.DataFrame, tables: Tables) -> Iterator[Markup]:
    settings = [(run, found(run, tables.epochs)) for run in runs.to_dict("records") if _measured(run, tables)]
    settings.sort(key=lambda one: (one[1]["reached"], one[1]["loss"]))
    chosen = settings[0] if settings and settings[0][1]["reached"] < inf else None
    yield tag("h3", heading)
    yield table(HEADS, [_row(run, what, chosen is not None and run is chosen[0]) for run, what in settings])
    if chosen is None:
        yield tag("p", "No setting reached 99 % training accuracy: none is chosen.")


def _measured(run: Mapping[Any, Any], tables: Tables) -> bool:
    known = {"train/accuracy", "train/loss"} <= set(tables.epochs)
    return known and bool((tables.epochs["run"] == run["run"]).any())


def _row(run: Mapping[Any, Any], what: dict[str, Any], chosen: bool) -> tuple[Any, ...]:
    return (
        f"{str(run[OPTIMIZER]).rpartition('.')[2]}, learning rate {run[LEARNING_RATE]:g}",
        number(run["seed"], 0),
        number(what["reached"], 0) if what["reached"] < inf else f"never in {what['epochs']}",
        what["epochs"],
        number(what["accuracy"]),
        number(what["loss"], 4),
        tag("strong", "chosen") if chosen else "",
    )
