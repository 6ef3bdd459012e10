"""What a run is: the settings that decide its numbers, the name of its folder, and the record of where it came from."""

import copy
import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from single_directions.commands import called
from single_directions.runs.config import compose_config, conf_folder, flat

_NEUTRAL = (
    *("runs", "progress", "tracking", "checkpoint", "threads", "gpus_per_run", "cpus_per_run", "optimized_metric"),
    *("dry_run", "data.root", "data.download", "data.workers", "trainer.accelerator", "channels_last", "compile"),
)
"""Keys, and groups of keys, that leave a run's numbers as they are, apart from rounding."""
IMAGES_FOLDER = "FOLDER"
"""Replaces the path of a folder of images in shown commands."""
_OF_DATA = ("data.root", "data.download", "data.workers")
"""Those of them that are neutral for the data sets of this package alone: what others make of them is not known."""
_UNSHOWN = (*("runs", "progress", "tracking", "checkpoint", "threads", "gpus_per_run", "cpus_per_run", "dry_run"),
            *("data.download", "data.workers", "trainer.accelerator", "hydra/launcher", "hydra.launcher"))  # fmt: skip
"""Keys that only matter on the machine where the command ran."""
_SEVERAL_DEVICES = ("trainer.devices", "trainer.strategy")
"""Keys that are neutral for one device. With several, each takes `batch_size` images: the effective batch differs."""
_IN_PATH = ("experiment", "scale", "data")
"""Groups whose choice the path above a run's folder tells."""
LONGEST_NAME = 200
"""Bytes. File systems allow 255; the rest is for what programs append."""


def is_neutral(key: str, config: dict[str, Any]) -> bool:
    """Whether a dotted key leaves the numbers of a run as they are: where files lie, what is shown, what computes.

    The root of a public data set is neutral. That of an image folder or of a user's own data set says what the data
    are.
    """
    data = config.get("data")
    target = str(data.get("_target_", "")) if isinstance(data, dict) else ""  # a table's row may lack it
    if key in _OF_DATA and "." in target and not target.startswith("single_directions.data."):
        return False
    if key == "data.root" and target.endswith(".image_folder"):
        return False
    if key in _SEVERAL_DEVICES:
        return number_of_devices(config.get("trainer")) == 1
    return any(key == neutral or key.startswith(f"{neutral}.") for neutral in _NEUTRAL)


def number_of_devices(trainer: Any) -> int | str:
    """How many devices train one network; a text such as "auto" where the configuration does not say."""
    devices = trainer.get("devices", 1) if isinstance(trainer, dict) else 1
    if isinstance(devices, str):
        devices = [one for one in devices.strip("[]").split(",") if one] if re.search(r"[\[,]", devices) else devices
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, float):  # of a table, where an empty cell is NaN
        return int(devices) if devices == devices else 1
    return int(devices) if str(devices).isdecimal() else str(devices)


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides a run's numbers: sorted dotted keys and values. Infinity, which JSON has not, is text."""
    settings = {key: _finite(value) for key, value in sorted(flat(config).items()) if not is_neutral(key, config)}
    if "trainer.devices" in settings:
        settings["trainer.devices"] = number_of_devices(config["trainer"])
    return settings


def identity(config: dict[str, Any]) -> str:
    """A hash of a run's settings: runs with the same one are the same run."""
    return _hash(json.dumps(settings_of(config), sort_keys=True, default=str))[:16]


def differing_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The dotted keys in which the settings of two resolved configurations differ.

    Where the old configuration was written before a key existed, the key's default counts.
    """
    a, b, written = settings_of(old), settings_of(new), flat(old)
    keys = [key for key in sorted(a | b) if key not in a or key not in b or not _same(a[key], b[key])]
    if all(key in written for key in keys):
        return keys
    default = _with_defaults({key: value for key, value in flat(new).items() if key in written})
    return [key for key in keys if key in written or key not in default or not _same(default[key], b.get(key))]


def assignments(overrides: Sequence[str], config: dict[str, Any]) -> dict[str, Any]:
    """The overrides that tell a run from others of its experiment: keys, sorted, and their values.

    Neutral keys are left out, and the choices that the folder's path tells. Values are those of `config`, the resolved
    configuration, so that `.5` and `0.50` are the same. The choice of a file, such as `network=mlp`, is a text. The
    value is "" where an override has none, as `~scheduler`.
    """
    found: dict[str, Any] = {}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if key not in _IN_PATH and not key.startswith("hydra") and not is_neutral(key, config):
            found[key] = _value(config, key, text)
    if "trainer.devices" in found:
        found["trainer.devices"] = number_of_devices(config["trainer"])
    return dict(sorted(found.items()))


def as_text(value: Any) -> str:
    """A value as a command line has it: `0.5`, `null`, `true`, `[64,32]`."""
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{as_text(one)}' for key, one in value.items())}}}"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def run_name(overrides: Sequence[str], config: dict[str, Any]) -> str:
    """The name of a run's folder: `full_name`, of which a long one is cut and ends in a hash of the whole."""
    name = full_name(overrides, config)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}-{_hash(name)[:8]}"


