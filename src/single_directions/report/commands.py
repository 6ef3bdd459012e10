"""The commands behind runs, as the runs recorded them, and those that make an experiment's own sweep."""

from functools import cache
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from single_directions.commands import called
from single_directions.runs.config import conf_folder
from single_directions.runs.sweep import sweep_size

PLACE = "FOLDER"
"""Stands in commands for where a folder of images lies."""


def commands(runs: pd.DataFrame) -> list[str]:
    """The different commands that made some runs, rows of the table, and a line on runs that did not record theirs."""
    known = runs["command"].dropna() if "command" in runs else pd.Series(dtype=str)
    lines = list(dict.fromkeys(map(str, known)))
    if len(known) < len(runs):
        which = f"{len(runs) - len(known)} of {len(runs)} runs"
        lines.append(f"# not known for {which}: older code did not record it; their settings are in config.yaml")
    return lines


def command_for(experiment: str, scale: str) -> str:
    """The command that makes all runs of an experiment."""
    return f"{called('train')} -m experiment={experiment}{'' if scale == 'demo' else f' scale={scale}'}"


def planned_runs(experiment: str, scale: str) -> int | None:
    """How many runs the experiment's own sweep has, or None where it has none."""
    params = _params(experiment)
    if not params:
        return None
    resolved: Any = OmegaConf.create({"scale": scale, "params": params})
    return sweep_size(f"{key}={value}" for key, value in resolved.params.items())


@cache
def _params(experiment: str) -> dict[str, Any]:
    """What the experiment's file in `conf` sweeps, not yet resolved."""
    file = conf_folder() / "experiment" / f"{experiment}.yaml"
    if not file.is_file():
        return {}
    params: Any = OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params")
    return {} if params is None else OmegaConf.to_container(params, resolve=False)  # type: ignore[return-value]
