"""Random masks: each image has a few sets of units of its own, independent of other images', spread over the points."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_KEYS = 2**22
"""Random numbers that are drawn at once."""
_CUT = 10
"""Masks that are cut from one circular ordering. More would be ever more alike: at 100 the error is twice as large."""
_KEPT = 2**26
"""Bytes of masks that are kept for the next call: a training asks for the same masks after every epoch."""


def weights(ablated: Tensor, units: int) -> Tensor:
    """How much accuracy at each point counts in the trapezoid area, float64, (points,); the sum is 1."""
    steps = (ablated.double() / units).diff()
    nothing = steps.new_zeros(1)
    return (torch.cat([steps, nothing]) + torch.cat([nothing, steps])) / 2


def symmetric(ablated: Tensor, units: int) -> bool:
    """Whether there is a point with `units` - k units for each one with k."""
    return torch.equal(ablated + ablated.flip(0), torch.full_like(ablated, units))


def paired(masks: Tensor, mirrors: Tensor, number: int) -> Tensor:
    """Mask, mirror, mask, mirror, ..., the first `number` of them."""
    return torch.stack([masks, mirrors], dim=1).flatten(0, 1)[:number]


class Block(NamedTuple):
    """Masks of some images.

    Attributes:
        points: int64, (masks, images), on the CPU.
        early: bool, (masks, images, units - late).
        late: bool, (masks, variants, images, late).
    """

    points: Tensor
    early: Tensor
    late: Tensor


class Masks:
    """Which units are clamped for each image: `per_image` masks, independent of those of other images.

    The points between none and all are given out in proportion to their weights in the area, in strata: the masks of
    one image lie in different parts of the curve, and each part is spread evenly over the images of a block. At a point
    with k units each set of k units is equally likely.

    A variant of a mask clamps a different set of the last `late` units, of the same size. In each variant, too, each
    set of k units is equally likely.

    If the points are symmetric, masks are *mirrored*: each second mask of an image clamps the units that the one before
    it leaves, but for its variants. What a layer gives for the one then follows from what it gives for the other. The
    pairs of an image are independent of each other, but for their points.

    Attributes:
        size: images in a block, but for the last one.
    """

    def __init__(
        self,
        units: int,
        ablated: tuple[int, ...],
        images: int | None,
        per_image: int,
        seed: int,
        device: torch.device,
        late: int = 0,
        variants: int = 1,
    ) -> None:
        self.units, self.seed, self.device, self.per_image = units, seed, device, per_image
        self.late, self.variants = late, variants
        self.ablated = torch.tensor(ablated)
        self.mirrored = symmetric(self.ablated, units)
        shares = weights(self.ablated, units)[1:-1].cumsum(0)
        self.edges = shares[:-1] / shares[-1:]
        largest = max(1, min(256, _KEYS // max(1, (units + variants * late) * per_image)))
        self.size = min(largest, images or largest)
        self._kept: dict[int, Block] = {}

    def block(self, number: int) -> Block:
        """The masks of the images from ``number * size`` on, the same at every call."""
        block = self._kept.get(number)
        if block is None:
            block = self._drawn(number)
            if (number + 1) * (block.early.numel() + block.late.numel()) <= _KEPT:
                self._kept[number] = block
        return block

    def everything(self, images: int) -> tuple[Tensor, Tensor]:
        """Masks of some images that clamp everything, in the form of a block's `early` and `late`."""
        one = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)
        return one[0].expand(1, images, self.units - self.late), one.expand(1, 1, images, self.late)

    def reach(self, images: int) -> bool:
        """Whether so many images have masks at every point."""
        blocks = range(math.ceil(images / self.size))
        points = torch.cat([self._points(number) for number in blocks], dim=1)[:, :images]
        return len(points.unique()) == len(self.ablated) - 2

    def _points(self, number: int) -> Tensor:
        """`Block.points`."""
        generator = torch.Generator().manual_seed(self._seed(number, 0))
        drawn = math.ceil(self.per_image / 2) if self.mirrored else self.per_image
        shape = (drawn, self.size)
        order = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(-1)
        within = (order + torch.rand(shape, generator=generator, dtype=torch.float64)) / self.size
        position = (torch.arange(drawn)[:, None] + within) / max(1, self.per_image)
        points = 1 + torch.searchsorted(self.edges, position, right=True)
        return paired(points, len(self.ablated) - 1 - points, self.per_image) if self.mirrored else points

    def _drawn(self, number: int) -> Block:
        points = self._points(number)
        drawn = points[::2] if self.mirrored else points
        generator = torch.Generator(self.device).manual_seed(self._seed(number, 1))
        sizes = self.ablated[drawn][:, None, :, None].to(self.device)
        # Several pairs of mirrors from one ordering would be alike: units that are neighbours there are rarely parted.
        orderings = len(drawn) if self.mirrored else math.ceil(self.per_image / _CUT)
        whole = self._parts(sizes, self.units, orderings, generator)
        if self.mirrored:
            whole = paired(whole, ~whole, self.per_image)
        early, late = whole.split([self.units - self.late, self.late], dim=-1)
        if self.variants > 1:
            sizes = late.sum(-1, keepdim=True).expand(-1, self.variants, -1, -1)
            late = self._parts(sizes, self.late, math.ceil(self.per_image / _CUT), generator)
        return Block(points, early.squeeze(1).contiguous(), late.contiguous())

    def _parts(self, sizes: Tensor, units: int, orderings: int, generator: torch.Generator) -> Tensor:
        """Sets of units, (masks, variants, images, units), of such sizes (masks, variants, images, 1).

        Each image has so many random circular orderings. Sets from one ordering are parts of it, each of which starts
        where the one before ended. So they clamp each unit about equally often, which makes the error smaller than if
        they were independent.
        """
        parts = torch.empty(*sizes.shape[:-1], units, dtype=torch.bool, device=self.device)
        for one in range(orderings):
            own = sizes[one::orderings].flatten(0, 1)  # from all of the curve, neighbours from different orderings
            keys = torch.rand(1, self.size, units, generator=generator, dtype=torch.float32, device=self.device)
            # NumPy sorts rows of numbers several times faster than torch on a CPU.
            order = torch.from_numpy(np.argsort(keys.numpy())) if self.device.type == "cpu" else keys.argsort(-1)
            starts = own.cumsum(0) - own
            parts[one::orderings] = ((order - starts) % units < own).view_as(parts[one::orderings])
        return parts

    def _seed(self, *key: int) -> int:
        return int(np.random.SeedSequence([self.seed, *key]).generate_state(1, np.uint64)[0] >> np.uint64(1))


draw_masks = lru_cache(maxsize=4)(Masks)
"""`Masks`; those of the last calls are kept."""
