"""What every measurement starts with: batches, sites, clamp values, and the method that serves them."""

import itertools
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from single_directions.ablation.adapting import described
from single_directions.ablation.cost import Curve, operations, prefix_cost, reference_cost
from single_directions.ablation.incremental import Incremental
from single_directions.ablation.orderings import Points, grid
from single_directions.ablation.prefix import Prefix
from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import SitedNetwork, as_written, locate, undisturbed
from single_directions.errors import BadInput

log = logging.getLogger(__name__)

METHODS = ("auto", "incremental", "prefix", "reference")
MEMORY_BUDGET = 2**30

_LARGE = 100
"""The incremental method loses digits in a sum with its opposite where units are clamped far beyond activations."""

MIXED = "an image's output depends on the other images of its batch"

_GAIN = 0.9
"""A method other than the definition must cost at most this part of it to be chosen."""

Batches = Iterable[Any]
Clamp = str | float


class Method(Protocol):
    """A way to get the logits of a network with units clamped. All give the same, at different cost."""

    name: str
    images_at_once: int | None
    """How many images it likes to take at once; ``None`` leaves the batches as they are."""

    def start(self, inputs: Tensor) -> None:
        """Take the images (images, ...) that the next calls measure on."""

    def cumulative(self, ordering: Tensor, ablated: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Logits (images, classes) with the first ``ablated[point]`` units of an ordering (units,) clamped.

        Yields (point, logits), in any order of points; the logits may be overwritten by the next step.
        """

    def single(self, units: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Logits (images, classes) with one unit clamped alone, as (unit, logits), as above."""


@dataclass
class Measurement:
    """A network ready to be measured.

    Attributes:
        network: with its sites.
        values: (units,), what each unit is clamped to.
        method: the method chosen; `why` says why.
        first: the inputs of the first batch.
        classes: how many the network tells apart.
    """

    network: SitedNetwork
    batches: Batches
    values: Tensor
    method: Method
    why: str
    first: Tensor
    classes: int

    def images(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Stream the images and targets, on the network's device, in the portions that the method likes."""
        size = self.method.images_at_once
        waiting: list[tuple[Tensor, Tensor]] = []
        for batch in self.batches:
            inputs, targets = _to_device(batch, self.values.device)
            self._check(inputs, targets)
            if waiting and waiting[0][0].shape[1:] != inputs.shape[1:]:
                yield from _portions(waiting, size)
                waiting = []
            waiting.append((inputs, targets))
            if size is None or sum(len(targets) for _, targets in waiting) >= size:
                *whole, rest = _portions(waiting, size)
                yield from whole
                waiting = [rest]
                if size is None or len(rest[1]) == size:
                    yield rest
                    waiting = []
        if waiting:
            yield from _portions(waiting, size)

    def _check(self, inputs: Tensor, targets: Tensor) -> None:
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
            lowest, highest = int(targets.min()), int(targets.max())
            raise BadInput(
                f"batches: targets from {lowest} to {highest}, but the network's classes are 0 to {self.classes - 1}"
            )
        if isinstance(self.method, Incremental) and inputs.shape[1:] != self.first.shape[1:]:
            raise BadInput(
                f"batches: images of shapes {tuple(self.first.shape[1:])} and {tuple(inputs.shape[1:])}; "
                'method="incremental" needs one shape, method="prefix" takes any'
            )

    def bar(self, passes: int, shown: bool) -> tqdm:
        """A progress bar over images times `passes` (orderings, or units)."""
        if not shown:
            return tqdm(disable=True)
        dataset = getattr(self.batches, "dataset", None)
        if isinstance(self.batches, Sequence):
            images: int | None = sum(len(targets) for _, targets in self.batches)
        else:
            images = len(dataset) if isinstance(dataset, Sized) else None
        total = images and images * passes
        return tqdm(total=total, desc="ablation", unit=" images", unit_scale=True, leave=False)


def _portions(pairs: list[tuple[Tensor, Tensor]], size: int | None) -> list[tuple[Tensor, Tensor]]:
    inputs, targets = (torch.cat(part) if len(part) > 1 else part[0] for part in zip(*pairs, strict=True))
    return list(zip(inputs.split(size or len(inputs)), targets.split(size or len(targets)), strict=True))


@contextmanager
def measurement(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None,
    clamp: Clamp,
    top_k: int,
    method: str,
    memory_budget: int,
    form: tuple[int, Points] | None = None,
) -> Iterator[Measurement]:
    """Prepare to measure; within it the network, as it was written, is undisturbed (see `sites.undisturbed`).

    `form` is the number of orderings and the points of a curve, by which ``method="auto"`` counts what it would cost.

    Raises:
        BadInput: as `sites.locate`; or an unknown method or clamp, no batch, batches that are not (inputs, targets),
            targets that are no classes of the network.
    """
    if method not in METHODS:
        raise BadInput(f"method={method!r}: one of {', '.join(METHODS)}")
    if not (math.isfinite(clamp) if isinstance(clamp, int | float) else clamp in ("zero", "mean")):
        raise BadInput(f'clamp={clamp!r}: "zero", "mean" or a finite number')
    if not isinstance(top_k, int) or top_k < 1:
        raise BadInput(f"top_k={top_k}: a whole number of at least 1 is needed")
    if memory_budget < 1:
        raise BadInput(f"memory_budget={memory_budget}: a number of bytes above 0 is needed")
    network = as_written(network)
    with undisturbed(network):
        first, batches = _peek(batches, again=clamp == "mean")
        parameter = next(itertools.chain(network.parameters(), network.buffers()), torch.empty(0))
        inputs, _ = _to_device(first, parameter.device)
        sited = locate(network, sites, inputs)
        classes = network(inputs[:2]).shape[1]  # one image alone may be too few for batch norm
        if top_k >= classes:
            raise BadInput(f"top_k={top_k}: must be below the number of classes, {classes}")
        values = _values(sited, batches, clamp, inputs)
        curve = None
        if form is not None:
            fractions = grid(sited.units, form[1]).double() / sited.units
            curve = Curve(form[0], fractions, images=counted(batches) or len(inputs), batch=len(inputs))
        chosen, why = _choose(sited, values, inputs, method, memory_budget, curve)
        log.info("ablation by method %s: %s", chosen.name, why)
        yield Measurement(sited, batches, values, chosen, why, inputs, classes)


def _peek(batches: Batches, again: bool) -> tuple[Any, Batches]:
    """The first batch, and batches that still hold it."""
    iterator = iter(batches)
    try:
        first = next(iterator)
    except StopIteration:
        raise BadInput("batches: there is none to measure on") from None
    if iterator is not batches:
        return first, batches
    if again:
        raise BadInput('batches: clamp="mean" goes over them twice; give a list or a DataLoader, not an iterator')
    return first, itertools.chain([first], iterator)


def _to_device(batch: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not (pair and all(isinstance(part, Tensor) for part in batch)):
        raise BadInput(
            f"batches: each must be a pair of tensors (inputs, targets), not {described(batch)}; "
            "say how to make one: batch_to_xy=lambda batch: (inputs, targets)"
        )
    inputs, targets = batch
    if not len(inputs):
        raise BadInput("batches: one of them holds no image")
    if targets.dim() != 1 or len(targets) != len(inputs) or targets.is_floating_point():
        raise BadInput(
            f"batches: targets must be classes, one whole number an image; "
            f"they are {targets.dtype} {tuple(targets.shape)} for {len(inputs)} images"
        )
    return inputs.to(device, non_blocking=True), targets.to(device, torch.int64, non_blocking=True)


def _values(sited: SitedNetwork, batches: Batches, clamp: Clamp, inputs: Tensor) -> Tensor:
    """What each unit is clamped to, (units,)."""
    dtype = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
    if clamp != "mean":
        return torch.full((sited.units,), 0.0 if clamp == "zero" else float(clamp), dtype=dtype, device=inputs.device)
    sums = [torch.zeros(site.units, dtype=torch.float64, device=inputs.device) for site in sited.sites]
    counts = [0] * len(sums)

    def add(site: int, activation: Tensor) -> Tensor:
        per_unit = activation.transpose(0, 1).flatten(1)
        sums[site] += per_unit.sum(1, dtype=torch.float64)
        counts[site] += per_unit.shape[1]
        return activation

    for batch in batches:
        sited.run(_to_device(batch, inputs.device)[0], add)
    means = torch.cat([total / count for total, count in zip(sums, counts, strict=True)]).to(dtype)
    if not means.isfinite().all():
        raise BadInput('clamp="mean": the mean of some unit is not finite; is there a NaN among the images?')
    return means


def _choose(
    sited: SitedNetwork, values: Tensor, inputs: Tensor, method: str, memory_budget: int, curve: Curve | None
) -> tuple[Method, str]:
    """The method asked for where it can be had, else the next best one, and why."""
    if method == "reference":
        return Reference(sited, values), "as asked"
    obstacle = sited.untraced and f"the network cannot be traced: {sited.untraced}"
    if not obstacle and mixes_images(sited.network, inputs):
        obstacle = MIXED
    if obstacle:
        if method != "auto":
            warnings.warn(f"method={method!r} falls back to reference, since {obstacle}", stacklevel=2)
        return Reference(sited, values), f"since {obstacle}"
    if method == "incremental":
        return Incremental(sited, values, inputs, memory_budget), "as asked"
    prefix = Prefix(sited, values, inputs, memory_budget)
    if method == "prefix":
        return prefix, "as asked"
    if values.abs().max() > _LARGE:
        return prefix, f"since clamping to more than {_LARGE} would cost digits"
    incremental = Incremental(sited, values, inputs, memory_budget)
    if not incremental.gains:
        return prefix, "since no layer that reads a site can be updated or sliced"
    if curve is None:
        return incremental, incremental.gains
    return _cheapest(Reference(sited, values), prefix, incremental, inputs, curve)


def _cheapest(
    reference: Reference, prefix: Prefix, incremental: Incremental, inputs: Tensor, curve: Curve
) -> tuple[Method, str]:
    """The method that takes the fewest operations; the definition unless another one saves a tenth of them."""
    flow, each = incremental.flow, operations(incremental.flow, inputs[:1])
    at_once = (prefix.images_at_once or 1) if prefix.stackable else curve.batch
    definition = reference_cost(each, curve)
    others: list[tuple[float, Method, str]] = [
        (prefix_cost(flow, each, curve, at_once), prefix, "since for so small a curve layers are not worth updating"),
        (incremental.cost(each, curve), incremental, incremental.gains),
    ]
    cost, chosen, why = min(others, key=lambda other: other[0])
    if cost > _GAIN * definition:
        return reference, "since for so small a curve no other method saves a tenth of the arithmetic"
    return chosen, why


def counted(batches: Batches) -> int | None:
    """How many images there are in batches, or None where that is not known before they are read."""
    if isinstance(batches, Sequence):
        return sum(len(targets) for _, targets in batches)
    size, sampler = getattr(batches, "batch_size", None), getattr(batches, "sampler", None)
    if size is None or not isinstance(sampler, Sized):
        return None
    return len(sampler) // size * size if getattr(batches, "drop_last", False) else len(sampler)


def mixes_images(network: nn.Module, inputs: Tensor) -> bool:
    """Whether an image's logits depend on its batch, as with batch norm that keeps no running statistics."""
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is None for m in network.modules()):
        return True
    inputs = inputs[:4] if len(inputs) > 1 else torch.cat([inputs, torch.zeros_like(inputs)])
    half = (len(inputs) + 1) // 2
    whole, part = network(inputs)[:half], network(inputs[:half])
    return bool(((whole - part).abs().max() / whole.abs().max().clamp_min(1e-3)) > 1e-3)