def full_name(overrides: Sequence[str], config: dict[str, Any]) -> str:
    """What a run is called: `data.corruption=0.5,seed=1`, or `default` where no override matters.

    Different values never share a name: it ends in a hash where values would look alike, as once characters that a
    file name cannot have are replaced.
    """
    found = assignments(overrides, config)
    whole = ",".join(f"{key}={as_text(value)}" if value != "" else key for key, value in found.items()) or "default"
    name = re.sub(r"[^\w.,=+~\[\]-]", "_", whole)
    exact = name == whole and all(map(_is_plain, found.values()))
    return name if exact else f"{name}-{_hash(json.dumps(found))[:8]}"


def shown_command(command: str) -> str:
    """A command as readers are shown it: without the keys that are for the machine it ran on."""
    words = []
    for word in shlex.split(command):
        key, _, value = word.lstrip("+~").partition("=")
        if key == "data.root":
            places = ",".join(f"{IMAGES_FOLDER}/{Path(place).name}" for place in value.split(","))
            word = f"{word.partition('=')[0]}={places}"
        elif "=" in word and any(f"{key}.".startswith(f"{one}.") for one in _UNSHOWN):
            continue
        words.append(shlex.quote(word))
    return " ".join(words)


def code_version() -> str:
    """The git commit of the code, with "-dirty" where files were changed; the package's version outside a checkout."""
    return _commit(conf_folder().parent) or installed_version("single-directions") or ""


def installed_version(package: str) -> str | None:
    """The version of a package; None for a source tree that was not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def command_line(arguments: Sequence[str]) -> str:
    """The command that a user typed, from the arguments of the process."""
    return f"{called('train')} {shlex.join(arguments)}".rstrip()


def record_of(config: dict[str, Any], overrides: Sequence[str] = (), command: str | None = None) -> dict[str, Any]:
    """What `run.json` and `summary.json` say of where a run came from.

    Args:
        config: the resolved configuration.
        overrides: as given on the command line and by the sweep.
        command: the command that started the run or its sweep; None where a program called this package.
    """
    return {
        "command": command,
        "overrides": list(overrides),
        "commit": code_version(),
        "identity": identity(config),
        "settings": settings_of(config),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _same(one: Any, other: Any) -> bool:
    """Whether two values mean the same. Lightning tells 1 from 1.0: one batch, or all batches."""
    return type(one) is type(other) and bool(one == other)


def _is_plain(value: Any) -> bool:
    """Whether the text of a value stands for this value alone."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if not isinstance(value, str):
        return value is None or isinstance(value, bool | int | float)
    if value in ("null", "true", "false", "default") or re.search(r"[,=~\[\]]", value):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _value(config: Any, key: str, text: str) -> Any:
    """The value of a dotted key in a configuration. The choice of a file, and what was deleted, have their text."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return text
        config = config[part]
    return text if isinstance(config, dict) and not text.startswith("{") else config


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _commit(checkout: Path) -> str:
    """The commit of a checkout; "" where the folder is none, or git cannot tell."""
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """The dotted keys of a configuration and their values: some are given, the others are as `conf/` has them."""
    chosen = {key: choice for (key, target), choice in _files().items() if values.get(key) == target}
    config = copy.deepcopy(compose_config(*chosen.values()))
    for key, value in values.items():
        OmegaConf.update(config, key, value)
    return flat(OmegaConf.to_container(config, resolve=True))


@cache
def _files() -> dict[tuple[str, Any], str]:
    """Which choice of a file gives a group its target: (data._target_, single_directions.data.mnist) -> data=mnist."""
    files = sorted(conf_folder().glob("*/*.yaml"))
    named = [(file, OmegaConf.select(OmegaConf.load(file), "_target_")) for file in files]
    return {(f"{file.parent.name}._target_", name): f"{file.parent.name}={file.stem}" for file, name in named if name}
