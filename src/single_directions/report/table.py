"""Run folders as tables: a row a run, a row a point of a curve, a row a level of corruption."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from single_directions.errors import BadInput
from single_directions.runs.folder import RunFolder

SWEEP = ["experiment", "scale", "data", "variant"]
"""Columns that runs must share to be compared with each other."""


def read_runs(root: Path) -> pd.DataFrame:
    """Every run below `root`, a row each, sorted by folder.

    Columns are `folder`, `state` (that of `status.json`; "broken" where files of a run that is done cannot be read),
    `experiment`, `scale`, `data`, `variant` and what `summary.json` holds, nested keys joined by dots. `variant` is
    what sets a run apart from the rest of its experiment, save corruption and seed: "" for most. Raises `BadInput`
    where there is no run at all.
    """
    rows = [_row(RunFolder(status.parent)) for status in sorted(root.rglob("status.json"))]
    if not rows:
        raise BadInput(f"no runs in {root}: make some, with python scripts/train.py -m experiment=memorization")
    return pd.DataFrame(rows)


def read_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """The curves of runs that are done: the columns of `curves.csv`, with `corruption`, `seed` and `folder`."""
    frames = [
        pd.read_csv(RunFolder(Path(run["folder"])).curves).assign(
            **{key: run[key] for key in ("corruption", "seed", "folder")}
        )
        for _, run in runs[runs["state"] == "done"].iterrows()
    ]
    return pd.concat(frames, ignore_index=True)


def by_corruption(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a level of corruption, over runs that are done.

    `auc_orderings` is the standard deviation over orderings within a network (root mean square over networks),
    `auc_networks` that of the networks' means: NaN for a single one.
    """
    groups = runs[runs["state"] == "done"].groupby("corruption")
    return pd.DataFrame(
        {
            "networks": groups.size(),
            "train_accuracy": groups["train_accuracy"].mean(),
            "test_accuracy": groups["test_accuracy"].mean(),
            "auc": groups["auc"].mean(),
            "auc_orderings": groups["auc_std"].agg(lambda std: np.sqrt((std.astype(float) ** 2).mean())),
            "auc_networks": groups["auc"].std(),
        }
    ).reset_index()


def as_text(table: pd.DataFrame) -> str:
    """`by_corruption`'s table for a terminal."""
    shown = pd.DataFrame(
        {
            "corruption": table["corruption"].map("{:g}".format),
            "networks": table["networks"],
            "train accuracy": table["train_accuracy"].map("{:.3f}".format),
            "test accuracy": table["test_accuracy"].map("{:.3f}".format),
            "AUC": table["auc"].map("{:.3f}".format),
            "± orderings": table["auc_orderings"].map("{:.3f}".format),
            "± networks": table["auc_networks"].map("{:.3f}".format),
        }
    )
    return shown.replace("nan", "-").to_string(index=False)


def _row(folder: RunFolder) -> dict[str, Any]:
    experiment, place, name = folder.path.parts[-3:] if len(folder.path.parts) >= 3 else ("", "", folder.path.name)
    scale, _, data = place.partition("-")
    parts = re.split(r",(?=[\w.@/~]+(?:=|$))", name)  # not at the commas of a list
    variant = ",".join(part for part in parts if not re.match(r"(data\.corruption|seed)=|default$", part))
    row = {
        "folder": str(folder.path),
        "state": folder.state() or "broken",
        "experiment": experiment,
        "scale": scale,
        "data": data,
        "variant": variant,
    }
    if row["state"] != "done":
        return row
    try:
        pd.read_csv(folder.curves)
        summary = folder.read_summary()
        [flat] = pd.json_normalize(summary).to_dict("records")
    except (OSError, ValueError):
        return {**row, "state": "broken"}
    return {**{str(key): value for key, value in flat.items()}, **row}
