"""Which runs may be compared: what an experiment sweeps, and what else sets runs apart."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import OmegaConf

from single_directions.experiments.experiment import EXPERIMENTS, OWN_FILES
from single_directions.experiments.wording import MOST, count, shown, some
from single_directions.runs.config import conf_folder, flat
from single_directions.runs.identity import is_neutral
from single_directions.runs.sweep import swept_values


class Sweep(NamedTuple):
    """What runs must share to be compared with each other: columns of their table."""

    experiment: str
    scale: str
    data: str
    variant: str

    @property
    def name(self) -> str:
        """``batch_norm/paper/image_folder/network.width=0.25``."""
        return "/".join(filter(None, self))


def swept_params(experiment: str) -> dict[str, Any]:
    """What an experiment's file sweeps, not yet resolved; {} where it has no file or sweeps nothing.

    The file lies in a user's folder that was loaded, or in `conf`.
    """
    return _params(OWN_FILES.get(experiment, conf_folder() / "experiment" / f"{experiment}.yaml"))


@cache
def _params(file: Path) -> dict[str, Any]:
    params: Any = OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params") if file.is_file() else None
    return {} if params is None else OmegaConf.to_container(params, resolve=False)  # type: ignore[return-value]


def swept_keys(experiment: str) -> tuple[str, ...]:
    """The keys that an experiment sweeps, `seed` last; `seed` alone where it has no file."""
    return (*(key for key in swept_params(experiment) if key != "seed"), "seed")


def planned_runs(experiment: str, scale: str) -> int | None:
    """How many runs the experiment's own sweep has, or None where it has none or where that is not known."""
    planned = _planned(experiment, scale)
    return prod(map(len, planned.values())) if planned else None


def _planned(experiment: str, scale: str, command: str = "") -> dict[str, list[str]]:
    """The values of each key in an experiment's own sweep, or in that of a command; {} where they are not known."""
    resolved: Any = OmegaConf.create({"scale": scale, "params": swept_params(experiment)})
    try:
        own = [f"{key}={value}" for key, value in resolved.params.items()]
        given = [word for word in shlex.split(command) if "=" in word and not word.startswith("-")]
        return swept_values([*own, *given])
    except Exception:  # as for a user's values that refer to other keys
        return {}


def not_done(runs: pd.DataFrame, sweep: Sweep) -> list[str]:
    """A sentence on the runs of one sweep that are not done, if there are any.

    The sweep of an experiment's YAML file has a known number of runs. Of a sweep with other settings, every combination
    of the values that its runs have, or that the commands which made them name, is expected: such as each seed at each
    level of corruption.
    """
    own = runs[(runs[[*Sweep._fields]] == list(sweep)).all(axis=1)]
    others = own[own["state"] != "done"]
    keys = swept_keys(sweep.experiment)
    made = {tuple(_alike(overrides_of(row).get(key, "")) for key in keys): None for row in own.to_dict("records")}
    commands = own.get("command", pd.Series(dtype=str)).dropna().unique()
    swept = [_swept_by(str(command), sweep) for command in commands]
    values = [
        list(dict.fromkeys([*(run[place] for run in made), *(_alike(one) for of in swept for one in of.get(key, ()))]))
        for place, key in enumerate(keys)
    ]
    planned = len(own) + prod(map(len, values)) - len(made)
    if not sweep.variant:
        planned = max(planned, planned_runs(sweep.experiment, sweep.scale) or 0)
    left = planned - len(own) + len(others)
    if left == 0:
        return []
    states = [f"{number} {state}" for state, number in sorted(others["state"].value_counts().items())]
    if planned > len(own):
        states.append(f"{planned - len(own)} missing")
    missing = islice((one for one in product(*values) if one not in made), MOST)  # a search has too many for a list
    names = [run.rpartition("/")[2] for run in others["run"]]
    names += [",".join(f"{key}={value}" for key, value in zip(keys, one, strict=True) if value) for one in missing]
    which = f": {some(names, left)}" if names else ""
    return [f"{left} of {count(planned, 'run')} of this sweep are not done ({', '.join(states)}){which}"]


