"""Where a section's numbers come from: commands, data, settings, seeds, versions, devices, times."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from single_directions.commands import called
from single_directions.experiments.experiment import IMAGES, OWN_FILES
from single_directions.experiments.section import Section
from single_directions.experiments.wording import count, duration
from single_directions.report.views import Fact
from single_directions.runs.identity import IMAGES_FOLDER

_ELSEWHERE = ("experiment", "scale", "seed", "runs", "progress", "tracking", "checkpoint", "threads", "data.root",
              "data.seed", "ablation.seed", "trainer.accelerator", "trainer.devices", "dry_run",
              "optimized_metric")  # fmt: skip
"""Settings that change nothing, or that have a line of their own."""
_COMMIT = re.compile(r"[0-9a-f]{40}(-dirty)?$")
_UNRECORDED = {"orderings": 5, "points": 21, "samples": 2000}
"""How runs measured the AUC during training whose summaries do not say it."""


def provenance(section: Section) -> Iterator[Fact]:
    """How a section's runs were made."""
    runs = section.runs
    lines = commands(runs)
    told = ["Each made a part of these runs."] if len(lines) > 1 else []
    if any(f"={IMAGES_FOLDER}/" in line for line in lines):
        told.append(f"`{IMAGES_FOLDER}` stands for the place of that folder of images on your machine.")
    yield Fact("Commands", " ".join(told), tuple(lines))
    yield Fact("Figures", f"`{called('report')} runs` draws them from these runs.")
    yield Fact("Run folders", f"{len(runs)} in `runs/{section.experiment.name}/{section.scale}-{section.data}/`")
    yield Fact("Data", _data(section))
    yield Fact("Seeds", "; ".join(f"{what} {_values(runs, column)}" for what, column in _SEEDS.items()))
    yield Fact("Settings", ", ".join(f"`{text}`" for text in _settings(runs)))
    yield Fact("Measured", _measured(runs))
    if "commit" in runs and runs["commit"].notna().any():
        known = dict.fromkeys(map(str, runs["commit"].dropna()))
        yield Fact("Code", ", ".join(f"{'commit' if _COMMIT.match(one) else 'version'} {one}" for one in known))
    yield Fact("Versions", ", ".join(f"{name} {_each(values)}" for name, values in _group(runs, "versions")))
    yield Fact("Compute", compute(runs))
    if days := finished(runs):
        yield Fact("Finished", days)


_SEEDS = {
    "networks (initialization and data order)": "seed",
    "training subset and corruption": "data_seed",
    "orderings and measured images": "ablation_seed",
}


def commands(runs: pd.DataFrame) -> list[str]:
    """The different commands that made some runs, rows of the table, and a line on runs that did not record theirs."""
    known = runs["command"].dropna() if "command" in runs else pd.Series(dtype=str)
    lines = list(dict.fromkeys(map(str, known)))
    if len(known) < len(runs):
        lines.append(f"# not recorded for {len(runs) - len(known)} of {len(runs)} runs: see their config.yaml")
    return lines


def command_for(experiment: str, scale: str) -> str:
    """The command that makes all runs of an experiment. FOLDER stands for a user's configuration folder."""
    own = "--config-dir FOLDER " if experiment in OWN_FILES else ""
    return f"{called('train')} {own}-m experiment={experiment}{'' if scale == 'demo' else f' scale={scale}'}"


def finished(runs: pd.DataFrame) -> str:
    """The days on which the first and the last of some runs were done, "" where that is not known."""
    days = runs["finished"].dropna().astype(str).str[:10] if "finished" in runs else pd.Series(dtype=str)
    return " to ".join(sorted({days.min(), days.max()})) if len(days) else ""


def compute(runs: pd.DataFrame, brief: bool = False) -> str:
    """Time summed over runs, for each device: wall-clock and device time; if `brief`, the latter alone."""
    keys = [key for key in ("device.type", "device.name", "device.threads") if key in runs]
    times = dict(_group(runs, "seconds"))
    if not keys or not times:
        return "not recorded"
    devices = []
    for values, group in runs.groupby(keys, dropna=False):
        device: dict[str, Any] = dict(zip(keys, values, strict=True))
        threads = f", {count(int(device['device.threads']), 'thread')}" if device["device.type"] == "cpu" else ""
        seconds = {name: times[name][group.index] for name in times}
        taken = duration(_device_seconds(group, seconds))
        clock = ", ".join(f"{name} {duration(values.sum())}" for name, values in seconds.items())
        whole = f"{clock} of wall-clock time, {taken} of device time, summed over {count(len(group), 'run')}"
        devices.append(f"{device['device.type']} ({device.get('device.name')}{threads}): {taken if brief else whole}")
    return "; ".join(devices)


