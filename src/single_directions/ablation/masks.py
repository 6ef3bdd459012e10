"""Independent random masks: for each image a few sets of units of its own, spread evenly over the points of a curve."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_KEYS = 2**22
"""Random numbers that are drawn at once."""
_KEPT = 2**26
"""Bytes of masks that are kept for the next call: a training asks for the same masks after every epoch."""


def weights(ablated: Tensor, units: int) -> Tensor:
    """How much accuracy at each point counts in the trapezoid area, float64, (points,); the sum is 1."""
    steps = (ablated.double() / units).diff()
    nothing = steps.new_zeros(1)
    return (torch.cat([steps, nothing]) + torch.cat([nothing, steps])) / 2


class Block(NamedTuple):
    """Masks of some images.

    Attributes:
        points: int64, (masks, images), on the CPU.
        clamped: bool, (masks + 2, images, units): nothing clamped, the masks, everything clamped.
    """

    points: Tensor
    clamped: Tensor


class Masks:
    """Which units are clamped for each image: `per_image` masks, independent of those of other images.

    The points between none and all are given out in proportion to their weights in the area, in strata: the masks of
    one image lie in different parts of the curve, and each part is spread evenly over the images of a block. At a point
    with k units each set of k units is equally likely.

    Attributes:
        size: images in a block, but for the last one.
    """

    def __init__(
        self, units: int, ablated: tuple[int, ...], images: int | None, per_image: int, seed: int, device: torch.device
    ) -> None:
        self.units, self.seed, self.device, self.per_image = units, seed, device, per_image
        self.ablated = torch.tensor(ablated)
        shares = weights(self.ablated, units)[1:-1].cumsum(0)
        self.edges = shares[:-1] / shares[-1:]
        largest = max(1, min(256, _KEYS // max(1, units * per_image)))
        self.size = min(largest, images or largest)
        self._kept: dict[int, Block] = {}

    def block(self, number: int) -> Block:
        """The masks of the images from ``number * size`` on, the same at every call."""
        block = self._kept.get(number)
        if block is None:
            block = self._drawn(number)
            if (number + 1) * block.clamped.numel() <= _KEPT:
                self._kept[number] = block
        return block

    def _drawn(self, number: int) -> Block:
        generator = torch.Generator().manual_seed(self._seed(number, 0))
        shape = (self.per_image, self.size)
        order = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(-1)
        within = (order + torch.rand(shape, generator=generator, dtype=torch.float64)) / self.size
        position = (torch.arange(self.per_image)[:, None] + within) / max(1, self.per_image)
        points = 1 + torch.searchsorted(self.edges, position, right=True)
        generator = torch.Generator(self.device).manual_seed(self._seed(number, 1))
        keys = torch.rand(*shape, self.units, generator=generator, device=self.device, dtype=torch.float64)
        # The k units with the smallest keys. NumPy sorts rows of numbers many times faster than torch on a CPU.
        by_size = torch.from_numpy(np.sort(keys.numpy())) if self.device.type == "cpu" else keys.sort(-1).values
        last = by_size.gather(-1, (self.ablated[points] - 1).unsqueeze(-1).to(self.device))
        clamped = torch.empty(self.per_image + 2, *keys.shape[1:], dtype=torch.bool, device=self.device)
        clamped[0], clamped[-1] = False, True
        torch.le(keys, last, out=clamped[1:-1])
        return Block(points, clamped)

    def _seed(self, *key: int) -> int:
        return int(np.random.SeedSequence([self.seed, *key]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@lru_cache(maxsize=4)
def draw_masks(
    units: int, ablated: tuple[int, ...], images: int | None, per_image: int, seed: int, device: torch.device
) -> Masks:
    """`Masks`; those of the last calls are kept."""
    return Masks(units, ablated, images, per_image, seed, device)