def _swept_by(command: str, sweep: Sweep) -> dict[str, list[str]]:
    """The values of each key in the sweep that a command starts; {} where it starts a single run."""
    multirun = {"-m", "--multirun"} & {*command.split()}
    return _planned(sweep.experiment, sweep.scale, command) if multirun else {}


def _alike(value: str) -> str:
    """A value as text that is the same however it was written: 0.0 is 0, True is true."""
    try:
        return f"{float(value):.15g}"
    except ValueError:
        return value.lower() if value in ("True", "False") else value


def overrides_of(run: Mapping[Any, Any]) -> dict[str, str]:
    """The overrides that a run, a row of the table, recorded, as {key: value}; "" for an override without a value."""
    recorded = run.get("overrides")
    return _split(json.loads(recorded)) if isinstance(recorded, str) else {}


def overrides(variant: str) -> dict[str, str]:
    """The settings that a variant names, as {key: value}."""
    return _split(re.split(r",(?=[A-Za-z_][\w.@/]*=|~)", variant) if variant else [])  # not at the commas of a list


def _split(settings: Iterable[str]) -> dict[str, str]:
    return {key: value for key, _, value in (setting.partition("=") for setting in settings)}


def variants(runs: pd.DataFrame) -> pd.Series:
    """The settings that only some runs of an experiment have, at one scale on one data set; "" for most runs.

    These are the overrides that the experiment does not sweep. Runs with the same overrides can still differ, if a
    default has changed between them: the keys that differ are added. Where `data.seed` follows `seed` it is named as
    `data.seed=${seed}`, so that all seeds are one sweep. A user's experiment has variants only if it declares
    conditions: the keys that differ and are neither conditions nor seeds.
    """
    variant: dict[str, str] = {}
    following = _following(runs)
    for row in runs.to_dict("records"):
        swept = swept_keys(row["experiment"])
        others = {} if is_own(row["experiment"]) else overrides_of(row)
        if row["run"] in following:
            others["data.seed"] = "${seed}"
        named = [f"{key}={value}" if value else key for key, value in sorted(others.items()) if key not in swept]
        variant[row["run"]] = ",".join(named)
    for (experiment, *_), sweep in runs.assign(variant=runs["run"].map(variant)).groupby([*Sweep._fields]):
        if is_own(str(experiment)) and not _declared(str(experiment)):
            continue
        for key in _differing(sweep, str(experiment)):
            if key == "data.seed" and set(sweep["run"]) <= following:
                continue
            for run, value in zip(sweep["run"], sweep[f"config.{key}"], strict=True):
                variant[run] = ",".join(filter(None, (variant[run], f"{key}={shown(default(value, key))}")))
    return runs["run"].map(variant)


def _following(runs: pd.DataFrame) -> set[str]:
    """The runs whose `data.seed` is their `seed`, in experiments where that is so of all runs that were given one."""
    found: set[str] = set()
    for _, own in runs.groupby(["experiment", "scale", "data"]):
        given = {row["run"]: overrides_of(row) for row in own.to_dict("records") if "data.seed" in overrides_of(row)}
        alike = all(one["data.seed"] == one.get("seed") for one in given.values())
        if alike and len({one["data.seed"] for one in given.values()}) > 1:
            found |= given.keys()
    return found


def sweeps(runs: pd.DataFrame) -> Iterable[tuple[Sweep, pd.DataFrame]]:
    """The done runs of each sweep, in the order of their names."""
    for key, own in runs[runs["state"] == "done"].groupby([*Sweep._fields]):
        yield Sweep(*map(str, key)), own


def conditions(sweep: pd.DataFrame) -> pd.Series:
    """The condition of each run of a sweep: what was swept but the seed, as "data.corruption=0.2"; "" if nothing."""
    if sweep.empty:
        return pd.Series([], sweep.index, dtype=str)
    keys = [key for key in swept_keys(sweep["experiment"].iloc[0]) if key != "seed"]
    values = {key: _swept(sweep, key) for key in keys}
    return pd.Series([",".join(f"{key}={values[key][i]}" for key in keys) for i in sweep.index], sweep.index)


