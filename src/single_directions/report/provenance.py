"""Where a section's numbers come from: commands, data, settings, seeds, versions, devices, times."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from math import inf, prod
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from single_directions.errors import BadInput
from single_directions.report.experiments import EXPERIMENTS, IMAGES
from single_directions.report.markup import Markup, tag
from single_directions.report.section import Section
from single_directions.report.sweeps import defaults, overrides, swept_keys
from single_directions.report.wording import count, duration
from single_directions.runs.config import composed, conf_folder, flat, is_neutral
from single_directions.runs.sweep import sweep_size
from single_directions.training.ablation_auc import ORDERINGS, POINTS, SAMPLES

_ELSEWHERE = ("experiment", "scale", "seed", "runs", "progress", "tracking", "checkpoint", "threads", "data.root",
              "data.seed", "ablation.seed", "trainer.accelerator", "trainer.devices")  # fmt: skip
"""Settings that change nothing, or that the provenance tells in lines of their own."""
_UNRECORDED = {"orderings": 5, "points": 21, "samples": 2000}
"""The defaults by which the AUC was measured during training while summaries did not say how."""
_BY_DEFAULT = {"orderings": ORDERINGS, "points": POINTS, "samples": SAMPLES}
_EVERY_EPOCH = "ablation.every_epoch"
_ROUNDING = ("channels_last", "compile", "trainer.devices", "trainer.strategy")
"""Settings that a run's name leaves out since its results are the same, or nearly so, without them."""
PLACE = "FOLDER"
"""Stands in commands for where a folder of images lies."""


def provenance(section: Section) -> Iterator[tuple[str, Any]]:
    """What to tell of a section's runs: pairs of a word and its content, text or markup."""
    runs = section.runs
    told = "\n".join(commands(section.experiment.name, section.scale, section.data, runs))
    where = f"{PLACE} stands for where that folder of images lies on your machine." if f"={PLACE}/" in told else None
    yield "Commands", [tag("pre", told), tag("p", where, class_="place") if where else None]
    place = tag("code", f"runs/{section.experiment.name}/{section.scale}-{section.data}/")
    yield "Run folders", [f"{len(runs)} in ", place]
    yield "Data", _data(section)
    yield "Seeds", _seeds(runs)
    yield "Settings", [[tag("span", text, class_="setting"), " "] for text in _settings(runs)]
    yield "Measured", _measured(runs)
    yield "Versions", ", ".join(f"{name} {_told(values)}" for name, values in _group(runs, "versions"))
    yield "Compute", compute(runs)
    if days := finished(runs):
        yield "Finished", days


def commands(experiment: str, scale: str, data: str, runs: pd.DataFrame) -> list[str]:
    """As few commands as make some runs, rows of the table, all of one folder `<experiment>/<scale>-<data>`.

    They give the runs' configurations, but for what leaves results as they are, once `PLACE` is filled in.
    """
    known = EXPERIMENTS.get(experiment)
    words = [f"experiment={experiment}"] if experiment != "single" else []
    words += [f"scale={scale}"] if scale != "demo" else []
    if data != ("digits" if scale == "demo" else known.data if known else "mnist"):
        words.append(f"data={data}")
    kinds: dict[frozenset[str], list[dict[str, str]]] = {}
    for row in runs.to_dict("records"):
        said = {**_mandatory(row, data), **overrides(row["run"])}
        run = dict(sorted({**said, **_unsaid(row, said, experiment, words)}.items()))
        kinds.setdefault(frozenset(run), []).append(run)
    lines = []
    for keys, alike in kinds.items():
        # With -m, a key that the experiment sweeps would be swept unless it has a value; and a run has one device.
        together = keys >= _params(experiment).keys() and "trainer.devices" not in keys
        for block in _blocks(alike) if together else [[run] for run in alike]:
            values = [shlex.quote(_assignment(experiment, key, [run[key] for run in block])) for key in block[0]]
            lines.append(" ".join(["python scripts/train.py", *(["-m"] if len(block) > 1 else []), *words, *values]))
    return lines


