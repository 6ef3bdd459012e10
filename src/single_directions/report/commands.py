"""The commands that make runs again: as few as can, each setting said that today's configuration would not give."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from single_directions.commands import called
from single_directions.errors import BadInput
from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.sweeps import defaults, overrides, swept_keys, swept_params
from single_directions.runs.config import composed, conf_folder, flat, is_neutral

_ROUNDING = ("channels_last", "compile", "trainer.devices", "trainer.strategy")
"""Settings that a run's name leaves out since its results are the same, or nearly so, without them."""
PLACE = "FOLDER"
"""Stands in commands for where a folder of images lies."""


def commands(experiment: str, scale: str, data: str, runs: pd.DataFrame) -> list[str]:
    """As few commands as make some runs, rows of the table, all of one folder `<experiment>/<scale>-<data>`.

    They give the runs' configurations, but for what leaves results as they are, once `PLACE` is filled in.
    """
    known = EXPERIMENTS.get(experiment)
    words = [f"experiment={experiment}"] if experiment != "single" else []
    words += [f"scale={scale}"] if scale != "demo" else []
    own = not (conf_folder() / "experiment" / f"{experiment}.yaml").is_file()  # and so are its data
    if own or data != ("digits" if scale == "demo" else known.data if known else "mnist"):
        words.append(f"data={data}")
    kinds: dict[frozenset[str], list[dict[str, str]]] = {}
    for row in runs.to_dict("records"):
        said = {**_mandatory(row, data), **overrides(row["run"])}
        run = dict(sorted({**said, **_unsaid(row, said, experiment, words)}.items()))
        kinds.setdefault(frozenset(run), []).append(run)
    lines = []
    for keys, alike in kinds.items():
        # With -m, a key that the experiment sweeps would be swept unless it has a value; and a run has one device.
        together = keys >= swept_params(experiment).keys() and "trainer.devices" not in keys
        for block in _blocks(alike) if together else [[run] for run in alike]:
            values = [shlex.quote(_assignment(experiment, key, [run[key] for run in block])) for key in block[0]]
            lines.append(" ".join([called("train"), *(["-m"] if len(block) > 1 else []), *words, *values]))
    return lines


def command_for(experiment: str, scale: str) -> str:
    """The command that makes all runs of an experiment."""
    return f"{called('train')} -m experiment={experiment}{'' if scale == 'demo' else f' scale={scale}'}"


def _mandatory(row: Mapping[Any, Any], data: str) -> dict[str, str]:
    """The place of images that the configuration does not know, where a run's name does not tell it."""
    file = conf_folder() / "data" / f"{data}.yaml"
    if not file.is_file() or not OmegaConf.is_missing(OmegaConf.load(file), "root"):
        return {}
    return {"data.root": str(_first(row.get("config.data.root"), data))}


def _unsaid(row: Mapping[Any, Any], said: Mapping[str, str], experiment: str, words: Sequence[str]) -> dict[str, str]:
    """The settings of a run that its name does not tell and that are no defaults, or were when it was made."""
    if pd.isna(row.get("config.seed")):  # its configuration could not be read
        return {}
    plain = {key for key in swept_keys(experiment) if "." in key or key == "seed"}  # they change themselves alone
    named = [_assignment(experiment, key, [value]) for key, value in said.items() if key not in plain]
    made = _made((*words, *named))
    config, found = {"data": {"_target_": made.get("data._target_", "")}}, {}
    for key, value in made.items():
        if key in _ROUNDING or not (key in plain or key in said or is_neutral(key, config)):
            had = _first(row.get(f"config.{key}"), defaults().get(key, value))
            if not _same(had, value):
                found[key] = _text(had)
    return found


@cache
def _made(words: tuple[str, ...]) -> dict[str, Any]:
    """What a command makes, as dotted keys and values; nothing where that is no command of today's."""
    try:
        return flat(composed(words))
    except BadInput:
        return {}


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None or pd.isna(value) else value


def _same(cell: Any, value: Any) -> bool:
    """Whether a cell of the table of runs has some value of a configuration."""
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (cell, value))
    return bool(cell == value) if numbers else _text(cell) == _text(value)


def _text(value: Any) -> str:
    """A value as a command line has it."""
    if isinstance(value, bool) or str(value) in ("True", "False"):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "null" if value is None else json.dumps(value) if isinstance(value, list | dict) else str(value)


def _blocks(runs: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """The runs in few groups, each of which is the product of its keys' values, as a sweep is."""
    if prod(len({run[key] for run in runs}) for key in runs[0]) == len(runs):
        return [runs]
    parts = min((_alike(runs, key) for key in runs[0]), key=lambda parts: len(parts) if len(parts) > 1 else len(runs))
    return [block for part in parts for block in _blocks(part)]


def _alike(runs: list[dict[str, str]], key: str) -> list[list[dict[str, str]]]:
    """The runs in groups of values of a key that occur with the same values of the other keys."""
    beside: dict[str, set[frozenset[tuple[str, str]]]] = {}
    for run in runs:
        beside.setdefault(run[key], set()).add(frozenset(item for item in run.items() if item[0] != key))
    groups: dict[frozenset[frozenset[tuple[str, str]]], list[dict[str, str]]] = {}
    for run in runs:
        groups.setdefault(frozenset(beside[run[key]]), []).append(run)
    return list(groups.values())


def _assignment(experiment: str, key: str, values: Iterable[str]) -> str:
    """`seed=0,1,2`, or `seed=range(0,20)` for many that follow each other."""
    distinct = _sorted(values)
    text = ",".join(distinct)
    if len(distinct) > 4 and all(value.isdigit() for value in distinct):
        first, last = int(distinct[0]), int(distinct[-1])
        if last - first + 1 == len(distinct):
            text = f"range({first},{last + 1})"
    if key == "data.root":
        text = f"{PLACE}/{text}"  # where it lies is the reader's
    return f"{'+' * _is_new(experiment, key)}{key}={text}" if text else key


@cache
def _is_new(experiment: str, key: str) -> bool:
    """Whether no file of an experiment's configuration has a dotted key, so that Hydra must be told to add it."""
    group, _, rest = key.partition(".")
    whole = [conf_folder() / "train.yaml", conf_folder() / "experiment" / f"{experiment}.yaml"]
    files = [*((file, key) for file in whole), *((file, rest) for file in (conf_folder() / group).glob("*.yaml"))]
    known = ((OmegaConf.to_container(OmegaConf.load(file)), own) for file, own in files if file.is_file())
    return bool(rest) and not any(_has(config, own) for config, own in known)


def _has(config: Any, key: str) -> bool:
    first, _, rest = key.partition(".")
    return isinstance(config, dict) and first in config and (not rest or _has(config[first], rest))


def _sorted(values: Iterable[str]) -> list[str]:
    """Different values, numbers by size before words."""

    def order(value: str) -> tuple[float, str]:
        try:
            return (float(value), value)
        except ValueError:
            return (float("inf"), value)

    return sorted(set(values), key=order)
