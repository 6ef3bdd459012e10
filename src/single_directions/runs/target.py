"""Trained networks that can be measured: a run's, a checkpoint's, or one of torchvision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from torch import nn

from single_directions import data as data_sets
from single_directions import networks
from single_directions.data import DataSet
from single_directions.errors import BadInput, first_line, one_line
from single_directions.runs.build import made
from single_directions.runs.config import check_ablation, composed
from single_directions.runs.folder import RunFolder

_WHICH = "; name the network that was trained, such as network=mlp network.hidden=[512,512]"
"""What to do where a checkpoint holds another network."""


@dataclass(frozen=True)
class Target:
    """A trained network, the data to measure it on and, by the configuration's `ablation` keys, how.

    `name` is for the folder of results.
    """

    name: str
    network: nn.Module
    data: DataSet
    ablation: dict[str, Any]


def load_target(target: str, overrides: Sequence[str], weights: Path | None) -> Target:
    """A network that was trained before, with its data.

    Args:
        target: a run's folder; a checkpoint file that Lightning wrote, of a network of this package; or the name of a
            network of torchvision's.
        overrides: of the configuration, as `network=convnet data=mnist ablation.top_k=5`; for a run's folder dotted
            keys of its own configuration, as `data.root=...`.
        weights: the file with the weights of a network of torchvision's.

    Raises:
        BadInput: there is no such thing, its weights do not fit, or the data cannot be read.
    """
    path = Path(target)
    if path.is_dir():
        folder = RunFolder(path)
        config = _run_config(folder, overrides, composed([])["ablation"])
        return _ours("/".join(path.resolve().parts[-3:]), config, folder.checkpoint)
    if path.is_file():
        return _ours(path.stem, composed(overrides), path)
    if target in torchvision.models.list_models(module=torchvision.models):
        return _torchvision(target, composed(overrides), weights)
    raise BadInput(f"{target} is not a run's folder, a checkpoint file or a torchvision network (such as resnet18)")


def _run_config(folder: RunFolder, overrides: Sequence[str], ablation: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration; what older code did not write of its `ablation` keys is as in `ablation`."""
    try:
        config = folder.read_config()
    except OSError:
        raise BadInput(
            f"{folder.path} is not a run's folder: it has no {folder.config.name}; name one below that has one"
        ) from None
    _check_harmless(config, folder.config, {override.partition("=")[0] for override in overrides})
    if not folder.checkpoint.exists():
        raise BadInput(f"{folder.path} has no {folder.checkpoint.name}: its network was not kept")
    measured = config.get("ablation")
    config["ablation"] = {**ablation, **(measured if isinstance(measured, dict) else {})}
    try:
        changed = OmegaConf.create(config)
        OmegaConf.set_struct(changed, True)
        merged: Any = OmegaConf.to_container(OmegaConf.merge(changed, OmegaConf.from_dotlist(list(overrides))))
    except (ConfigAttributeError, ConfigKeyError) as error:
        raise BadInput(f"{' '.join(overrides)}: {folder.config} has no key {error.full_key}") from error
    except OmegaConfBaseException as error:
        raise BadInput(f"{' '.join(overrides)}: {one_line(error)}") from error
    return merged


def _check_harmless(config: dict[str, Any], file: Path, trusted: set[str]) -> None:
    """Raises `BadInput` if a configuration, which may be a stranger's, would call code not known to be harmless.

    `trusted` are keys that the command line gives.
    """
    for group in ("data", "network"):
        for key, value in _leaves(config.get(group), group):
            if key in trusted or not isinstance(value, str):
                continue
            if "${" in value:
                raise BadInput(f"{file}: {key} is {value!r}, but the configuration of a run has nothing to interpolate")
            if key.endswith("._target_") and not _is_known(value):
                raise BadInput(
                    f"{file}: {key} is {value}, neither this project's nor torch's, and could be anything: "
                    f"if you trust it, say so with {key}={value}"
                )


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its dotted key."""
    if isinstance(node, dict | list):
        for name, below in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(below, f"{key}.{name}")
    else:
        yield key, node


def _is_known(name: str) -> bool:
    """Whether a dotted name is exactly a data set or network of this package, or a module of torch.

    A name that only begins so may be anything: `torch.nn.functional.torch` is all of torch.
    """
    package, _, last = name.rpartition(".")
    if package == "torch.nn":
        kind = getattr(nn, last, None)
        return isinstance(kind, type) and issubclass(kind, nn.Module)
    return any(package == ours.__name__ and last in ours.__all__ for ours in (data_sets, networks))


def _ours(name: str, config: dict[str, Any], checkpoint: Path) -> Target:
    check_ablation(config["ablation"])
    data: DataSet = made("data", config["data"])
    network: nn.Module = made("network", config["network"], input_shape=data.input_shape, classes=data.classes)
    _load(network, _read(checkpoint), checkpoint, _WHICH)
    return Target(name, network, data, config["ablation"])


def _torchvision(name: str, config: dict[str, Any], weights: Path | None) -> Target:
    check_ablation(config["ablation"])
    if weights is None:
        raise BadInput(f"{name}: name the file with its weights (--weights FILE); nothing is downloaded")
    state = _read(weights)
    data: DataSet = made("data", config["data"])
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=data.classes)
    _load(network, state, weights)
    return Target(name, network, data, config["ablation"])


def _read(file: Path) -> dict[str, Any]:
    """The weights in a file; no code in it is executed."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # other files raise many types
        raise BadInput(f"{file} cannot be read as a checkpoint ({first_line(error)})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise BadInput(f"{file} holds no state_dict")
    return state


def _load(network: nn.Module, state: dict[str, Any], file: Path, hint: str = "") -> None:
    """Load weights into a network, whatever attribute of a module it was saved as (`network.fc1.weight`)."""
    own = network.state_dict()
    first = next(iter(own), "none at all")
    prefixes = [key.removesuffix(first) for key in state if key == first or key.endswith(f".{first}")]
    fitting = [
        prefix for prefix in prefixes if own.keys() == {key[len(prefix) :] for key in state if key.startswith(prefix)}
    ]
    if not fitting:
        raise BadInput(f"{file} does not hold the weights of this {type(network).__name__}: their names differ{hint}")
    try:
        network.load_state_dict({key: state[fitting[0] + key] for key in own})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise BadInput(f"{file} holds weights of another {type(network).__name__}: {reason}{hint}") from error