def command_for(experiment: str, scale: str) -> str:
    """The command that makes all runs of an experiment."""
    return f"python scripts/train.py -m experiment={experiment}{'' if scale == 'demo' else f' scale={scale}'}"


def planned_runs(experiment: str, scale: str) -> int | None:
    """How many runs the experiment's own sweep has, or None where it has none."""
    params = _params(experiment)
    if not params:
        return None
    resolved: Any = OmegaConf.create({"scale": scale, "params": params})
    return sweep_size(f"{key}={value}" for key, value in resolved.params.items())


def finished(runs: pd.DataFrame) -> str:
    """The days on which the first and the last of some runs were done, "" where that is not known."""
    days = runs["finished"].dropna().astype(str).str[:10] if "finished" in runs else pd.Series(dtype=str)
    return " to ".join(sorted({days.min(), days.max()})) if len(days) else ""


def compute(runs: pd.DataFrame, brief: bool = False) -> str:
    """Time summed over runs, for each device that computed them: of the clock, and of all devices of a training.

    If `brief`, the latter alone.
    """
    keys = [key for key in ("device.type", "device.name", "device.threads") if key in runs]
    times = dict(_group(runs, "seconds"))
    if not keys or not times:
        return "not recorded"
    told = []
    for values, group in runs.groupby(keys, dropna=False):
        device: dict[str, Any] = dict(zip(keys, values, strict=True))
        threads = f", {count(int(device['device.threads']), 'thread')}" if device["device.type"] == "cpu" else ""
        seconds = {name: times[name][group.index] for name in times}
        name = f"{device['device.type']} ({device.get('device.name')}{threads})"
        taken = duration(_device_seconds(group, seconds))
        clock = ", ".join(f"{name} {duration(values.sum())}" for name, values in seconds.items())
        whole = f"{clock} by the clock, {taken} of device time, summed over {count(len(group), 'run')}"
        told.append(f"{name}: {taken if brief else whole}")
    return "; ".join(told)


def _device_seconds(runs: pd.DataFrame, seconds: dict[str, pd.Series]) -> float:
    """Training takes all devices that the configuration names by number, the rest takes one."""
    devices = pd.to_numeric(runs.get("config.trainer.devices", pd.Series(1, runs.index)), errors="coerce").fillna(1)
    return float(sum((values * (devices if name == "training" else 1)).sum() for name, values in seconds.items()))


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
    return {**found, **_unsaid_of_epochs(row, made)}


def _unsaid_of_epochs(row: Mapping[Any, Any], made: Mapping[str, Any]) -> dict[str, str]:
    """How the AUC was measured during training, where that is not as it would be now."""
    if not any(key.startswith(f"{_EVERY_EPOCH}.") for key in made):
        return {}
    found = {}
    most = {"samples": row.get("train_images"), "points": _first(row.get("units"), inf) + 1}
    for key, default in _BY_DEFAULT.items():
        recorded = row.get(f"every_epoch.{'images' if key == 'samples' else key}")
        had, now = (min(value, _first(most.get(key), inf)) for value in (_first(recorded, _UNRECORDED[key]), default))
        if f"{_EVERY_EPOCH}.{key}" not in made and had != now:
            found[f"{_EVERY_EPOCH}.{key}"] = _text(had)
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


@cache
def _params(experiment: str) -> dict[str, Any]:
    """What the experiment's file in `conf` sweeps, not yet resolved."""
    file = conf_folder() / "experiment" / f"{experiment}.yaml"
    if not file.is_file():
        return {}
    params: Any = OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params")
    return {} if params is None else OmegaConf.to_container(params, resolve=False)  # type: ignore[return-value]


