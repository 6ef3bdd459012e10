"""The AUC with its standard error, from masks of their own for each image: far cheaper than a curve.

The AUC is an expectation over images, orderings and points. A curve spends its forward passes on few orderings, the
same for all images. Here each image has a few masks of its own. They are independent, so the same number of passes
gives a smaller error, and the error can be read off the answers themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from single_directions.ablation.accuracy import correct
from single_directions.ablation.adapting import BatchToXY, Output, as_pairs, with_logits
from single_directions.ablation.masks import Masks, draw_masks, weights
from single_directions.ablation.measurement import (
    MEMORY_BUDGET,
    Batches,
    Clamp,
    Measurement,
    counted,
    measurement,
    mixes_images,
)
from single_directions.ablation.orderings import Points, grid
from single_directions.ablation.places import UnitDim
from single_directions.ablation.rows import Cost, Rows, choose_rows
from single_directions.ablation.sites import Site, as_written
from single_directions.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_MASKS = 10_000
ROW_METHODS = ("auto", "prefix", "reference")
_LEAST = 4
"""Masks that each point should have at least."""
NAMES = ("auc", "auc_normalized", "auc_corrected", "accuracy")


class Value(NamedTuple):
    """A number and its standard error."""

    value: float
    se: float


@dataclass(frozen=True, eq=False)
class AblationEstimate:
    """An estimate of the area under the cumulative ablation curve, with standard errors.

    The numbers are those of `AblationCurve`, averaged over all orderings: `auc`, `auc_normalized`, `auc_corrected` and
    `accuracy`. Each has a standard error: `auc_se` and so on. NaN where a number is not defined.

    Attributes:
        intact, ablated: bool, (images,), whether each image is answered right with nothing and with all units clamped.
        right: bool, (images, masks), whether it is with each of its masks.
        points: int64, (images, masks), the point of each mask.
        cluster: int64, (images,), images of one number share their masks; all different as a rule.
        units_ablated: int64, (points,), how many units are clamped.
        units: of all sites together.
        population: how many images the AUC is about. Those measured were drawn from them. If they are all of them, the
            standard error counts the masks alone; else it counts which images were drawn too.
        seed, sites, clamp, top_k: as asked.
        method, why: how the network was run, and why so.
        passes: what it cost, in forward passes of the whole network for one image.
    """

    intact: Tensor
    ablated: Tensor
    right: Tensor
    points: Tensor
    cluster: Tensor
    units_ablated: Tensor
    units: int
    population: float = math.inf
    seed: int = 0
    sites: tuple[Site, ...] = ()
    clamp: Clamp = "zero"
    top_k: int = 1
    method: str = ""
    why: str = ""
    passes: float = field(default=math.nan)

    @property
    def images(self) -> int:
        """How many images were measured."""
        return len(self.intact)

    @property
    def masks(self) -> int:
        """How many pairs of an image and a mask were measured."""
        return self.right.numel()

    @property
    def fraction_ablated(self) -> Tensor:
        """float64, (points,), 0 to 1."""
        return self.units_ablated.double() / self.units

    @cached_property
    def curve(self) -> Tensor:
        """float64, (points,), accuracy at each point: the mean over orderings of an `AblationCurve`."""
        inner = self._sums(self.right.double()) / self._counts
        return torch.cat([self.intact.double().mean()[None], inner, self.ablated.double().mean()[None]])

    @property
    def curve_se(self) -> Tensor:
        """float64, (points,), the standard error of `curve`."""
        points = range(len(self.units_ablated))
        return torch.tensor([self._error(self._influence(point)) for point in points], dtype=torch.float64)

    @property
    def accuracy(self) -> float:
        """Accuracy with nothing clamped."""
        return self._values["accuracy"].value

    @property
    def accuracy_se(self) -> float:
        """Its standard error: 0 if all images of the population were measured."""
        return self._values["accuracy"].se

    @property
    def auc(self) -> float:
        """The trapezoid area under accuracy against the fraction ablated, 0 to 1, mean over orderings."""
        return self._values["auc"].value

    @property
    def auc_se(self) -> float:
        """Its standard error."""
        return self._values["auc"].se

    @property
    def auc_normalized(self) -> float:
        """`auc` over `accuracy`: the paper's quantity (captions of Figures 2 and 3)."""
        return self._values["auc_normalized"].value

    @property
    def auc_normalized_se(self) -> float:
        """Its standard error."""
        return self._values["auc_normalized"].se

    @property
    def auc_corrected(self) -> float:
        """(`auc` - floor) / (`accuracy` - floor), where floor is the accuracy with all units clamped."""
        return self._values["auc_corrected"].value

    @property
    def auc_corrected_se(self) -> float:
        """Its standard error."""
        return self._values["auc_corrected"].se

    def change_from(self, earlier: AblationEstimate) -> dict[str, Value]:
        """How far each number is above that of an earlier estimate of the same images and masks, and how sure that is.

        The standard error is that of paired differences: most of what the two have in common falls out.

        Raises:
            BadInput: the two were not measured on the same pairs.
        """
        same = (self.seed, self.units, self.images) == (earlier.seed, earlier.units, earlier.images)
        if not same or not torch.equal(self.points, earlier.points):
            raise BadInput("change_from: the other estimate has other images or masks; measure both with one seed")
        return {
            name: Value(self._values[name].value - earlier._values[name].value, self._error(own - other))
            for name, own, other in ((name, self._influences[name], earlier._influences[name]) for name in NAMES)
        }

    def to_frame(self) -> pd.DataFrame:
        """A table with a row for each point: units_ablated, fraction_ablated, accuracy, accuracy_se."""
        import pandas as pd

        columns = {
            "units_ablated": self.units_ablated,
            "fraction_ablated": self.fraction_ablated,
            "accuracy": self.curve,
            "accuracy_se": self.curve_se,
        }
        return pd.DataFrame({name: column.numpy() for name, column in columns.items()})

    @classmethod
    def joined(cls, parts: Sequence[AblationEstimate]) -> AblationEstimate:
        """The estimate of the images of several, as of the processes of one training, all of one population."""
        first = parts[0]
        offsets = torch.tensor([0, *(int(part.cluster.max()) + 1 for part in parts)]).cumsum(0).tolist()
        clusters = [part.cluster + offset for part, offset in zip(parts, offsets, strict=False)]
        together: dict[str, Any] = {
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("intact", "ablated", "right", "points")
        }
        passes = sum(part.passes for part in parts)
        return replace(first, **together, cluster=torch.cat(clusters), passes=passes)

    @cached_property
    def _counts(self) -> Tensor:
        """Masks at each point between the ends, float64, (points - 2,)."""
        return self._sums(torch.ones_like(self.right, dtype=torch.float64))

    def _sums(self, values: Tensor) -> Tensor:
        sums = torch.zeros(len(self.units_ablated), dtype=torch.float64)
        return sums.index_add_(0, self.points.flatten(), values.flatten())[1:-1]

    @cached_property
    def _values(self) -> dict[str, Value]:
        auc = float(weights(self.units_ablated, self.units) @ self.curve)
        accuracy, floor = float(self.curve[0]), float(self.curve[-1])
        values = {
            "auc": auc,
            "auc_normalized": auc / accuracy if accuracy > 0 else math.nan,
            "auc_corrected": (auc - floor) / (accuracy - floor) if accuracy > floor else math.nan,
            "accuracy": accuracy,
        }
        return {name: Value(value, self._error(self._influences[name])) for name, value in values.items()}

    @cached_property
    def _influences(self) -> dict[str, _Influence]:
        """How much each answer adds to the error of each number, to first order."""
        share = weights(self.units_ablated, self.units)
        accuracy, floor = self._influence(0), self._influence(-1)
        auc = accuracy * float(share[0]) + floor * float(share[-1])
        if self.right.numel():
            auc += _Influence(torch.zeros_like(accuracy.image), share[self.points] * self._residuals)
        level, bottom = float(self.curve[0]), float(self.curve[-1])
        area = float(share @ self.curve)
        normalized = (auc - accuracy * (area / level)) * (1 / level) if level > 0 else auc * math.nan
        corrected = auc * math.nan
        if level > bottom:
            ratio = (area - bottom) / (level - bottom)
            corrected = (auc - floor - (accuracy - floor) * ratio) * (1 / (level - bottom))
        return dict(zip(NAMES, (auc, normalized, corrected, accuracy), strict=True))

    def _influence(self, point: int) -> _Influence:
        """That of the accuracy at one point."""
        none = torch.zeros_like(self.right, dtype=torch.float64)
        if point % len(self.units_ablated) in (0, len(self.units_ablated) - 1):
            right = (self.intact if point == 0 else self.ablated).double()
            return _Influence((right - right.mean()) / len(right), none)
        return _Influence(none.sum(1), torch.where(self.points == point, self._residuals, none))

    @cached_property
    def _residuals(self) -> Tensor:
        """What each answer differs by from the mean at its point, over the masks there, float64, (images, masks)."""
        counts = self._counts[self.points - 1]
        drawn = counts * ((int(self.cluster.max()) + 1) / self.images)  # masks, of which some are shared
        exact = (drawn / (drawn - 1).clamp_min(1)).sqrt()  # the mean was fitted to these answers
        return (self.right.double() - self.curve[self.points]) / counts * exact

    def _error(self, influence: _Influence) -> float:
        """The standard error that influences add up to.

        Of n images drawn from N, with f = n / N: (1 - f) times the variance between images, plus f times the variance
        between the masks of an image (Cochran, Sampling Techniques, 10.3). Neighbouring masks of an image lie in
        neighbouring parts of the curve, so their squared differences tell the latter.
        """
        clusters = int(self.cluster.max()) + 1
        masks = influence.mask.shape[1]

        def squares(totals: Tensor) -> float:
            return float(totals.new_zeros(clusters).index_add_(0, self.cluster, totals).square().sum())

        between = squares(influence.image + influence.mask.sum(1)) * clusters / max(1, clusters - 1)
        if masks < 2:  # masks cannot be told from images
            within = squares(influence.mask.sum(1))
        else:  # images of a cluster have the same masks, so their influences add up
            shared = influence.mask.new_zeros(clusters, masks).index_add_(0, self.cluster, influence.mask)
            within = float(shared.diff(dim=1).square().sum()) / 2 * masks / (masks - 1)
        fraction = self.images / self.population
        return math.sqrt((1 - fraction) * between + fraction * within)


