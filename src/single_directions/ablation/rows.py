"""Logits of images that each have a mask of their own, and what they cost."""

import math
import warnings
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from single_directions.ablation.cost import operations
from single_directions.ablation.dataflow import Dataflow, images_at_once
from single_directions.ablation.measurement import MIXED
from single_directions.ablation.prefix import Prefix
from single_directions.ablation.sites import SitedNetwork

_WORTH_CACHING = 0.05
"""Share of a forward pass before the first site from which on it pays to keep its result for several masks."""
_MASKS_TO_IMAGES = 10.0
"""Variance of one answer over masks, by that of an image's mean answer over images. On trained networks 4 (MLP, MNIST)
to 100 (ConvNet, CIFAR-10) was seen. It decides how many masks an image gets, not what is found."""
_MOST_MASKS_AN_IMAGE = 32


class Rows(Protocol):
    """A way to run a network on images with a mask each. All give the same, at different cost."""

    name: str
    images_at_once: int | None
    """Rows (images times masks) in one forward pass; ``None``: as many images as there are in a batch."""
    together: bool
    """All images of a batch share one mask, since the output of one depends on the others."""
    constant: bool
    """With all units clamped all images are known to be answered alike."""
    cost: "Cost"

    def start(self, inputs: Tensor) -> None:
        """Take the images (images, ...) that the next calls measure on."""

    def logits(self, masks: Tensor) -> Tensor:
        """(masks, images, classes) for masks (masks, images, units), bool."""


@dataclass(frozen=True)
class Cost:
    """What measuring costs, in forward passes of the whole network.

    Attributes:
        image: of each image once: what lies before the first site, and the passes without a mask and with all units
            clamped.
        mask: of each further mask.
    """

    image: float
    mask: float

    def masks_an_image(self) -> int:
        """How many masks an image make the standard error smallest for a given cost."""
        return max(1, min(_MOST_MASKS_AN_IMAGE, round(math.sqrt(_MASKS_TO_IMAGES * self.image / self.mask))))

    def passes(self, images: int, per_image: int) -> float:
        """The cost of a measurement."""
        return images * (self.image + per_image * self.mask)


class WholePasses:
    """A forward pass of the whole network for each image and mask. Takes any network, traced or not."""

    name = "reference"

    def __init__(
        self,
        network: SitedNetwork,
        values: Tensor,
        constant: bool,
        together: bool,
        cost: Cost,
        images_at_once: int | None = None,
    ) -> None:
        self.network, self.values, self.constant, self.together = network, values, constant, together
        self.cost, self.images_at_once = cost, images_at_once

    def start(self, inputs: Tensor) -> None:
        """As `Rows.start`."""
        self.inputs = inputs

    def logits(self, masks: Tensor) -> Tensor:
        """As `Rows.logits`."""
        if self.together:  # a batch with a mask is a batch
            return torch.stack([self.network.clamped(self.inputs, mask[0], self.values) for mask in masks])
        rows = self.inputs.repeat(len(masks), *[1] * (self.inputs.dim() - 1))
        return self.network.clamped(rows, masks.flatten(0, 1), self.values).unflatten(0, masks.shape[:2])


class CachedPrefix:
    """What lies before the first site once an image, the rest for each mask. For traced networks."""

    name = "prefix"
    together = False

    def __init__(self, prefix: Prefix, constant: bool, cost: Cost) -> None:
        self.prefix, self.constant, self.cost = prefix, constant, cost
        self.images_at_once = prefix.images_at_once

    def start(self, inputs: Tensor) -> None:
        """As `Rows.start`."""
        self.prefix.start(inputs)

    def logits(self, masks: Tensor) -> Tensor:
        """As `Rows.logits`."""
        return self.prefix.logits(masks)


def choose_rows(
    network: SitedNetwork, values: Tensor, inputs: Tensor, method: str, memory_budget: int, together: bool
) -> tuple[Rows, str]:
    """The cheapest way by arithmetic, or the one asked for where it can be had, and why.

    Args:
        together: whether an image's output depends on the other images of its batch.
    """
    obstacle = MIXED if together else network.untraced and f"the network cannot be traced: {network.untraced}"
    if obstacle:
        if method not in ("auto", "reference"):
            warnings.warn(f"method={method!r} falls back to reference, since {obstacle}", stacklevel=3)
        why = "as asked" if method == "reference" else f"since {obstacle}"
        return WholePasses(network, values, False, together, Cost(image=2.0, mask=1.0)), why
    flow = Dataflow(network)
    constant, each = is_cut(flow), operations(flow, inputs[:1])
    ends, whole = 1 if constant else 2, sum(each.values())
    share = sum(each[node] for node in flow.fixed) / whole
    # Of each site: the mask is spread over its output, both are read, and the result is written.
    clamps = 3 * sum(each[node] for node in flow.site_of if node in each) / whole
    why = "as asked"
    if method != "reference":
        prefix = Prefix(network, values, inputs, memory_budget)
        why = f"since {share:.0%} of a forward pass lies before the first site"
        if prefix.stackable and (method == "prefix" or share >= _WORTH_CACHING):
            mask = 1 - share + clamps
            return CachedPrefix(prefix, constant, Cost(image=share + ends * mask, mask=mask)), why
        if not prefix.stackable:
            why = "since what lies before the first site has no row for each image"
            if method == "prefix":
                warnings.warn(f"method='prefix' falls back to reference, {why}", stacklevel=3)
    example = flow.run(flow.needed, inputs[:2], keep=flow.needed)
    at_once = images_at_once(example.values(), 1, inputs.device, memory_budget)
    cost = Cost(image=ends * (1 + clamps), mask=1 + clamps)
    return WholePasses(network, values, constant, together, cost, at_once), why


def is_cut(flow: Dataflow) -> bool:
    """Whether every way from the inputs to the logits leads through a site: all clamped, all images answer alike."""
    found, waiting = {flow.output}, [flow.output]
    while waiting:
        node = waiting.pop()
        if node in flow.site_of:
            continue
        if node.op == "placeholder":
            return False
        waiting += set(node.all_input_nodes) - found
        found.update(node.all_input_nodes)
    return True