def _data(section: Section) -> list[Markup | str]:
    runs = section.runs
    told = f"{section.data}: "
    if own := section.data == "image_folder":
        told = (
            f"{_values(runs, 'config.data.root')}, a folder of images of which this page knows no more than the name; "
            "its classes are the folders within it, and are called like these. "
        )
    told += f"{_images(section, 'train')} training and {_images(section, 'test')} test images, "
    told += "drawn from the folder's, balanced by class; " if own and _is_part(runs) else ""
    told += f"{_values(runs, 'classes')} classes. Hash of the training subset and its labels: "
    hashes: dict[str, list[str]] = {}
    for condition in section.conditions():
        hashes.setdefault(_values(condition.runs, "label_hash"), []).append(condition.label)
    told_hashes = [
        [tag("code", known), f" ({'; '.join(labels)})" if len(hashes) > 1 else ""] for known, labels in hashes.items()
    ]
    return [told, [[", " if place else "", one] for place, one in enumerate(told_hashes)], "."]  # type: ignore[list-item]


def _images(section: Section, split: str) -> str:
    """How many images of a split were used and, where it was a part of a set of known size, of how many."""
    used = _values(section.runs, f"{split}_images")
    known = IMAGES.get(section.data)
    return f"{used} of {known[split == 'test']:,}" if known and _is_part(section.runs, [split]) else used


def _is_part(runs: pd.DataFrame, splits: Sequence[str] = ("train", "test")) -> bool:
    columns = [f"config.data.{split}_samples" for split in splits]
    return bool(runs.reindex(columns=columns).notna().any(axis=None))


def _seeds(runs: pd.DataFrame) -> str:
    return (
        f"networks (initialization and data order) {_values(runs, 'seed')}; subset and corruption "
        f"{_values(runs, 'data_seed')}; orderings and measured images {_values(runs, 'ablation_seed')}"
    )


def _measured(runs: pd.DataFrame) -> str:
    return (
        f"{_values(runs, 'orderings')} orderings x {_values(runs, 'points')} points of {_values(runs, 'units')} units "
        f"on {_values(runs, 'images_measured')} training images; method: {_values(runs, 'method')}{_every_epoch(runs)}"
    )


def _every_epoch(runs: pd.DataFrame) -> str:
    """How the AUC was measured during training, where it was."""
    config = f"config.{_EVERY_EPOCH}"
    keys = [f"{config}.{key}" for key in ("every_n_epochs", *_UNRECORDED)]
    during = runs[runs.reindex(columns=keys).notna().any(axis=1)]
    if during.empty:
        return ""

    def told(name: str, key: str) -> str:
        values = pd.Series(_UNRECORDED[key], during.index)
        for column in (f"{config}.{key}", f"every_epoch.{name}"):
            if column in during:
                values = during[column].combine_first(values)
        return _told(values)

    return (
        f"; during training {told('orderings', 'orderings')} orderings x {told('points', 'points')} points on "
        f"{told('images', 'samples')} of the training images (or all, where there are fewer)"
    )


def _settings(runs: pd.DataFrame) -> Iterator[str]:
    """Keys of the configuration, with all the values they have; what is null everywhere is left out."""
    for key, values in _group(runs, "config"):
        elsewhere = any(key == known or key.startswith(f"{known}.") for known in _ELSEWHERE)
        if not elsewhere and not key.endswith("._partial_"):
            yield f"{key}={_told(values)}"


def _group(runs: pd.DataFrame, group: str) -> Iterator[tuple[str, pd.Series]]:
    """The columns `<group>.<name>` that hold anything, by name."""
    for column in map(str, runs):
        if column.startswith(f"{group}.") and runs[column].notna().any():
            yield column.removeprefix(f"{group}."), runs[column]


def _values(runs: pd.DataFrame, column: str) -> str:
    return _told(runs[column]) if column in runs else "?"


def _told(values: pd.Series) -> str:
    """All different values: `0 to 19` for whole numbers that follow each other, else each."""
    known = list(dict.fromkeys(values.dropna()))
    if not known:
        return "none"
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        known.sort()
        if len(known) > 3 and known[-1] - known[0] == len(known) - 1 and all(value == int(value) for value in known):
            return f"{known[0]:.0f} to {known[-1]:.0f}"
        return ", ".join(f"{value:,.0f}" if value == int(value) else f"{value:g}" for value in known)
    return ", ".join(map(str, known))


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