class _Influence(NamedTuple):
    """Of each image, (images,), and of each of its masks, (images, masks), float64."""

    image: Tensor
    mask: Tensor

    def __add__(self, other: _Influence) -> _Influence:  # type: ignore[override]
        return _Influence(self.image + other.image, self.mask + other.mask)

    def __sub__(self, other: _Influence) -> _Influence:
        return self + other * -1.0

    def __mul__(self, factor: float) -> _Influence:  # type: ignore[override]
        return _Influence(self.image * factor, self.mask * factor)


def ablation_auc(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None = None,
    masks: int = DEFAULT_MASKS,
    points: Points = None,
    clamp: Clamp = "zero",
    top_k: int = 1,
    seed: int = 0,
    passes: float | None = None,
    masks_per_image: int | None = None,
    population: float | None = None,
    method: str = "auto",
    progress: bool = False,
    memory_budget: int = MEMORY_BUDGET,
    batch_to_xy: BatchToXY | None = None,
    output: Output | None = None,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> AblationEstimate:
    """Estimate the area under the ablation curve, with its standard error (section 3.2; Figures 2b and 3).

    The mean over all orderings of what `ablation_curve` measures, without bias, from independent masks: each image is
    answered with a few random sets of units clamped, as many of each size as its weight in the area asks for. The
    network is treated as by `ablation_curve`. The same seed gives the same images and masks.

    >>> import torch
    >>> from single_directions import ablation_auc
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(100, 4), torch.randint(3, (100,)))]
    >>> estimate = ablation_auc(network, batches, masks=1000)
    >>> print(f"{estimate.auc_normalized:.3f} +- {estimate.auc_normalized_se:.3f}")  # doctest: +SKIP
    1.021 +- 0.024

    Args:
        network, sites, points, clamp, top_k, memory_budget, batch_to_xy, output, unit_dim: as `ablation_curve`.
        batches: pairs (inputs (images, ...), targets (images,)), a list or a DataLoader. If there are more images than
            are needed, some are drawn at random; all are read. What cannot be traced takes them batch by batch.
        masks: how many pairs of an image and a mask to measure. If the number of images is not known before they are
            read, as in a stream, all are measured, with `masks_per_image` masks each.
        seed: draws images and masks.
        passes: instead of `masks`: what to spend, in forward passes of the whole network for one image.
        masks_per_image: ``None``: as many as make the error smallest for what the network costs.
        population: how many images those in `batches` were drawn from at random; ``None``: the AUC is about the images
            in `batches` alone. ``math.inf`` for images in general.
        method: ``"prefix"`` (what lies before the first site is run once an image), ``"reference"`` (whole passes), or
            ``"auto"``, the cheaper one.
        progress: show a bar.

    Returns:
        An `AblationEstimate`: `auc`, `auc_normalized`, `auc_corrected`, `accuracy`, each with its `_se`.

    Raises:
        BadInput: something asked for cannot be; before anything is measured.
    """
    _check(masks, passes, masks_per_image, population, seed)
    if method not in ROW_METHODS:
        raise BadInput(f"method={method!r}: one of {', '.join(ROW_METHODS)}")
    network, batches = with_logits(as_written(network), output), as_pairs(batches, batch_to_xy)
    with measurement(network, batches, sites, clamp, top_k, "reference", memory_budget, unit_dim) as measured:
        ablated = grid(measured.network.units, points)
        if ablated[0] != 0 or ablated[-1] != measured.network.units:
            raise BadInput(f"points: an area needs points from 0 to {measured.network.units} units: {points}")
        rows, why = _rows(measured, method, memory_budget)
        available = counted(batches)
        if passes is not None:
            masks = _bought(rows.cost, passes, masks_per_image)
        images, per_image = _shares(rows.cost, len(ablated) - 2, available, masks, masks_per_image)
        chosen = None if rows.together else _drawn(available, images, seed)  # a batch is answered as a whole
        if rows.together:
            images = len(batches) if isinstance(batches, Sized) else None
        masks_of = draw_masks(
            measured.network.units, tuple(ablated.tolist()), images, per_image, seed, measured.values.device
        )
        answers = _Answers(measured, rows, masks_of, chosen, top_k)
        with measured.bar(1, progress) as bar:
            for inputs, targets in measured.images():
                answers.add(inputs, targets)
                bar.update(len(targets))
        answers.finish()
    estimate = AblationEstimate(
        **answers.tensors(),
        units_ablated=ablated,
        units=measured.network.units,
        population=max(answers.seen, population or 0),
        seed=seed,
        sites=measured.network.sites,
        clamp=clamp,
        top_k=top_k,
        method=rows.name,
        why=why,
    )
    return replace(estimate, passes=rows.cost.passes(estimate.images, per_image))


@dataclass(frozen=True)
class Plan:
    """What an estimate of a network will measure.

    Attributes:
        images, masks_per_image: so many images get so many masks each.
        passes: what that costs, in forward passes of the whole network for one image.
        method, why: how the network will be run, and why so.
        sites: names and unit counts.
    """

    images: int
    masks_per_image: int
    passes: float
    method: str
    why: str
    sites: tuple[Site, ...]


def plan_auc(
    network: nn.Module,
    inputs: Tensor,
    available: int,
    sites: Sequence[str] | None = None,
    masks: int = DEFAULT_MASKS,
    points: Points = None,
    passes: float | None = None,
    least: int = 1,
    most: float = math.inf,
    method: str = "auto",
    memory_budget: int = MEMORY_BUDGET,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> Plan:
    """What `ablation_auc` would measure of `available` images like `inputs` (images, ...); it measures nothing.

    `least` and `most` bound the masks that `passes` buy. The other arguments and the errors are those of
    `ablation_auc`.
    """
    batch = (inputs, torch.zeros(len(inputs), dtype=torch.int64))
    with measurement(network, [batch], sites, "zero", 1, "reference", memory_budget, unit_dim) as measured:
        rows, why = _rows(measured, method, memory_budget)
        inner = len(grid(measured.network.units, points)) - 2
        if passes is not None:
            masks = round(min(most, max(least, _bought(rows.cost, passes, None))))
        images, per_image = _shares(rows.cost, inner, available, masks, None)
        assert images is not None
        images = available if rows.together else images
        sites_found = measured.network.sites
    return Plan(images, per_image, rows.cost.passes(images, per_image), rows.name, why, sites_found)


def _rows(measured: Measurement, method: str, memory_budget: int) -> tuple[Rows, str]:
    together = mixes_images(measured.network.network, measured.first)
    return choose_rows(measured.network, measured.values, measured.first, method, memory_budget, together)


def _check(masks: int, passes: float | None, masks_per_image: int | None, population: float | None, seed: int) -> None:
    for name, number in (("masks", masks), ("masks_per_image", masks_per_image)):
        if number is not None and (not isinstance(number, Integral) or number < 1):
            raise BadInput(f"{name}={number!r}: a whole number of at least 1 is needed")
    for name, amount in (("passes", passes), ("population", population)):
        if amount is not None and not amount > 0:
            raise BadInput(f"{name}={amount!r}: a number above 0 is needed")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise BadInput(f"seed={seed!r}: a whole number of at least 0 is needed, below 2**63")


def _shares(cost: Cost, inner: int, available: int | None, masks: int, per_image: int | None) -> tuple[int | None, int]:
    """How many images to measure (``None``: all that come) with how many masks each."""
    if inner == 0:  # a network of one unit: none and all is all there is
        return available, 0
    own = per_image or cost.masks_an_image()
    if masks < _LEAST * inner:
        raise BadInput(
            f"masks={masks}: too few for {inner + 2} points; at least {_LEAST * inner} are needed, or fewer points"
        )
    if available is None:
        return None, own
    if per_image is not None and per_image * available < _LEAST * inner:
        raise BadInput(
            f"masks_per_image={per_image}: {available} images with so many masks are too few for {inner + 2} points; "
            "give more images or masks, or fewer points"
        )
    if per_image is None and math.ceil(masks / own) > available:
        own = math.ceil(masks / available)
    return min(available, math.ceil(masks / own)), own


def _bought(cost: Cost, passes: float, per_image: int | None) -> int:
    """How many masks can be measured for a number of passes."""
    return max(1, int(passes / (cost.image / (per_image or cost.masks_an_image()) + cost.mask)))


def _drawn(available: int | None, images: int | None, seed: int) -> Tensor | None:
    """Which of the images to measure, bool, (available,); ``None``: all that come."""
    if available is None or images is None or images >= available:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(available, generator=generator) < images


class _Answers:
    """Collects the answers to images with their masks, batch by batch."""

    def __init__(
        self,
        measured: Measurement,
        rows: Rows,
        masks: Masks,
        chosen: Tensor | None,
        top_k: int,
    ) -> None:
        self.rows, self.masks, self.chosen, self.top_k, self.seen, self.done = rows, masks, chosen, top_k, 0, 0
        self.floor: Tensor | None = None
        if rows.constant:
            rows.start(measured.first[:1])
            self.floor = rows.logits(masks.block(0).clamped[-1:, :1])[0]
        self.answers: list[Tensor] = []
        self.points: list[Tensor] = []
        self.cluster: list[Tensor] = []
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Measures those images of a batch that were drawn, once there are enough to fill a pass."""
        if self.chosen is not None:
            chosen = self.chosen[self.seen : self.seen + len(targets)].nonzero().flatten()
            self.seen += len(targets)
            if not len(chosen):
                return
            at = chosen.to(inputs.device, non_blocking=True)
            inputs, targets = inputs.index_select(0, at), targets.index_select(0, at)
        else:
            self.seen += len(targets)
        if self.rows.together:
            self._batch(inputs, targets)
            return
        if self.waiting and self.waiting[0][0].shape[1:] != inputs.shape[1:]:
            self.finish()
        self.waiting.append((inputs, targets))
        if self.rows.images_at_once is None or sum(len(targets) for _, targets in self.waiting) >= self._wanted():
            self.finish()

    def finish(self) -> None:
        """Measures the images that wait."""
        if not self.waiting:
            return
        inputs, targets = (torch.cat(part) for part in zip(*self.waiting, strict=True))
        self.waiting = []
        while len(targets):
            number = min(self._wanted(), len(targets))
            self._images(inputs[:number], targets[:number])
            inputs, targets = inputs[number:], targets[number:]

    def tensors(self) -> dict[str, Any]:
        """The fields of an `AblationEstimate`."""
        answers = torch.cat(self.answers, dim=1).cpu()
        points = torch.cat(self.points, dim=1).t().contiguous()
        inner = len(self.masks.ablated) - 2
        if len(points) and len(points.unique()) < inner:
            raise BadInput(
                f"points: {points.numel()} masks are too few for {inner + 2} points; give more images or masks, "
                "or fewer points"
            )
        return {
            "intact": answers[0],
            "ablated": answers[-1],
            "right": answers[1:-1].t().contiguous(),
            "points": points,
            "cluster": torch.cat(self.cluster),
        }

    def _wanted(self) -> int:
        """How many images fill a pass, within a block of masks."""
        left = self.masks.size - self.done % self.masks.size
        return min(left, self.rows.images_at_once or left)

    def _images(self, inputs: Tensor, targets: Tensor) -> None:
        """Images with masks of their own."""
        start, images = self.done % self.masks.size, len(targets)
        block = self.masks.block(self.done // self.masks.size)
        own = slice(start, start + images)
        self.cluster.append(torch.arange(self.done, self.done + images))
        self._measure(inputs, targets, block.points[:, own], block.clamped[:, own])

    def _batch(self, inputs: Tensor, targets: Tensor) -> None:
        """A batch whose images have to share their masks."""
        number, place = divmod(len(self.answers), self.masks.size)
        block = self.masks.block(number)
        self.cluster.append(torch.full((len(targets),), len(self.cluster)))
        points = block.points[:, place : place + 1].expand(-1, len(targets))
        self._measure(inputs, targets, points, block.clamped[:, place : place + 1])

    def _measure(self, inputs: Tensor, targets: Tensor, points: Tensor, clamped: Tensor) -> None:
        images = len(targets)
        self.rows.start(inputs)
        if self.floor is not None:
            clamped = clamped[:-1]
        at_once = max(1, (self.rows.images_at_once or images) // images)
        right = [correct(self.rows.logits(some), targets, self.top_k) for some in clamped.split(at_once)]
        if self.floor is not None:
            right.append(correct(self.floor.expand(1, images, -1), targets, self.top_k))
        self.answers.append(torch.cat(right))
        self.points.append(points)
        self.done += images