def is_own(experiment: str) -> bool:
    """Whether an experiment is the user's own: neither the paper's, nor one of its checks, nor single networks."""
    known = EXPERIMENTS.get(experiment)
    return not known.figure if known else experiment not in ("single", "tuning", "")


def own_conditions(runs: pd.DataFrame) -> tuple[str, ...]:
    """The columns of the overrides, but for seeds, in which the runs of a user's experiment differ."""
    keys = [key for row in runs.to_dict("records") for key in overrides_of(row) if key.rpartition(".")[2] != "seed"]
    columns = [f"config.{key}" if f"config.{key}" in runs else f"config.{key}._target_" for key in keys]
    return tuple(one for one in dict.fromkeys(columns) if one in runs and runs[one].nunique(dropna=False) > 1)


def config_keys(columns: Iterable[Any]) -> list[str]:
    """The keys of the configuration among the columns of the table."""
    return [str(column).removeprefix("config.") for column in columns if str(column).startswith("config.")]


def config_of(run: Mapping[Any, Any]) -> dict[str, Any]:
    """What `is_neutral` looks at in a configuration, from a row of the table."""
    return {
        "data": {"_target_": str(run.get("config.data._target_"))},
        "trainer": {"devices": run.get("config.trainer.devices", 1)},
    }


def _differing(sweep: pd.DataFrame, experiment: str) -> list[str]:
    """The keys that differ between runs of one sweep although the experiment does not sweep them.

    A run that is older than a key had what is the key's default now.
    """
    swept = _compared(sweep, experiment) if is_own(experiment) else swept_keys(experiment)
    known = sweep[sweep.get("config.seed", pd.Series(index=sweep.index, dtype=float)).notna()]
    configs = [config_of(row) for row in known.to_dict("records")]
    found = []
    for key in sorted(config_keys(known)):
        expected = any(key == own or key.startswith(f"{own}.") for own in swept)
        if expected or all(is_neutral(key, config) for config in configs):
            continue
        if known[f"config.{key}"].map(lambda value, key=key: default(value, key)).nunique(dropna=False) > 1:
            found.append(key)
    return found


def _declared(experiment: str) -> tuple[str, ...]:
    """The conditions that a registered experiment declares."""
    return EXPERIMENTS[experiment].conditions if experiment in EXPERIMENTS else ()


def _compared(sweep: pd.DataFrame, experiment: str) -> tuple[str, ...]:
    """The keys that may differ between runs of one sweep of a user's experiment: its conditions, and seeds.

    A condition that is no key, such as `units`, stands for the keys that have one value for each of its values.
    """
    declared = _declared(experiment)
    keys = [key.removesuffix("._target_") for key in config_keys(declared)]
    others = [column for column in declared if not column.startswith("config.") and column in sweep]
    if others:
        values = sweep.groupby(others, dropna=False).nunique(dropna=False)
        keys += [key for key in config_keys(values) if (values[f"config.{key}"] == 1).all()]
    return (*keys, "seed", "data.seed", "ablation.seed")


def default(value: Any, key: str) -> Any:
    """A value of a key, or the key's default for a run that is older than the key."""
    return defaults().get(key, value) if pd.isna(value) else value


@cache
def defaults() -> dict[str, Any]:
    """What every run has unless its experiment, its groups or its user say otherwise."""
    data = {"data": OmegaConf.load(conf_folder() / "data" / "_common.yaml")}
    both = OmegaConf.merge(OmegaConf.create(data), OmegaConf.load(conf_folder() / "train.yaml"))
    return flat(OmegaConf.to_container(both, resolve=False))


def _swept(sweep: pd.DataFrame, key: str) -> pd.Series:
    """The values of a swept key as text; of a group the chosen file, or the name of what the configuration calls."""
    if f"config.{key}" in sweep:
        return sweep[f"config.{key}"].map(shown)
    targets = sweep.get(f"config.{key}._target_", pd.Series("", sweep.index)).fillna("").astype(str)
    choices = [overrides_of(row).get(key) for row in sweep.to_dict("records")]
    return pd.Series(choices, sweep.index).fillna(targets.str.rpartition(".")[2].str.lower())
