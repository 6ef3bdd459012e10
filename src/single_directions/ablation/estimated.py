"""An AUC with its standard error, computed from the answers to masks that are independent between images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from single_directions.ablation.masks import symmetric, weights
from single_directions.ablation.measurement import Clamp
from single_directions.ablation.sites import Site
from single_directions.ablation.strata import Strata, by_class
from single_directions.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

_ROUNDING = 1e-9
"""Accuracies that differ by less are the same."""
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
        right: float32, (images, masks), whether it is with each of its masks: the share of the mask's variants.
        points: int64, (images, masks), the point of each mask.
        cluster: int64, (images,). Images with the same number share their masks. Usually each image has its own.
        units_ablated: int64, (points,), how many units are clamped.
        units: of all sites together.
        population: how many images the AUC is about. Those measured were drawn from them. If all of them were measured,
            the standard error is that of the masks alone; otherwise it includes which images were drawn.
        classes: int64, (images,), the class of each image; None if images share masks.
        class_counts: int64, (classes,), how many images of the population each class has; None if that is not known.
            If it is, each class counts as in the population, which makes the standard errors smaller.
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
    classes: Tensor | None = None
    class_counts: Tensor | None = None
    seed: int = 0
    sites: tuple[Site, ...] = ()
    clamp: Clamp = "zero"
    top_k: int = 1
    method: str = ""
    why: str = ""
    passes: float = math.nan

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
        ends = [(self._strata.weights * answers).mean()[None] for answers in (self.intact, self.ablated)]
        return torch.cat([ends[0], inner, ends[1]]).clamp(0, 1)  # a sum of weights may be rounded to more

    @property
    def curve_se(self) -> Tensor:
        """float64, (points,), the standard error of `curve`."""
        points = range(len(self.units_ablated))
        return torch.tensor([self._error(self._at(point)) for point in points], dtype=torch.float64)

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

        The standard error is that of paired differences: most of what the two have in common falls out. Classes count
        in both as they do in this estimate.

        Raises:
            BadInput: the two were not measured on the same pairs.
        """

        def asked(one: AblationEstimate) -> tuple[object, ...]:
            return one.seed, one.units, one.images, one.clamp, one.top_k, one.sites, one.units_ablated.tolist()

        if asked(self) != asked(earlier) or not torch.equal(self.points, earlier.points):
            raise BadInput(
                "change_from: the other estimate has other images, sites, points or masks; measure both with the same "
                "settings and seed"
            )
        earlier = replace(earlier, classes=self.classes, class_counts=self.class_counts)
        changes = {name: self._numbers[name] - earlier._numbers[name] for name in NAMES}
        return {name: Value(change.value, self._error(change)) for name, change in changes.items()}

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
        names = ["intact", "ablated", "right", "points", *["classes"] * (first.classes is not None)]
        together: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        if any(part.class_counts is None for part in parts):
            together["class_counts"] = None
        passes = sum(part.passes for part in parts)
        return replace(first, **together, cluster=torch.cat(clusters), passes=passes)

    @cached_property
    def _strata(self) -> Strata:
        return by_class(self.classes, self.class_counts, self.images)

    @cached_property
    def _counts(self) -> Tensor:
        """The weights of the masks at each point between the ends, float64, (points - 2,)."""
        return self._sums(torch.ones_like(self.right, dtype=torch.float64))

    def _sums(self, values: Tensor) -> Tensor:
        """Weighted sums of values (images, masks) at each point between the ends."""
        sums = torch.zeros(len(self.units_ablated), dtype=torch.float64)
        return sums.index_add_(0, self.points.flatten(), (self._strata.weights[:, None] * values).flatten())[1:-1]

    @cached_property
    def _values(self) -> dict[str, Value]:
        return {name: Value(number.value, self._error(number)) for name, number in self._numbers.items()}

    @cached_property
    def _numbers(self) -> dict[str, _Number]:
        """By `NAMES`."""
        share = weights(self.units_ablated, self.units)
        accuracy, floor = self._at(0), self._at(-1)
        auc = accuracy * float(share[0]) + floor * float(share[-1])
        if self.right.numel():
            auc += _Number(0.0, torch.zeros_like(accuracy.image), share[self.points] * self._residuals)
        auc = auc._replace(value=float(share @ self.curve))
        return dict(zip(NAMES, (auc, auc / accuracy, (auc - floor) / (accuracy - floor), accuracy), strict=True))

    def _at(self, point: int) -> _Number:
        """The accuracy at one point."""
        value, none = float(self.curve[point]), torch.zeros_like(self.right, dtype=torch.float64)
        if point % len(self.units_ablated) in (0, len(self.units_ablated) - 1):
            right = (self.intact if point == 0 else self.ablated).double()
            return _Number(value, self._strata.weights * (right - self.curve[point]) / len(right), none)
        return _Number(value, none.sum(1), torch.where(self.points == point, self._residuals, none))

    @cached_property
    def _residuals(self) -> Tensor:
        """What each answer differs by from the mean at its point, over the masks there, float64, (images, masks)."""
        counts = self._counts[self.points - 1]
        drawn = counts * ((int(self.cluster.max()) + 1) / self.images)  # masks, of which some are shared
        exact = (drawn / (drawn - 1).clamp_min(1)).sqrt()  # the mean was fitted to these answers
        return self._strata.weights[:, None] * (self.right.double() - self.curve[self.points]) / counts * exact

    def _error(self, number: _Number) -> float:
        """The standard error of a number.

        Of n images drawn from N, with f = n / N: (1 - f) times the variance between images, those of a class if classes
        are known, plus f times the variance between the masks of an image (Cochran, Sampling Techniques, 10.3). Squared
        differences between the masks of an image estimate the latter. A mask and its mirror vary together, so there the
        differences are those of pairs. One mask or pair an image gives no differences, so there the variance between
        images counts instead.
        """
        clusters = int(self.cluster.max()) + 1
        masks = number.mask
        if symmetric(self.units_ablated, self.units):  # each second mask mirrors the one before
            pairs = math.ceil(masks.shape[1] / 2)
            masks = pad(masks, (0, masks.shape[1] % 2)).unflatten(1, (pairs, 2)).sum(-1)

        def spread(totals: Tensor) -> float:
            if clusters == self.images:
                return self._strata.spread(totals)
            sums = totals.new_zeros(clusters).index_add_(0, self.cluster, totals)
            return float(sums.square().sum()) * clusters / max(1, clusters - 1)

        total = number.image + number.mask.sum(1)
        if masks.shape[1] < 2:  # masks cannot be told from images
            within = spread(masks.sum(1))
        else:  # images of a cluster have the same masks, so their influences add up
            shared = masks.new_zeros(clusters, masks.shape[1]).index_add_(0, self.cluster, masks)
            within = float((shared - shared.roll(1, dims=1)).square().sum()) / 2
        if clusters > 1:
            between = spread(total)
        else:  # one batch alone: its images vary as if independent, and their masks vary together
            between = float(total.square().sum()) * self.images / max(1, self.images - 1) + within
        fraction = self.images / self.population
        return math.sqrt((1 - fraction) * between + fraction * within)


class _Number(NamedTuple):
    """A number, and what each image, (images,), and each of its masks, (images, masks), adds to its error.

    All float64; the error is that to first order.
    """

    value: float
    image: Tensor
    mask: Tensor

    def __add__(self, other: _Number) -> _Number:  # type: ignore[override]
        return _Number(self.value + other.value, self.image + other.image, self.mask + other.mask)

    def __sub__(self, other: _Number) -> _Number:
        return self + other * -1.0

    def __mul__(self, factor: float) -> _Number:  # type: ignore[override]
        return _Number(self.value * factor, self.image * factor, self.mask * factor)

    def __truediv__(self, other: _Number) -> _Number:
        """NaN where the other is 0."""
        if other.value <= _ROUNDING:
            return self * math.nan
        ratio = self.value / other.value
        return ((self - other * ratio) * (1 / other.value))._replace(value=ratio)
