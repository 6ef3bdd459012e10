"""What every measurement starts with: batches, sites, clamp values, and the choice of a method."""

import itertools
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from tqdm import tqdm

from single_directions.ablation.adapting import BatchToXY, Output, as_pairs, with_logits
from single_directions.ablation.adapting import described as kind_of
from single_directions.ablation.cost import (
    OPERATIONS_A_BYTE,
    OPERATIONS_A_CALL,
    Curve,
    operations,
    prefix_cost,
    reference_cost,
)
from single_directions.ablation.dataflow import Dataflow, portions
from single_directions.ablation.incremental import Incremental
from single_directions.ablation.operations import Linear
from single_directions.ablation.orderings import Points, grid
from single_directions.ablation.places import UnitDim
from single_directions.ablation.prefix import Prefix
from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import SitedNetwork, as_written, described, locate, undisturbed
from single_directions.errors import BadInput, one_line

log = logging.getLogger(__name__)

METHODS = ("auto", "incremental", "prefix", "reference")
MEMORY_BUDGET = 2**30

_LARGE = 100
"""Where units are clamped to more than this, the incremental method loses digits: it subtracts large numbers."""

MIXED = "an image's output depends on the other images of its batch, or on chance"

_GAIN = 0.9
"""A method other than the definition must cost at most this part of it to be chosen."""
_PLANNING = 10
"""What planning a fast method costs for each node that varies, in calls of a node."""

Batches = Iterable[Any]
Clamp = str | float