def _device_seconds(runs: pd.DataFrame, seconds: dict[str, pd.Series]) -> float:
    """Training takes all devices that the configuration names by number, the rest takes one."""
    devices = pd.to_numeric(runs.get("config.trainer.devices", pd.Series(1, runs.index)), errors="coerce").fillna(1)
    return float(sum((values * (devices if name == "training" else 1)).sum() for name, values in seconds.items()))


def _data(section: Section) -> str:
    runs, own = section.runs, section.data == "image_folder"
    name = f"{_values(runs, 'config.data.root')} (a folder of images; each folder within it is a class)"
    drawn = " drawn from the folder's, balanced by class;" if own and _is_part(runs) else ""
    hashes: dict[str, list[str]] = {}
    for condition in section.conditions():
        hashes.setdefault(_values(condition.runs, "label_hash"), []).append(condition.label)
    shown = (f"`{one}`" + (f" ({'; '.join(labels)})" if len(hashes) > 1 else "") for one, labels in hashes.items())
    return (
        f"{name if own else section.data}: {_images(section, 'train')} training and {_images(section, 'test')} test "
        f"images,{drawn} {_values(runs, 'classes')} classes. Hash of the training subset and its labels: "
        f"{', '.join(shown)}."
    )


def _images(section: Section, split: str) -> str:
    """How many images of a split were used and, where it was a part of a set of known size, of how many."""
    used = _values(section.runs, f"{split}_images")
    known = IMAGES.get(section.data)
    return f"{used} of {known[split == 'test']:,}" if known and _is_part(section.runs, [split]) else used


def _is_part(runs: pd.DataFrame, splits: Sequence[str] = ("train", "test")) -> bool:
    columns = [f"config.data.{split}_samples" for split in splits]
    return bool(runs.reindex(columns=columns).notna().any(axis=None))


def _measured(runs: pd.DataFrame) -> str:
    return (
        f"{_values(runs, 'orderings')} orderings x {_values(runs, 'points')} points of {_values(runs, 'units')} units "
        f"on {_values(runs, 'images_measured')} training images; method: {_values(runs, 'method')}{_every_epoch(runs)}"
    )


def _every_epoch(runs: pd.DataFrame) -> str:
    """How the AUC was measured during training, where it was."""
    if "every_epoch.masks" in runs and runs["every_epoch.masks"].notna().any():
        during = runs.dropna(subset=["every_epoch.masks"])
        images, masks = _values(during, "every_epoch.images"), _values(during, "every_epoch.masks")
        return f"; during training {masks} masks on {images} of the training images"
    config = "config.ablation.every_epoch"
    keys = [f"{config}.{key}" for key in ("every_n_epochs", *_UNRECORDED)]
    during = runs[runs.reindex(columns=keys).notna().any(axis=1)]
    if during.empty:
        return ""

    found = []
    for name, key in (("orderings", "orderings"), ("points", "points"), ("images", "samples")):
        values = pd.Series(_UNRECORDED[key], during.index)
        for column in (f"{config}.{key}", f"every_epoch.{name}"):
            if column in during:
                values = during[column].combine_first(values)
        found.append(_each(values))
    orderings, points, images = found
    measured = f"during training {orderings} orderings x {points} points on {images} of the training images"
    return f"; {measured} (or all, where there are fewer)"


def _settings(runs: pd.DataFrame) -> Iterator[str]:
    """Keys of the configuration, with all the values they have; what is null everywhere is left out."""
    for key, values in _group(runs, "config"):
        elsewhere = any(key == known or key.startswith(f"{known}.") for known in _ELSEWHERE)
        if not elsewhere and not key.endswith("._partial_"):
            yield f"{key}={_each(values)}"


def _group(runs: pd.DataFrame, group: str) -> Iterator[tuple[str, pd.Series]]:
    """The columns `<group>.<name>` that hold anything, by name."""
    for column in map(str, runs):
        if column.startswith(f"{group}.") and runs[column].notna().any():
            yield column.removeprefix(f"{group}."), runs[column]


def _values(runs: pd.DataFrame, column: str) -> str:
    return _each(runs[column]) if column in runs else "?"


def _each(values: pd.Series) -> str:
    """All different values: `0 to 19` for whole numbers that follow each other, else each."""
    known = list(dict.fromkeys(values.dropna()))
    if not known:
        return "none"
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        known.sort()
        in_a_row = known == [known[0] + step for step in range(len(known))]
        if len(known) > 3 and in_a_row and float(known[0]).is_integer():
            return f"{known[0]:.0f} to {known[-1]:.0f}"
        return ", ".join(f"{value:,.0f}" if float(value).is_integer() else f"{value:g}" for value in known)
    return ", ".join(map(str, known))
