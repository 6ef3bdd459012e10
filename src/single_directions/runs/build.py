"""Makes and checks what a configuration names, before anything expensive begins."""

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, Subset

from single_directions.ablation import Site, ablation_auc, resolve_sites
from single_directions.ablation.measurement import METHODS
from single_directions.ablation.orderings import grid
from single_directions.ablation.sites import ForwardFailed
from single_directions.data import DataSet, LabelledImages, collate
from single_directions.data.images import Batch
from single_directions.data.labels import class_balanced_subset
from single_directions.errors import BadInput, one_line
from single_directions.runs.config import check, flat
from single_directions.runs.messages import cause_of, failed, in_keys
from single_directions.runs.optimized import check_optimized
from single_directions.runs.tracking import check_tracking
from single_directions.training import AblationAUC, StayStopped
from single_directions.training.quiet import unwarned
from single_directions.training.seeds import derived_seed

IMAGES_TO_TRY = 8
_KINDS = {"data": (DataSet, "single_directions.data.DataSet"), "network": (nn.Module, "torch.nn.Module")}
"""The types that groups of the configuration must give."""
_ROUNDING = -1e-12
"""A learning rate above it may be zero that was rounded."""


@dataclass(frozen=True)
class Parts:
    """The parts of a run, made from its configuration and checked against each other.

    `network` is initialized, not trained; `sites` are those to be ablated; `measured` are the training images, with the
    labels trained with, on which the final curve is measured; `every_epoch` measures during training and `stopper` ends
    it early, if asked to.
    """

    data: DataSet
    network: nn.Module
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None
    sites: tuple[Site, ...]
    measured: Dataset[Batch]
    every_epoch: AblationAUC | None = None
    stopper: StayStopped | None = None

    def near(self, device: torch.device) -> "Parts":
        """The parts with data that are held in memory on the device that computes with them."""
        if device.type == "cpu":
            return self
        data, measured = self.data.to(device), self.measured
        if isinstance(measured, Subset):
            return replace(self, data=data, measured=Subset(data.train_plain, measured.indices))
        return replace(self, data=data, measured=data.train_plain)


def build(config: dict[str, Any]) -> Parts:
    """The parts of a run from its resolved configuration.

    Raises `BadInput`, which names the key, for all that can be known before training: a value that cannot be, data that
    are missing, a network that does not fit them, unknown sites, more points than units.
    """
    check_values(config)
    data: DataSet = made("data", config["data"])
    torch.manual_seed(derived_seed(config["seed"], "initialization"))
    network: nn.Module = made("network", config["network"], input_shape=data.input_shape, classes=data.classes)
    ablation = config["ablation"]
    if ablation["top_k"] >= data.classes:
        raise BadInput(f"ablation.top_k must be below the number of classes, {data.classes}, not {ablation['top_k']}")
    if ablation["method"] not in METHODS:
        raise BadInput(f"ablation.method must be one of {', '.join(METHODS)}, not {ablation['method']!r}")
    few = _few(data)
    sites = _sites(network, ablation["sites"], few[0])
    _check_points(sum(site.units for site in sites), ablation["points"])
    optimizer, scheduler = _try_steps(config, network)
    measured = sample_of(data.train_plain, ablation["samples"], ablation["seed"], "ablation.samples")
    every_epoch, stopper = _every_epoch(ablation, network, few), _stopper(config["early_stopping"])
    return Parts(data, network, optimizer, scheduler, sites, measured, every_epoch, stopper)


def check_values(config: dict[str, Any]) -> None:
    """Raises `BadInput` for a resolved configuration that cannot work whatever its data and network are."""
    check(config)
    check_optimized(config)
    check_tracking(config["tracking"])
    _try_steps(config, nn.Linear(1, 1, bias=False))  # some optimizers take matrices alone


def made(group: str, config: dict[str, Any], **given: Any) -> Any:
    """The object that a group of the configuration names. Errors are one line that begins with the group."""
    target = config.get("_target_")
    if not isinstance(target, str):
        raise BadInput(f"{group}: it has no _target_, the dotted name of what to call: choose another with {group}=...")
    if group in ("optimizer", "scheduler") and config.get("_partial_") is not True:
        raise BadInput(f"{group}._partial_ must be true: {target} is called once there is a network to train")
    try:
        thing = instantiate(config, **given, _convert_="all")
    except InstantiationException as error:
        cause, missing = cause_of(error, target)
        if isinstance(cause, BadInput):
            raise cause from None
        if missing:
            raise BadInput(f"{group}: {missing}") from error
        unknown = (
            re.search(r"unexpected keyword argument '(\w+)'", str(cause)) if isinstance(cause, TypeError) else None
        )
        if unknown and unknown[1] in config:
            raise BadInput(f"{group}.{unknown[1]}: {target} has no such key") from error
        hint = f"; it is called with {', '.join(given)} and the keys of {group}" if isinstance(cause, TypeError) else ""
        raise failed(group, cause, hint if given else "") from error
    kind, name = _KINDS.get(group, (object, ""))
    if not isinstance(thing, kind):
        raise BadInput(f"{group}: {target} gives a {type(thing).__name__}, not a {name}")
    return thing


