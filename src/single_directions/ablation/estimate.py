"""The AUC with its standard error, from masks of their own for each image: far cheaper than a curve.

The AUC is an expectation over images, orderings and points. A curve spends its forward passes on few orderings, the
same for all images. Here each image has a few masks of its own, independent of those of other images. So the same
number of passes gives a smaller error, and the answers themselves tell how large it is.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.nn.functional import pad

from single_directions.ablation.accuracy import correct
from single_directions.ablation.adapting import BatchToXY, Output, as_pairs, with_logits
from single_directions.ablation.estimated import AblationEstimate
from single_directions.ablation.masks import Block, Masks, draw_masks, symmetric
from single_directions.ablation.measurement import (
    MEMORY_BUDGET,
    MIXED,
    Batches,
    Clamp,
    Measurement,
    counted,
    measurement,
)
from single_directions.ablation.orderings import Points, grid
from single_directions.ablation.places import UnitDim
from single_directions.ablation.rows import Rows, choose_rows
from single_directions.ablation.sites import Site, as_written, undisturbed
from single_directions.ablation.strata import by_class, strata_of
from single_directions.ablation.structure import structure
from single_directions.errors import BadInput

DEFAULT_MASKS = 10_000
ROW_METHODS = ("auto", "prefix", "reference")
_LEAST = 4
"""Masks that each point should have at least."""
_ROUNDING = 1.25
"""How many more masks than asked for are measured on all images, rather than as many on nearly all images."""
_OF_PASSES = 0.6
"""Share of the passes up to which further images are taken, about: they lower the error less than the first ones."""
_COMPARED = 8
"""How many images to compare, to see whether the network is still the same."""


def ablation_auc(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None = None,
    masks: int = DEFAULT_MASKS,
    points: Points = None,
    clamp: Clamp = "zero",
    top_k: int = 1,
    seed: int = 0,
    masks_per_image: int | None = None,
    population: float | Tensor | Sequence[int] | None = None,
    method: str = "auto",
    progress: bool = False,
    memory_budget: int = MEMORY_BUDGET,
    batch_to_xy: BatchToXY | None = None,
    output: Output | None = None,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> AblationEstimate:
    """Estimate the area under the ablation curve, with its standard error (section 3.2; Figures 2b and 3).

    An unbiased estimate of the mean over all orderings of what `ablation_curve` measures. Each image is evaluated with
    a few random sets of clamped units, independent of those of other images. Each size of set has its share of the
    area. The network is treated as by `ablation_curve`. The same seed gives the same images and masks.

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
            are needed, some are drawn at random; all are read. A network that cannot be traced takes them batch by
            batch.
        masks: how many pairs of an image and a mask to measure; up to a quarter more if this measures all images. If
            the number of images is not known before they are read, as in a stream, all are measured, with
            `masks_per_image` masks each.
        seed: draws images and masks.
        masks_per_image: ``None``: as many as make the error smallest for what the network costs.
        population: how many images those in `batches` were drawn from at random. Better: how many of each class, int64
            (classes,), as ``torch.bincount(targets)`` of them all; this makes standard errors smaller. ``None``: the
            AUC is about the images in `batches` alone. ``math.inf`` for images in general. If most of a population is
            measured with one or two masks per image, or with points that are not symmetric, the standard error may be
            twice too large or more.
        method: ``"prefix"`` (what lies before the first site is run once per image), ``"reference"`` (whole passes), or
            ``"auto"``, the cheaper one.
        progress: show a bar.

    Returns:
        An `AblationEstimate`: `auc`, `auc_normalized`, `auc_corrected`, `accuracy`, each with its `_se`.

    Raises:
        BadInput: an argument is wrong; raised before anything is measured.
    """
    with _prepared(
        *(network, batches, sites, masks, points, clamp, top_k, seed, masks_per_image, population, method),
        *(memory_budget, batch_to_xy, output, unit_dim),
    ) as prepared:
        estimate = prepared.estimate(progress)
    classes, counts, images = estimate.classes, prepared.class_counts, estimate.images
    wanted = classes is not None and counts is not None and strata_of(counts, images).any()
    if wanted and not by_class(classes, counts, images).of.any():
        raise BadInput("population: batches have hardly any image of some classes; draw them at random from it")
    return estimate


class RepeatedEstimate:
    """`ablation_auc` of one network again and again. Everything that does not depend on the weights is kept.

    The sites, the traced graph, the way to run it and the masks are kept. They are made again if the `structure` of the
    network or the number of images has changed, if a few images get other logits than the graph gives, and always for
    a network that cannot be traced. A change that only other images show, or that adds a site without a change of the
    logits, is not seen.

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> repeated = RepeatedEstimate(network, [(torch.randn(100, 4), torch.randint(3, (100,)))], masks=1000)
    >>> first = repeated()
    >>> for parameter in network[2].parameters():
    ...     _ = parameter.data.mul_(2)
    >>> repeated().change_from(first)["auc"]
    Value(value=0.0, se=0.0)

    Args:
        network, batches, settings: as `ablation_auc`. `batches` are read at each call, so they cannot be an iterator.
    """

    def __init__(self, network: nn.Module, batches: Batches, **settings: Any) -> None:
        if isinstance(batches, Iterator):
            raise BadInput("batches: they are read at each call; give a list or a DataLoader, not an iterator")
        self.output = settings.pop("output", None)
        self.original, self.network = network, with_logits(network, self.output)
        self.batches, self.settings = batches, settings
        self._kept: Prepared | None = None

    def __call__(self) -> AblationEstimate:
        """The estimate with the current weights; errors as `ablation_auc`."""
        if "forward" in vars(self.original):
            self.network = with_logits(self.original, self.output)
        network = as_written(self.network)
        batches = as_pairs(self.batches, self.settings.get("batch_to_xy"))
        with undisturbed(network):
            if self._kept is not None and self._kept.fits(network, batches):
                return self._kept.estimate()
        with _prepared(self.network, self.batches, **self.settings) as self._kept:
            return self._kept.estimate()


@dataclass(frozen=True)
class Prepared:
    """All that an estimate needs and that does not depend on the weights.

    Attributes:
        rows, why: the way to run the network, and why this one.
        ablated: int64, (points,), units clamped.
        masks: draws them.
        chosen: bool, which images to measure; None is all.
        available: how many images there are; None if that is not known.
        population: how many images the AUC is about; None means those in the batches.
        class_counts: int64, (classes,), how many of these each class has, if that was said.
    """

    measured: Measurement
    rows: Rows
    why: str
    ablated: Tensor
    masks: Masks
    chosen: Tensor | None
    available: int | None
    population: float | None
    class_counts: Tensor | None
    seed: int
    clamp: Clamp
    top_k: int
    structure: tuple[Hashable, ...]

    def fits(self, network: nn.Module, batches: Batches) -> bool:
        """Whether the network, in eval mode, has changed in nothing but its weights. It will measure these batches."""
        sited = self.measured.network
        if self.clamp == "mean" or sited.untraced or vars(network) is not vars(sited.network):
            return False
        if structure(sited.network) != self.structure or counted(batches, len(self.measured.first)) != self.available:
            return False
        self.measured.batches = batches
        inputs = self.measured.first
        inputs = inputs[:: max(1, len(inputs) // _COMPARED)]
        self.rows.renew()
        self.rows.start(inputs)
        plain, own = sited.network(inputs), self.rows.plain()
        return plain.shape == own.shape and _alike(plain.double(), own.double())

    def estimate(self, progress: bool = False) -> AblationEstimate:
        """Measure; within `undisturbed`."""
        answers = _Answers(self)
        with self.measured.bar(1, progress) as bar:
            for inputs, targets in self.measured.images():
                answers.add(inputs, targets)
                bar.update(len(targets))
        answers.finish()
        self.rows.release()
        tensors = answers.tensors()
        return AblationEstimate(
            **tensors,
            units_ablated=self.ablated,
            units=self.measured.network.units,
            population=max(answers.seen, self.population or 0),
            seed=self.seed,
            sites=self.measured.network.sites,
            clamp=self.clamp,
            top_k=self.top_k,
            method=self.rows.name,
            why=self.why,
            passes=self.rows.cost.passes(len(tensors["intact"]), self.masks.per_image),
        )


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether logits (images, classes) are the same but for rounding, beside how far classes usually lie apart."""
    apart = (one - one.median(dim=1, keepdim=True).values).abs().median(dim=1, keepdim=True).values
    return bool(((one - other).abs() <= 1e-3 * apart + 1e-5 * one.abs() + 1e-9).all() | torch.equal(one, other))


