"""What a configuration names, made and checked before anything expensive begins."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, Subset

from single_directions.ablation import Site, resolve_sites
from single_directions.ablation.orderings import grid
from single_directions.data import DataSet, collate
from single_directions.data.images import Batch
from single_directions.data.labels import class_balanced_subset
from single_directions.errors import BadInput
from single_directions.runs.config import check
from single_directions.runs.optimized import check_optimized
from single_directions.runs.tracking import check_tracking
from single_directions.training import AblationAUC, StayStopped
from single_directions.training.seeds import derived_seed

IMAGES_TO_TRY = 8


@dataclass(frozen=True)
class Parts:
    """A run's parts: made from its configuration, and known to fit each other.

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
    check(config)
    check_optimized(config)
    check_tracking(config["tracking"])
    data: DataSet = made("data", config["data"])
    torch.manual_seed(derived_seed(config["seed"], "initialization"))
    network: nn.Module = made("network", config["network"], input_shape=data.input_shape, classes=data.classes)
    ablation = config["ablation"]
    if ablation["top_k"] >= data.classes:
        raise BadInput(f"ablation.top_k must be below the number of classes, {data.classes}, not {ablation['top_k']}")
    sites = _sites(network, ablation["sites"], data)
    _check_points(sum(site.units for site in sites), ablation["points"])
    optimizer = made("optimizer", config["optimizer"])
    scheduler = None if config["scheduler"] is None else made("scheduler", config["scheduler"])
    _try_optimizer(network, optimizer, scheduler)
    measured = _measured(data, ablation["samples"], ablation["seed"])
    every_epoch, stopper = _every_epoch(ablation), _stopper(config["early_stopping"])
    return Parts(data, network, optimizer, scheduler, sites, measured, every_epoch, stopper)


def made(group: str, config: dict[str, Any], **given: Any) -> Any:
    """What a group of the configuration names; whatever goes wrong is told as one line that begins with the group."""
    try:
        return instantiate(config, **given, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from None
        raise BadInput(f"{group}: {str(error.__cause__ or error).splitlines()[0]}") from error


def _every_epoch(keys: dict[str, Any]) -> AblationAUC | None:
    """The measurement during training that the configuration's `ablation` keys ask for."""
    if keys["every_epoch"] is None:
        return None
    shared = {key: keys[key] for key in ("sites", "clamp", "top_k", "seed", "method")}
    try:
        return AblationAUC(network="network", name="ablation", **{**shared, **keys["every_epoch"]})
    except (TypeError, BadInput) as error:
        raise BadInput(f"ablation.every_epoch: {error}") from error


def _stopper(keys: dict[str, Any] | None) -> StayStopped | None:
    """What ends training early, as the configuration's `early_stopping` keys ask for it."""
    if keys is None:
        return None
    try:
        return StayStopped(**keys)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise BadInput(f"early_stopping: {str(error).splitlines()[0]}") from error


def _sites(network: nn.Module, names: list[str] | None, data: DataSet) -> tuple[Site, ...]:
    """The sites to be ablated, found by passing a few images through the network."""
    images = range(min(IMAGES_TO_TRY, len(data.train_plain)))
    inputs, _ = collate([data.train_plain[i] for i in images])
    try:
        return resolve_sites(network, names, inputs)
    except RuntimeError as error:  # a network of the user's own, made for other shapes
        raise BadInput(
            f"network: cannot take images {tuple(inputs.shape[1:])}: {str(error).splitlines()[0]}"
        ) from error


def _check_points(units: int, points: int | str | list[int] | None) -> None:
    """Raises `BadInput` for points that there cannot be, or that leave the area under the curve undefined."""
    try:
        ablated = grid(units, points)
    except (TypeError, ValueError) as error:
        raise BadInput(f"ablation.{error}" if isinstance(error, BadInput) else f"ablation.points: {error}") from error
    if ablated[0] != 0 or ablated[-1] != units:
        raise BadInput(
            f"ablation.points must reach from 0 to all {units} units, for the area under the curve: {points}"
        )


def _try_optimizer(network: nn.Module, optimizer: Callable[..., Any], scheduler: Callable[..., Any] | None) -> None:
    """Raises `BadInput` for settings that the optimizer or the scheduler refuses."""
    group = "optimizer"
    try:
        made = optimizer(network.parameters())
        group = "scheduler"
        if scheduler is not None:
            scheduler(made)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{group}: {str(error).splitlines()[0]}") from error


def _measured(data: DataSet, samples: int | None, seed: int) -> Dataset[Batch]:
    """All training images, or a class-balanced sample of them."""
    if samples is None:
        return data.train_plain
    chosen = class_balanced_subset(data.train_plain.labels, samples, seed, "ablation.samples")
    return Subset(data.train_plain, chosen.tolist())