def _every_epoch(keys: dict[str, Any], network: nn.Module, few: Batch) -> AblationAUC | None:
    """The measurement during training that the configuration's `ablation` keys ask for, tried on a few images."""
    own = keys["every_epoch"]
    if own is None:
        return None
    shared = {key: keys[key] for key in ("sites", "clamp", "top_k")}
    try:
        callback = AblationAUC(network="network", name="ablation", **{**shared, "seed": keys["seed"], **own})
    except (TypeError, BadInput) as error:
        raise BadInput(f"ablation.every_epoch: {error}") from error
    tried = {key: own[key] for key in (*shared, "unit_dim", "output") if key in own}
    if tried:  # else as the final curve, whose keys are checked already
        with in_keys(own), unwarned():
            ablation_auc(network, [few], points=2, **{**shared, **tried})
    return callback


def _stopper(keys: dict[str, Any] | None) -> StayStopped | None:
    """The callback that ends training early, as the configuration's `early_stopping` keys ask for it."""
    if keys is None:
        return None
    try:
        return StayStopped(**keys)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise BadInput(f"early_stopping: {one_line(error)}") from error


def _few(data: DataSet) -> Batch:
    """A few training images, to try the network and its measurement on."""
    images = range(min(IMAGES_TO_TRY, len(data.train_plain)))
    try:
        return collate([data.train_plain[i] for i in images])
    except BadInput:
        raise
    except Exception as error:  # the user's data set
        raise failed(f"data: its first {len(images)} training images cannot be read", error) from error


def _sites(network: nn.Module, names: list[str] | None, inputs: Tensor) -> tuple[Site, ...]:
    """The sites to be ablated, found by passing a few images through the network."""
    try:
        with in_keys():
            return resolve_sites(network, names, inputs)
    except ForwardFailed as error:  # the user's network, or one for other shapes
        cause = error.__cause__ or error
        raise failed(f"network: cannot take images {tuple(inputs.shape[1:])}", cause) from cause


def _check_points(units: int, points: int | str | list[int] | None) -> None:
    """Raises `BadInput` for invalid points, and for points that leave the area under the curve undefined."""
    with in_keys():
        ablated = grid(units, points)
    if ablated[0] != 0 or ablated[-1] != units:
        raise BadInput(
            f"ablation.points must reach from 0 to all {units} units, for the area under the curve: {points}"
        )


def _try_steps(config: dict[str, Any], network: nn.Module) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """What makes the optimizer, and what makes its schedule or None, after a try with `network` over all epochs.

    Raises `BadInput` for settings that they refuse, and for learning rates that are infinite or negative.
    """
    optimizer = made("optimizer", config["optimizer"])
    scheduler = None if config["scheduler"] is None else made("scheduler", config["scheduler"])
    group, when, epochs = "optimizer", "", config["trainer"]["max_epochs"]
    try:
        stepped = optimizer(network.parameters())
        if scheduler is not None:
            group = "scheduler"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns that the optimizer took no step
                schedule = scheduler(stepped)
                for epoch in range(1, epochs + 1):
                    when = f" in epoch {epoch} of trainer.max_epochs={epochs}"
                    for rate in (one["lr"] for one in stepped.param_groups):
                        if not _ROUNDING <= rate < float("inf"):
                            raise BadInput(f"the learning rate is {rate}")
                    schedule.step()
    except Exception as error:  # a schedule may divide by zero, or be the user's own
        given = {key: value for key, value in flat(config[group]).items() if key not in ("_target_", "_partial_")}
        keys = ", ".join(f"{group}.{key}={value!r}" for key, value in given.items())
        raise failed(f"{group}{when}", error, f"; it was given {keys or 'no keys'}") from error
    return optimizer, scheduler


def sample_of(images: LabelledImages, samples: int | None, seed: int, key: str) -> Dataset[Batch]:
    """All images, or a class-balanced sample of so many. Raises `BadInput`, which names `key`, for too many or few."""
    if samples is None:
        return images
    return Subset(images, class_balanced_subset(images.labels, samples, seed, key).tolist())
