"""Refuses keys that would have no effect, and incomplete files of the user's, before a run begins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from single_directions.errors import BadInput
from single_directions.runs.config import check_place, conf_folder, flat

GROUPS = ("data", "network", "optimizer", "trainer", "ablation", "checkpoint")
"""Keys of the configuration that have keys below them in every run."""
OPTIONAL = ("scheduler", "early_stopping")
"""Keys that are null, or have keys below them."""
_CLOSED = ("ablation", "checkpoint", "tracking")
"""Groups whose keys this project reads itself. Keys of other groups are arguments of functions."""
_PLACES = {"run.dir": ".", "sweep.subdir": ".", "output_subdir": None, "job.chdir": None}
"""Keys below `hydra` that say where Hydra writes, and their values: a run makes its own folder."""


def check_keys(config: DictConfig, hydra: Any) -> None:
    """Raises `BadInput` for a configuration, not yet resolved, that has something without effect.

    Args:
        config: of a run, or of all runs of a sweep.
        hydra: Hydra's own part of it.
    """
    choices = hydra.runtime.choices
    check_place(config.get("runs"))
    _check_experiment(config, choices)
    _check_trackers(hydra.overrides.task)
    check_known(config)
    if not isinstance(config.dry_run, bool):
        raise BadInput(f"dry_run must be true or false, not {config.dry_run!r}")
    _check_hydra(hydra, Path(config.runs) / config.experiment / f"{config.scale}-{choices['data']}")


def _check_experiment(config: DictConfig, choices: Mapping[str, Any]) -> None:
    """Raises `BadInput` for an experiment's file without name or header, and for a scale that was set as a value."""
    chosen, name = choices["experiment"], config.get("experiment")
    if OmegaConf.is_config(name):
        raise BadInput(
            f"experiment={chosen}: its keys were put below `experiment`; "
            "the first line of its file must be `# @package _global_`"
        )
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        has = "it has none" if name is None else f"not `experiment: {name}`"
        raise BadInput(
            f"experiment={chosen}: its file must have a line `experiment: {Path(str(chosen)).name}`, "
            f"the name of the folder of its runs; {has}"
        )
    if config.get("scale") != choices["scale"]:
        raise BadInput(
            f"scale is {config.get('scale')!r}, but scale={choices['scale']} was chosen: choose it with "
            f"scale={config.get('scale')}, or with `override /scale: {config.get('scale')}` in the defaults of a file"
        )


def _check_trackers(overrides: Iterable[str]) -> None:
    """Raises `BadInput` for `off` beside another tracker: one of them would have no effect."""
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        chosen = re.findall(r"[\w.-]+", value)
        if key == "tracking" and value.startswith("[") and "off" in chosen and len(chosen) > 1:
            raise BadInput(
                f"{override}: off cannot be combined with others; choose tracking=off, or leave it out of the list"
            )


def check_known(config: DictConfig) -> None:
    """Raises `BadInput` for a group that has a value instead of keys, a missing key, and a key that nothing reads.

    A key at the top may also be read by others that refer to it, or begin with an underscore.
    """
    for group in (*GROUPS, *OPTIONAL):
        value = config.get(group)
        if not (isinstance(value, DictConfig) or (value is None and group in OPTIONAL)):
            how = (
                f"choose its file with {group}={value}, or with `override /{group}: {value}` in the defaults of a file"
                if group in ("data", "network", "optimizer", *OPTIONAL)
                else f"it must have keys, such as {group}.{next(iter(_known()[group]))}"
            )
            raise BadInput(f"{group} is {value!r}: {how}")
    known, there = _known(), _below(config)
    for key in (*known, *(f"{group}.{key}" for group in ("ablation", "checkpoint") for key in known[group])):
        if not any(f"{one}.".startswith(f"{key}.") for one in there):
            raise BadInput(f"{key} is missing, which a run needs")
    for key in map(str, config):
        if key in known or key.startswith("_"):
            continue
        if not re.search(rf"\$\{{[^\n]*\b{re.escape(key)}\b", OmegaConf.to_yaml(config)):
            raise BadInput(f"{key} is not a key of a run and would have no effect{_instead('', key, known)}")
    for group in _CLOSED:
        for key in _below(config.get(group)):
            if key.partition(".")[0] not in known[group]:
                instead = _instead(f"{group}.", key, known[group])
                raise BadInput(f"{group}.{key} is not a key of a run and would have no effect{instead}")


def _check_hydra(hydra: Any, sweep: Path) -> None:
    """Raises `BadInput` for keys of Hydra that have no effect, or write elsewhere than into the run's folder."""
    groups = {str(choice).split("/")[1] for choice in hydra.runtime.choices if str(choice).startswith("hydra/")}
    if unknown := {str(key) for key in hydra} - {field.name for field in fields(HydraConf)} - groups:
        raise BadInput(f"hydra.{min(unknown)} is not a key of Hydra")
    for key, value in {**_PLACES, "sweep.dir": Path(hydra.runtime.cwd) / sweep}.items():
        given = OmegaConf.select(hydra, key)
        if (Path(given) if isinstance(value, Path) else given or None) != value:
            raise BadInput(f"hydra.{key}={given} cannot be set: a run makes its own folder, runs=FOLDER says where")
    for override in hydra.overrides.hydra if hydra.mode == RunMode.RUN else ():
        if re.match(r"[+~]*hydra[./](launcher|sweeper)\b", override):
            raise BadInput(f"{override} has no effect on a single run: give -m for a sweep")
    if OmegaConf.select(hydra, "sweeper.max_batch_size") is not None:
        raise BadInput("hydra.sweeper.max_batch_size has no effect: hydra/launcher decides how many runs go on at once")


@cache
def _known() -> dict[str, list[str]]:
    """The keys that a run may have at the top, each with the dotted keys below it."""
    train: Any = OmegaConf.to_container(OmegaConf.load(conf_folder() / "train.yaml"))
    chosen = [str(key) for one in train.pop("defaults") if isinstance(one, dict) for key in one]
    return {key: _below(train.get(key)) for key in [*train, *chosen] if " " not in key and key != "hydra"}


def _below(content: Any) -> list[str]:
    """The dotted keys of a group; none of what has no keys."""
    plain = OmegaConf.to_container(content) if OmegaConf.is_config(content) else content
    return [key for key in flat(plain) if key] if isinstance(plain, dict) else []


def _instead(prefix: str, key: str, known: Any) -> str:
    """A suggestion for a wrong key, as the end of a sentence."""
    from difflib import get_close_matches

    close = get_close_matches(key, list(known), 1)
    if close:
        return f": did you mean {prefix}{close[0]}?"
    if not prefix:
        return ": if only other keys refer to it, begin its name with an underscore"
    return f": there are {', '.join(f'{prefix}{one}' for one in known)}"