class Method(Protocol):
    """A way to compute the logits of a network with units clamped. All give the same logits, at different cost."""

    name: str
    images_at_once: int | None
    """How many images it takes at once; ``None`` leaves the batches as they are."""

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
        given: the batches as they were before the first was read, which a stream's are no more.
        values: (units,), what each unit is clamped to.
        method: the method chosen; `why` says why.
        first: the inputs of the first batch.
        fallback: makes the method for images of another shape; ``None`` where these are refused.
    """

    network: SitedNetwork
    given: Batches
    batches: Batches
    values: Tensor
    method: Method
    why: str
    first: Tensor
    fallback: Callable[[], Method] | None = None

    def images(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The images and targets, on the network's device, in the portions that the method takes.

        `method` may change before images of another shape are yielded.

        Warns:
            UserWarning: a batch of a stream cannot be measured. Then only the images before it are.
        """
        for shape, pairs in itertools.groupby(self._sound(), lambda pair: pair[0].shape[1:]):
            if self.fallback and isinstance(self.method, Incremental) and shape != self.first.shape[1:]:
                self.method = self.fallback()
                self.why += f"; {self.method.name} from the first images of shape {tuple(shape)} on"
                log.info("ablation by method %s: %s", self.method.name, self.why)
            yield from _portions(pairs, self.method.images_at_once)

    def _sound(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches that hold images, up to the first that cannot be measured."""
        images = 0
        shapes = _Shapes(self.network, self.first.shape[1:], isinstance(self.method, Incremental) and not self.fallback)
        for number, batch in enumerate(self.batches):
            try:
                inputs, targets = _to_device(batch, self.values.device, self.network.logits)
                shapes.check(inputs)
            except BadInput as error:
                if not images:
                    raise
                warnings.warn(
                    f"{error} (batch {number}); only the {images} images before it are measured", stacklevel=4
                )
                return
            if len(targets):
                images += len(targets)
                yield inputs, targets
        if not images:
            raise BadInput("batches: none of them holds an image")

    def bar(self, passes: int, shown: bool) -> tqdm:
        """A progress bar over images times `passes` (orderings, or units)."""
        if not shown:
            return tqdm(disable=True)
        images = counted(self.batches, len(self.first))
        total = images and images * passes
        return tqdm(total=total, desc="ablation", unit=" images", unit_scale=True, leave=False)


def _portions(pairs: Iterable[tuple[Tensor, Tensor]], size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """The same images in portions of `size`, of which none has one image (see `dataflow.portions`).

    The last may be smaller. ``None`` leaves the pairs as they are.
    """
    if size is None:
        yield from pairs
        return
    waiting: list[tuple[Tensor, Tensor]] = []
    for pair in pairs:
        waiting.append(pair)
        if sum(len(targets) for _, targets in waiting) > size + 1:
            *whole, last = _split(waiting, size)
            yield from whole
            waiting = [last]
    if waiting:
        yield from _split(waiting, size)


def _split(pairs: list[tuple[Tensor, Tensor]], size: int) -> list[tuple[Tensor, Tensor]]:
    inputs, targets = (torch.cat(part) if len(part) > 1 else part[0] for part in zip(*pairs, strict=True))
    return list(zip(portions(inputs, size), portions(targets, size), strict=True))


@contextmanager
def measurement(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None,
    clamp: Clamp,
    top_k: int,
    method: str,
    memory_budget: int,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
    batch_to_xy: BatchToXY | None = None,
    output: Output | None = None,
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
    if not isinstance(memory_budget, int | float) or memory_budget < 1:
        raise BadInput(f"memory_budget={memory_budget!r}: a number of bytes above 0 is needed")
    network, given = with_logits(as_written(network), output), as_pairs(batches, batch_to_xy)
    with undisturbed(network):
        first, batches = _peek(given, again=clamp == "mean")
        parameter = next(itertools.chain(network.parameters(), network.buffers()), torch.empty(0))
        inputs, _ = _to_device(first, parameter.device)
        if not len(inputs):
            raise BadInput("batches: the first holds no image")
        sited = locate(network, sites, inputs, unit_dim)
        logits = sited.logits
        if top_k >= max(logits, 2):
            raise BadInput(f"top_k={top_k}: must be below the number of classes, {max(logits, 2)}")
        _look_at(batches, logits, _Shapes(sited, inputs.shape[1:], method == "incremental"), parameter.device)
        _to_device(first, None, logits)
        values = _values(sited, batches, clamp, inputs)
        curve = None
        if form is not None:
            fractions = grid(sited.units, form[1]).double() / sited.units
            curve = Curve(form[0], fractions, images=counted(batches, len(inputs)) or len(inputs), batch=len(inputs))
        chosen, why = _choose(sited, values, inputs, method, memory_budget, curve)
        log.info("ablation of %s", described(sited.sites))
        log.info("ablation by method %s: %s", chosen.name, why)
        fallback = (lambda: Prefix(sited, values, inputs, memory_budget)) if method == "auto" else None
        yield Measurement(sited, given, batches, values, chosen, why, inputs, fallback)


def _peek(batches: Batches, again: bool) -> tuple[Any, Batches]:
    """The first batch, and batches that still hold it."""
    try:
        iterator = iter(batches)
    except TypeError:
        raise BadInput(
            f"batches: a list or a DataLoader of pairs (inputs, targets) is needed, not {type(batches).__name__}"
        ) from None
    try:
        first = next(iterator)
    except StopIteration:
        raise BadInput("batches: there is none to measure on") from None
    if iterator is not batches:
        return first, batches
    if again:
        raise BadInput('batches: clamp="mean" goes over them twice; give a list or a DataLoader, not an iterator')
    return first, itertools.chain([first], iterator)


class _Shapes:
    """The shapes of images that the network takes. It is run once on each new shape."""

    def __init__(self, network: SitedNetwork, first: torch.Size, one_alone: bool) -> None:
        self.network, self.first, self.known, self.one_alone = network, first, {first}, one_alone

    def check(self, inputs: Tensor) -> None:
        """Raises `BadInput` for images that the network cannot take, or of a second shape where one is allowed."""
        shape = inputs.shape[1:]
        if not len(inputs) or shape in self.known:
            return
        if self.one_alone:
            raise BadInput(
                f"batches: images of shapes {tuple(self.first)} and {tuple(shape)}; "
                'method="incremental" needs one shape, method="prefix" takes any'
            )
        try:
            self.network.plain(inputs[:2])
        except Exception as error:  # somebody's own forward()
            cause = one_line(error)
            raise BadInput(
                f"batches: the network takes images {tuple(self.first)}, not {tuple(shape)}: {cause}"
            ) from error
        self.known.add(shape)


def _look_at(batches: Batches, logits: int, shapes: _Shapes, device: torch.device) -> None:
    """Raises `BadInput` if batches in memory hold what cannot be measured."""
    dataset = getattr(batches, "dataset", None)
    if isinstance(batches, Sequence):
        for batch in batches:
            inputs, _ = _to_device(batch, None, logits)
            shapes.check(inputs[:2].to(device))
    elif isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        _to_device(dataset.tensors, None, logits)


def _to_device(batch: Any, device: torch.device | None, logits: int | None = None) -> tuple[Tensor, Tensor]:
    """A batch as (inputs, targets) on a device, checked. Classes are checked if the number of `logits` is given.

    Targets may also be whole numbers in floats, and a column (images, 1), as for a binary cross-entropy.
    """
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not (pair and all(isinstance(part, Tensor) for part in batch)):
        raise BadInput(
            f"batches: each must be a pair of tensors (inputs, targets), not {kind_of(batch)}; "
            "say how to make one: batch_to_xy=lambda batch: (inputs, targets)"
        )
    inputs, targets = batch
    if targets.dim() == 0:
        raise BadInput("batches: they hold single images; give a DataLoader of them")
    if targets.dim() == 2 and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    whole = logits is None or not targets.is_floating_point() or bool((targets == targets.round()).all())
    if targets.dim() != 1 or len(targets) != len(inputs) or not whole:
        one_hot = "; if they are one-hot, give batch_to_xy=lambda batch: (batch[0], batch[1].argmax(1))"
        raise BadInput(
            f"batches: targets must be classes, one whole number per image; they are {targets.dtype} "
            f"{tuple(targets.shape)} for {len(inputs)} images{one_hot if targets.dim() == 2 else ''}"
        )
    if logits is not None and len(targets):
        lowest, highest, classes = int(targets.min()), int(targets.max()), max(logits, 2)
        if not 0 <= lowest <= highest < classes:
            raise BadInput(
                f"batches: targets from {lowest} to {highest}, but the network's classes are 0 to {classes - 1}; "
                "batch_to_xy can change them"
            )
    if device is None:
        return inputs, targets
    return inputs.detach().to(device, non_blocking=True), targets.to(device, torch.int64, non_blocking=True)


def _values(sited: SitedNetwork, batches: Batches, clamp: Clamp, inputs: Tensor) -> Tensor:
    """What each unit is clamped to, (units,)."""
    dtype = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
    if clamp != "mean":
        return torch.full((sited.units,), 0.0 if clamp == "zero" else float(clamp), dtype=dtype, device=inputs.device)
    sums = [torch.zeros(site.units, dtype=torch.float64, device=inputs.device) for site in sited.sites]
    counts = [0] * len(sums)

    def add(site: int, activation: Tensor) -> Tensor:
        per_unit = activation.movedim(sited.sites[site].dim, 0).reshape(sited.sites[site].units, -1)
        sums[site] += per_unit.sum(1, dtype=torch.float64)
        counts[site] += per_unit.shape[1]
        return activation

    for batch in batches:
        images, _ = _to_device(batch, inputs.device)
        if len(images):
            sited.run(images, add)
    means = torch.cat([total / count for total, count in zip(sums, counts, strict=True)]).to(dtype)
    if not means.isfinite().all():
        raise BadInput('clamp="mean": the mean of some unit is not finite; is there a NaN among the images?')
    return means


def _choose(
    sited: SitedNetwork, values: Tensor, inputs: Tensor, method: str, memory_budget: int, curve: Curve | None
) -> tuple[Method, str]:
    """The method asked for if the network allows it, else the next best one, and why."""
    if method == "reference":
        return Reference(sited, values), "as asked"
    obstacle = sited.untraced and f"the network cannot be traced: {sited.untraced}"
    if not obstacle and sited.mixes:
        obstacle = MIXED
    if obstacle:
        if method != "auto":
            warnings.warn(f"method={method!r} falls back to reference, since {obstacle}", stacklevel=2)
        return Reference(sited, values), f"since {obstacle}"
    flow = Dataflow(sited)
    if method == "incremental":
        return Incremental(sited, values, inputs, memory_budget, flow), "as asked"
    if method == "prefix":
        return Prefix(sited, values, inputs, memory_budget, flow), "as asked"
    each = operations(flow)
    definition = math.inf if curve is None else reference_cost(each, curve)
    small = "since for so small a curve no other method saves a tenth of the arithmetic"
    if definition < _PLANNING * OPERATIONS_A_CALL * len(flow.varying):
        return Reference(sited, values), small
    prefix = Prefix(sited, values, inputs, memory_budget, flow)
    if values.abs().max() > _LARGE:
        return prefix, f"since clamping to more than {_LARGE} would cost digits"
    incremental = Incremental(sited, values, inputs, memory_budget, flow)
    if not incremental.gains:
        return prefix, "since no layer that reads a site can be updated or sliced"
    if curve is None:
        return incremental, incremental.gains
    at_once = (prefix.images_at_once or 1) if prefix.stackable else curve.batch
    layers = (operation for operation in map(flow.operations.get, flow.folded) if isinstance(operation, Linear))
    folding = 2 * OPERATIONS_A_BYTE * sum(operation.layer.weight.nbytes for operation in layers)
    others: list[tuple[float, Method, str]] = [
        (prefix_cost(flow, each, curve, at_once), prefix, "since for so small a curve layers are not worth updating"),
        (incremental.cost(each, curve), incremental, incremental.gains),
    ]
    cost, chosen, why = min(others, key=lambda other: other[0])
    return (chosen, why) if cost + folding <= _GAIN * definition else (Reference(sited, values), small)


def counted(batches: Batches, first: int) -> int | None:
    """How many images there are in batches; ``None`` if that is not known before they are read.

    `first` is the size of the first batch. Where a loader would make another one of what its sampler draws, one draw is
    not one image.
    """
    if isinstance(batches, Sequence):
        return sum(len(targets) for _, targets in batches)
    size, sampler = getattr(batches, "batch_size", None), getattr(batches, "sampler", None)
    if size is None or not isinstance(sampler, Sized):
        return None
    images = len(sampler) // size * size if getattr(batches, "drop_last", False) else len(sampler)
    return images if first == min(size, images) else None