@contextmanager
def _prepared(
    network: nn.Module,
    batches: Batches,
    sites: Sequence[str] | None = None,
    masks: int = DEFAULT_MASKS,
    points: Points = None,
    clamp: Clamp = "zero",
    top_k: int = 1,
    seed: int = 0,
    masks_per_image: int | None = None,
    population: float | Tensor | Sequence[int] | None = None,
    method: str = "auto",
    memory_budget: int = MEMORY_BUDGET,
    batch_to_xy: BatchToXY | None = None,
    output: Output | None = None,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> Iterator[Prepared]:
    """What `ablation_auc` prepares; within it the network is undisturbed."""
    _check(masks, masks_per_image, seed)
    number, class_counts = _population(population)
    if method not in ROW_METHODS:
        raise BadInput(f"method={method!r}: one of {', '.join(ROW_METHODS)}")
    with measurement(
        network, batches, sites, clamp, top_k, "reference", memory_budget, unit_dim, batch_to_xy, output
    ) as measured:
        units, device = measured.network.units, measured.values.device
        ablated = grid(units, points)
        if ablated[0] != 0 or ablated[-1] != units:
            raise BadInput(f"points: an area needs points from 0 to {units} units: {points}")
        rows, why = _rows(measured, ablated, method, memory_budget)
        available = counted(measured.given, len(measured.first))
        if class_counts is not None:  # the last classes may have no image in it
            class_counts = pad(class_counts, (0, max(0, max(2, measured.network.logits) - len(class_counts))))
        if number is not None and available is not None and number < available:
            raise BadInput(f"population={number}: must be at least the number of images in batches, {available}")
        own = rows.cost.masks_an_image()
        images, per_image = _shares(own, len(ablated) - 2, available, masks, masks_per_image)
        chosen = None if rows.together else _drawn(available, images, seed)  # a batch is answered as a whole
        if rows.together:
            images = _length(measured.given)
            if masks_per_image is None:
                per_image = _shared(images, len(ablated) - 2, per_image)
        drawn = draw_masks(
            *(units, tuple(ablated.tolist()), images, per_image, seed, device), late=rows.late, variants=rows.variants
        )
        if rows.together and images is not None and not drawn.reach(images):
            raise BadInput(
                f"masks_per_image={per_image}: {images} batches with so many masks are too few for {len(ablated)} "
                f"points; all images of a batch share their masks, since {MIXED}; give more masks_per_image, or fewer "
                "points"
            )
        kind = structure(measured.network.network)
        yield Prepared(
            *(measured, rows, why, ablated, drawn, chosen, available, number, class_counts, seed, clamp, top_k, kind)
        )


@dataclass(frozen=True)
class Plan:
    """What an estimate of a network will measure.

    Attributes:
        images, masks_per_image: how many images are measured, and how many masks each gets.
        passes: what that costs, in forward passes of the whole network for one image.
        method, why: how the network will be run, and why so.
        sites: names and unit counts.
        together: whether the images of a batch share their masks, since the output of one depends on the others.
    """

    images: int
    masks_per_image: int
    passes: float
    method: str
    why: str
    sites: tuple[Site, ...]
    together: bool = False


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
    memory_budget: int = MEMORY_BUDGET,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> Plan:
    """What `ablation_auc` would measure of `available` images like `inputs` (images, ...); it measures nothing.

    Instead of `masks`, `passes` forward passes with masks can be given: they buy a mask each, or more where a mask is
    cheaper; `least` and `most` bound these. Passes without a mask are added. Where `most` leaves passes over, more
    images get fewer masks each. The other arguments and the errors are those of `ablation_auc`.
    """
    batch = (inputs, torch.zeros(len(inputs), dtype=torch.int64))
    with measurement(network, [batch], sites, "zero", 1, "reference", memory_budget, unit_dim) as measured:
        ablated = grid(measured.network.units, points)
        rows, why = _rows(measured, ablated, "auto", memory_budget)
        if passes is not None:
            masks = round(min(most, max(least, passes / min(1.0, rows.cost.mask))))
        own = rows.cost.masks_an_image(masks, _OF_PASSES * (passes or 0))
        images, per_image = _shares(own, len(ablated) - 2, available, masks, None)
        assert images is not None
        images = available if rows.together else images
        passes = rows.cost.passes(images, per_image)
        return Plan(images, per_image, passes, rows.name, why, measured.network.sites, rows.together)


def _rows(measured: Measurement, ablated: Tensor, method: str, memory_budget: int) -> tuple[Rows, str]:
    mirrored = symmetric(ablated, measured.network.units)
    return choose_rows(measured.network, measured.values, measured.first, method, memory_budget, mirrored)


def _check(masks: int, masks_per_image: int | None, seed: int) -> None:
    for name, number in (("masks", masks), ("masks_per_image", masks_per_image)):
        if number is not None and (not isinstance(number, Integral) or number < 1):
            raise BadInput(f"{name}={number!r}: a whole number of at least 1 is needed")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise BadInput(f"seed={seed!r}: a whole number of at least 0 is needed, below 2**63")


def _population(given: Any) -> tuple[float | None, Tensor | None]:
    """How many images a population has, and how many of each class, int64 (classes,), if that was said."""
    if given is None or (isinstance(given, int | float) and given > 0):
        return given, None
    try:
        counts = torch.as_tensor(given).cpu()
    except (TypeError, ValueError, RuntimeError):
        counts = torch.empty(0, 0)
    if counts.dim() == 0 and counts > 0:
        return counts.item(), None
    classes = counts.dim() == 1 and not counts.is_floating_point() and not counts.is_complex()
    if not classes or not (counts.long() >= 0).all() or not counts.any():
        raise BadInput(
            f"population={given!r}: a number above 0, or how many images each class has, in whole numbers, as "
            "torch.bincount(targets)"
        )
    return int(counts.sum()), counts.long()


def _shares(best: int, inner: int, available: int | None, masks: int, per_image: int | None) -> tuple[int | None, int]:
    """How many images to measure (``None``: all that come) with how many masks each; `best` if it can be."""
    if inner == 0:  # a network of one unit: none and all is all there is
        return available, 0
    own = per_image or best
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
    images = math.ceil(masks / own)
    return (available if available <= _ROUNDING * images else images), own


def _length(batches: Batches) -> int | None:
    """How many batches there are; ``None`` if that is not known before they are read."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # an iterator, or a DataLoader of a stream
        return None


def _shared(batches: int | None, inner: int, per_image: int) -> int:
    """How many masks an image gets where all images of a batch share them: two for each point, over all batches."""
    return per_image if not batches or not inner else max(per_image, math.ceil(2 * inner / batches))


def _drawn(available: int | None, images: int | None, seed: int) -> Tensor | None:
    """Which of the images to measure, bool, (available,); ``None``: all that come."""
    if available is None or images is None or images >= available:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(available, generator=generator) < images


class _Answers:
    """Collects the answers to images with their masks, batch by batch."""

    def __init__(self, prepared: Prepared) -> None:
        self.rows, self.masks = prepared.rows, prepared.masks
        self.chosen, self.top_k = prepared.chosen, prepared.top_k
        measured, self.population, self.class_counts = prepared.measured, prepared.population, prepared.class_counts
        classes = max(2, measured.network.logits) if self.class_counts is None else len(self.class_counts)
        # How many images of each class there are in the batches, of which some are measured.
        self.read = torch.zeros(classes, dtype=torch.int64, device=measured.values.device)
        self.seen = self.done = 0
        self.floors: dict[Size, Tensor] = {}  # the answer with all units clamped, for each shape of images
        self.answers: list[Tensor] = []
        self.points: list[Tensor] = []
        self.cluster: list[Tensor] = []
        self.classes: list[Tensor] = []
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Measures those images of a batch that were drawn, once there are enough to fill a pass."""
        self.read.index_add_(0, targets, torch.ones_like(targets))
        if self.chosen is not None:
            chosen = self.chosen[self.seen : self.seen + len(targets)].nonzero().flatten()
            self.seen += len(targets)
            if self.seen > len(self.chosen):
                raise BadInput(
                    f"batches: they hold more than the {len(self.chosen)} images that their sampler counts, of which "
                    "some were drawn; give a list of them, or a DataLoader of which each draw is one image"
                )
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
            shared = f", since a batch shares its masks, because {MIXED}" if self.rows.together else ""
            raise BadInput(
                f"points: {points.numel()} masks are too few for {inner + 2} points{shared}; give more images or "
                "masks, or fewer points"
            )
        return {
            "intact": answers[0].bool(),
            "ablated": answers[-1].bool(),
            "right": answers[1:-1].t().contiguous(),
            "points": points,
            "cluster": torch.cat(self.cluster),
            "classes": None if self.rows.together else torch.cat(self.classes).cpu(),
            "class_counts": self._known_counts(),
        }

    def _known_counts(self) -> Tensor | None:
        """How many images of each class the population has."""
        counts, read = self.class_counts, self.read.cpu()
        if counts is None:
            return read if (self.population or 0) <= self.seen else None
        for one in (read > counts).nonzero().flatten().tolist():
            raise BadInput(
                f"population: class {one} has {counts[one]} images in it, but {read[one]} in batches; give "
                "torch.bincount(targets) of all images that these were drawn from"
            )
        return counts

    def _wanted(self) -> int:
        """How many images fill a pass, within a block of masks."""
        left = self.masks.size - self.done % self.masks.size
        return min(left, max(1, (self.rows.images_at_once or left) // (1 + self.rows.mirrored)))

    def _images(self, inputs: Tensor, targets: Tensor) -> None:
        """Images with masks of their own."""
        start = self.done % self.masks.size
        own = slice(start, start + len(targets))
        points, early, late = self.masks.block(self.done // self.masks.size)
        self.cluster.append(torch.arange(self.done, self.done + len(targets)))
        self._measure(inputs, targets, Block(points[:, own], early[:, own], late[:, :, own]))

    def _batch(self, inputs: Tensor, targets: Tensor) -> None:
        """A batch whose images have to share their masks."""
        number, place = divmod(len(self.answers), self.masks.size)
        points, early, late = self.masks.block(number)
        self.cluster.append(torch.full((len(targets),), len(self.cluster)))
        own = slice(place, place + 1)
        self._measure(inputs, targets, Block(points[:, own].expand(-1, len(targets)), early[:, own], late[:, :, own]))

    def _floor(self, inputs: Tensor) -> Tensor:
        """(1, 1, 1, classes), the answer to each image of this shape with all units clamped."""
        shape = inputs.shape[1:]
        if shape not in self.floors:
            self.rows.start(inputs[:1].expand(2, *shape).contiguous())
            self.floors[shape] = self.rows.logits(*self.masks.everything(2))[:, :, :1]
        return self.floors[shape]

    def _measure(self, inputs: Tensor, targets: Tensor, masks: Block) -> None:
        _, early, late = masks
        if len(targets) == 1 and not self.rows.together:  # a network need not take one image alone, as with `squeeze`
            inputs, early, late = torch.cat([inputs] * 2), early.expand(-1, 2, -1), late.expand(-1, -1, 2, -1)
        floor = self._floor(inputs) if self.rows.constant else None
        self.rows.start(inputs)
        least = 1 + self.rows.mirrored
        at_once = max(1, (self.rows.images_at_once or len(inputs)) // (least * len(inputs))) * least
        logits = [self.rows.plain()[None, None]]
        if len(early):  # a network of one unit has nothing to draw
            logits += map(self.rows.logits, early.split(at_once), late.split(at_once))
        logits.append(self.rows.logits(*self.masks.everything(early.shape[1])) if floor is None else floor)
        logits = [one[:, :, : len(targets)].expand(-1, -1, len(targets), -1) for one in logits]
        self.classes.append(targets)
        self.answers.append(torch.cat([correct(one, targets, self.top_k).float().mean(1) for one in logits]))
        self.points.append(masks.points)
        self.done += len(targets)
