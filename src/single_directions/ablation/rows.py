"""Logits of images that each have masks of their own, and what they cost."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from single_directions.ablation.cost import OPERATIONS_A_BYTE, operations
from single_directions.ablation.dataflow import Dataflow, ancestors
from single_directions.ablation.masks import paired
from single_directions.ablation.measurement import MIXED
from single_directions.ablation.operations import NARROW, Flatten, Linear, PerChannel, dense
from single_directions.ablation.select import select
from single_directions.ablation.sites import SitedNetwork

_MASKS_TO_IMAGES = 10.0
"""Ratio of two variances: of one image's answers over masks, and of the mean answers over images. On trained networks 4
(MLP, MNIST) to 100 (ConvNet, CIFAR-10) was seen. It decides how many masks an image gets, not what is found."""
_MOST_MASKS_AN_IMAGE = 32
_MOST_VARIANTS = 8
_CHEAP = 0.1
"""What a variant costs at most, by what a mask costs. With a late part of half of a ResNet-18 errors grew."""
_LATE = 2
"""So many early units have the same part in the variance over masks as a late one. A last site with half of the units
had 0.66 to 0.69 of that variance (MLP), one with a third of them 0.48 to 0.57 (ConvNet)."""
_LARGE = 1e5
"""Sums of two outputs from this size on are too inexact to tell one output from the other: float32 errs by 0.004."""


@dataclass(frozen=True)
class Cost:
    """What measuring costs, in forward passes of the whole network.

    Attributes:
        image: of each image once: what lies before the first site, and the passes without a mask and with all units
            clamped.
        mask: of each further mask, with its variants.
        masks_to_images: variance of the answer to a mask over masks, by that of an image's mean answer over images.
    """

    image: float
    mask: float
    masks_to_images: float = _MASKS_TO_IMAGES

    def masks_an_image(self, masks: int = 1, passes: float = 0) -> int:
        """How many masks an image make the standard error smallest for a given cost.

        Fewer, as long as `masks` of them, on correspondingly more images, cost at most `passes`.
        """
        own = max(1, min(_MOST_MASKS_AN_IMAGE, round(math.sqrt(self.masks_to_images * self.image / self.mask))))
        while own > 1 and self.passes(math.ceil(masks / (own - 1)), own - 1) <= passes:
            own -= 1
        return own

    def passes(self, images: int, per_image: int) -> float:
        """The cost of a measurement."""
        return images * (self.image + per_image * self.mask)


@dataclass(frozen=True)
class Split:
    """Which sites are late ones, those from number `early_sites` on, and what follows.

    Attributes:
        variants: of each mask, which differ in the late sites.
        late_cost: of each variant.
        error: variance of the answer to a mask, averaged over its variants, times what it costs.
        mirrors: of each layer whose output for a mask follows from that for its mirror, the nodes behind the site up to
            the layer. Empty if masks are not mirrored.
    """

    early_sites: int
    variants: int
    late_cost: float
    cost: Cost
    error: float
    why: str
    mirrors: dict[fx.Node, list[fx.Node]]


class Rows(Protocol):
    """A way to run a network on images with masks of their own. All give the same, at different cost."""

    name: str
    images_at_once: int | None
    """Rows (images times masks) in one forward pass; ``None``: as many images as there are in a batch."""
    together: bool
    """All images of a batch share one mask, since the output of one depends on the others."""
    constant: bool
    """With all units clamped all images are known to be answered alike."""
    cost: Cost
    late: int
    """How many units, the last ones, a mask clamps in several variants."""
    variants: int
    """How many variants."""
    mirrored: bool
    """Several masks in one call have to be mirrored: in pairs, the second of which clamps what the first does not."""

    def renew(self) -> None:
        """Take in what the network has learned since the last call."""

    def start(self, inputs: Tensor) -> None:
        """Take the images (images, ...) that the next calls measure on."""

    def release(self) -> None:
        """Let go of the images taken last, and of what was computed of them."""

    def plain(self) -> Tensor:
        """Logits (images, classes) with nothing clamped."""

    def logits(self, early: Tensor, late: Tensor) -> Tensor:
        """(masks, variants, images, classes).

        Args:
            early: bool, (masks, images, units - late).
            late: bool, (masks, variants, images, late).
        """


class WholePasses:
    """A forward pass of the whole network for each image and mask. Takes any network, traced or not."""

    name = "reference"
    late, variants, constant, mirrored = 0, 1, False, False
    images_at_once: int | None = None

    def __init__(self, network: SitedNetwork, values: Tensor) -> None:
        self.network, self.values, self.together = network, values, network.mixes
        self.cost = Cost(image=2.0, mask=1.0)

    def renew(self) -> None:
        """As `Rows.renew`."""

    def start(self, inputs: Tensor) -> None:
        """As `Rows.start`."""
        self.inputs = inputs

    def release(self) -> None:
        """As `Rows.release`."""
        self.inputs = torch.empty(0)

    def plain(self) -> Tensor:
        """As `Rows.plain`."""
        return self.network.clamped(self.inputs, torch.zeros_like(self.values, dtype=torch.bool), self.values)

    def logits(self, early: Tensor, late: Tensor) -> Tensor:
        """As `Rows.logits`."""
        masks = torch.cat([early.unsqueeze(1).expand(-1, late.shape[1], -1, -1), late], dim=-1).flatten(0, 1)
        if self.together:  # a batch with a mask is a batch
            logits = torch.stack([self.network.clamped(self.inputs, mask[0], self.values) for mask in masks])
        else:
            rows = self.inputs.repeat(len(masks), *[1] * (self.inputs.dim() - 1))
            logits = self.network.clamped(rows, masks.flatten(0, 1), self.values).unflatten(0, masks.shape[:2])
        return logits.unflatten(0, late.shape[:2])


class Stages:
    """A traced network in three stages: once an image, once a mask, once a variant of a mask.

    A node runs in the first stage that it can: in the first if no clamp changes what it reads, in the second if no
    clamp of a late site does, else in the third. Batch norm that follows a layer is folded into it.

    A layer L that reads one clamped site x is run for one mask of a pair that mirrors each other: L(x with one mask) +
    L(x with the other) = L(x) + L(all of x clamped), and the right side is the same for all masks of an image. But an
    activation that is infinite, NaN or huge spoils this sum, also for the masks that clamp it. Then L runs for all.
    """

    name = "prefix"
    together = False

    def __init__(
        self, network: SitedNetwork, flow: Dataflow, values: Tensor, inputs: Tensor, split: Split, memory_budget: int
    ) -> None:
        self.network, self.flow, self.split, self.zero = network, flow, split, not values.any()
        self.places, self.values = network.sites, network.split(values)
        self.sizes = [site.units for site in network.sites]
        self.late, self.variants, self.cost = sum(self.sizes[split.early_sites :]), split.variants, split.cost
        self.constant, self.mirrored = is_cut(flow), bool(split.mirrors)
        self.linked = {node for path in split.mirrors.values() for node in (path[0].all_input_nodes[0], *path)}
        self.stage, self.seen = stages(flow, split.early_sites)
        self.border = [
            node
            for node in flow.needed
            if node in flow.site_of
            or node is flow.output
            or any(self.stage.get(user, 0) > self.seen[node] for user in node.users)
        ]
        self.fixed_nodes = [node for node in self.border if self.stage[node] == 0]
        # What depends on the images must have a row for each; a parameter is shared.
        self.rows = {node for node in self.border if any(n.op == "placeholder" for n in ancestors([node]))}
        self.stackable = flow.one_row_an_image(self.rows, inputs)
        portions = [
            flow.images_at_once([n for n in flow.needed if self.stage[n] == stage], inputs.device, memory_budget)
            for stage in range(3)
        ]
        self.images_at_once: int | None = max(1, min(portions[1], portions[2] // self.variants))
        self.fixed_at_once = portions[0]
        self.renew()

    def renew(self) -> None:
        """As `Rows.renew`: batch norms are folded anew."""
        flow = Dataflow(self.network)
        layers = ((node, layer) for node, layer in flow.operations.items() if isinstance(layer, Linear))
        narrow = {node: one for node, one in layers if one.product is dense and len(one.layer.weight) <= NARROW}
        self.instead: dict[fx.Node, Callable[[Tensor], Tensor]] = {**narrow, **flow.instead}

    def start(self, inputs: Tensor) -> None:
        """As `Rows.start`: runs the first stage."""
        self.images = len(inputs)
        self.fixed = self.flow.run_in_portions(self.fixed_nodes, inputs, self.fixed_at_once, self.rows)
        self.sums: dict[fx.Node, Tensor] = {}
        self.halved: set[fx.Node] = set()

    def release(self) -> None:
        """As `Rows.release`."""
        self.fixed, self.sums = {}, {}

    def plain(self) -> Tensor:
        """As `Rows.plain`."""
        logits = self._run(None).flatten(0, 2)
        self.halved = self.linked if all(one.abs().max() < _LARGE for one in self.sums.values()) else set()
        return logits

    def logits(self, early: Tensor, late: Tensor) -> Tensor:
        """As `Rows.logits`."""
        sizes, first_late = self.sizes, self.split.early_sites
        masks = [*early.unsqueeze(1).split(sizes[:first_late], dim=-1)] if first_late else []
        masks += late.split(sizes[first_late:], dim=-1) if late.shape[-1] else []
        if self.mirrored and len(late) > 1 and not self.sums:
            self.plain()
        return self._run(masks, *late.shape[:2])

    def _run(self, masks: list[Tensor] | None, number: int = 1, variants: int = 1) -> Tensor:
        """Logits (number, variants, images, classes) for the masks of each site, or with nothing clamped."""
        halved = self.halved if number > 1 else ()
        lead = [(1, 1), (number, 1), (number, variants)]  # masks and variants in each stage
        values: dict[tuple[fx.Node, int], Any] = {}  # what is seen of a node in a stage

        def keep(node: fx.Node, value: Any) -> None:
            if masks is None and node in self.split.mirrors:
                self.sums[node] = value + self._all_clamped(node)
            if node in halved and node in self.split.mirrors:
                one = value.unflatten(0, (-1, self.images))
                value = paired(one, self.sums[node] - one, number).flatten(0, 1)
            if masks is not None and node in self.flow.site_of:
                rows = value.unflatten(0, (*lead[self.stage[node]], self.images))
                site = self.flow.site_of[node]
                mask = masks[site][::2] if node in halved else masks[site]
                value = self._clamped(rows, mask, site).flatten(0, 2)
            values[node, self.seen[node]] = value

        def read(node: fx.Node, stage: int) -> Any:
            own = self.seen[node]
            if (node, stage) not in values and node in self.rows:
                rows = values[node, own].unflatten(0, (*lead[own], self.images))
                values[node, stage] = rows.expand(*lead[stage], *rows.shape[2:]).flatten(0, 2)
            return values.get((node, stage), values[node, own])

        for node, value in self.fixed.items():
            keep(node, value)
        for node in self.flow.needed:
            stage = self.stage[node]
            if stage:
                sources = {source: read(source, stage) for source in node.all_input_nodes}
                value = self._apply(node, sources)
                for source in sources:
                    if self.flow.last_use[source] is node:
                        for at in range(3):
                            values.pop((source, at), None)
                keep(node, value)
        logits: Tensor = read(self.flow.output, 2)
        return logits.unflatten(0, (*lead[2], self.images))

    def _apply(self, node: fx.Node, sources: dict[fx.Node, Any]) -> Any:
        instead = self.instead.get(node)
        return instead(*sources.values()) if instead else self.flow.apply(node, sources)

    def _all_clamped(self, layer: fx.Node) -> Tensor:
        """What a mirrored layer gives, (1, ...), if all units that it reads are clamped."""
        path = self.split.mirrors[layer]
        source = path[0].all_input_nodes[0]
        site, value = self.flow.site_of[source], self.fixed[source][:1]
        mask = torch.ones(1, 1, 1, self.sizes[site], dtype=torch.bool, device=value.device)
        value = self._clamped(value[None, None], mask, site).flatten(0, 2)
        for node in path:
            value, source = self._apply(node, {source: value}), node
        return value

    def _clamped(self, rows: Tensor, mask: Tensor, site: int) -> Tensor:
        """Rows (masks or 1, variants or 1, images, ...) with the units of the site's masks clamped."""
        place, values = self.places[site], self.values[site].to(rows.dtype)
        if place.block > 1:
            mask, values = (vector.repeat_interleave(place.block, dim=-1) for vector in (mask, values))
        shape = [1] * (rows.dim() - 3)
        shape[place.dim - 1] = mask.shape[-1]
        return select(mask.reshape(*mask.shape[:3], *shape), values.view(shape), rows, self.zero)


def stages(flow: Dataflow, early_sites: int) -> tuple[dict[fx.Node, int], dict[fx.Node, int]]:
    """The stage in which each node runs, and the one from which on others see its value, clamped if it is a site."""
    runs: dict[fx.Node, int] = {}
    seen: dict[fx.Node, int] = {}
    for node in flow.needed:
        runs[node] = max((seen[source] for source in node.all_input_nodes), default=0)
        site = flow.site_of.get(node)
        seen[node] = runs[node] if site is None else max(runs[node], 1 if site < early_sites else 2)
    return runs, seen


def mirrors(flow: Dataflow, early_sites: int) -> dict[fx.Node, list[fx.Node]]:
    """`Split.mirrors`: of layers that alone read an early site that no clamp reaches, where float32 or more is used."""
    runs, seen = stages(flow, early_sites)
    found: dict[fx.Node, list[fx.Node]] = {}
    for site in flow.site_of:
        node, path = site, list[fx.Node]()
        linear = runs.get(site) == 0 and seen[site] == 1
        while linear and node not in found and len(users := [user for user in node.users if user in runs]) == 1:
            (node,) = users
            path.append(node)
            operation = flow.operations[node]
            linear = isinstance(operation, Flatten | Linear) or (
                isinstance(operation, PerChannel) and not operation.fresh
            )
            linear = linear and node not in flow.site_of and flow.seen[node].dtype in (torch.float32, torch.float64)
            linear = linear and len(node.all_input_nodes) == 1  # a `view` may read its size from other nodes
            if linear and isinstance(operation, Linear):
                found[node] = path
    return found


def choose_rows(
    network: SitedNetwork, values: Tensor, inputs: Tensor, method: str, memory_budget: int, mirrored: bool = False
) -> tuple[Rows, str]:
    """The cheapest way by arithmetic, or the one asked for where it can be had, and why.

    Args:
        mirrored: whether masks may be mirrored.
    """
    obstacle = MIXED if network.mixes else network.untraced and f"the network cannot be traced: {network.untraced}"
    if method == "reference":
        return WholePasses(network, values), "as asked"
    if not obstacle:
        flow = Dataflow(network)
        for split in _splits(network, flow, mirrored):
            rows = Stages(network, flow, values, inputs, split, memory_budget)
            if rows.stackable:
                return rows, split.why
        obstacle = "what passes from one site to the next has no row for each image"
    if method != "auto":
        warnings.warn(f"method={method!r} falls back to reference, since {obstacle}", stacklevel=3)
    return WholePasses(network, values), f"since {obstacle}"


def _splits(network: SitedNetwork, flow: Dataflow, mirrored: bool) -> list[Split]:
    """The best split into early and late sites, and after it the split without late sites.

    What lies behind late sites is cheap to run again, so a mask is answered in variants that differ there. The more
    units are late, the more of the variance over masks averages out.
    """
    each = operations(flow)
    # A site that does not lead to the logits changes nothing.
    units = [site.units if node in each else 0 for site, node in zip(network.sites, network.nodes, strict=True)]
    whole, ends = sum(each.values()), 1 if is_cut(flow) else 2
    clamps = {node: OPERATIONS_A_BYTE * flow.seen[node].bytes for node in flow.site_of if node in each}

    def parted(early_sites: int) -> Split:
        runs, seen = stages(flow, early_sites)
        cost = [sum(each[node] for node in flow.needed if runs[node] == stage) / whole for stage in range(3)]
        for node, written in clamps.items():
            cost[seen[node]] += written / whole
        image = cost[0] + ends * (cost[1] + cost[2])
        halved = mirrors(flow, early_sites) if mirrored else {}
        for path in halved.values():
            cost[1] -= (clamps[path[0].all_input_nodes[0]] + sum(each[node] for node in path)) / whole / 2
        late = _LATE * sum(units[early_sites:])
        share = late / max(1, sum(units[:early_sites]) + late)
        best = math.sqrt(share / (1 - share) * cost[1] / cost[2]) if 0 < share < 1 else 0.0
        variants = max(1, min(_MOST_VARIANTS, math.ceil(best)))
        mask = cost[1] + variants * cost[2]
        variance = 1 - share + share / variants
        why = f"since {cost[0]:.0%} of a forward pass lies before the first site"
        if variants > 1:
            why += f", and {cost[2]:.1%} behind {network.sites[early_sites].name}"
        measured = Cost(image, mask, _MASKS_TO_IMAGES * variance)
        return Split(early_sites, variants, cost[2], measured, variance * mask, why, halved)

    plain = best = parted(len(units))
    varying = (whole - sum(each[node] for node in flow.fixed) + sum(clamps.values())) / whole
    for early_sites in range(len(units) - 1, 0, -1):
        split = parted(early_sites)
        if split.late_cost > _CHEAP * varying:
            break
        best = min(best, split, key=lambda one: one.error)
    return [best, plain]


def is_cut(flow: Dataflow) -> bool:
    """Whether every way from the inputs to the logits leads through a site: all clamped, all images answer alike."""
    around = set[fx.Node]()  # what the inputs reach without a site
    for node in flow.needed:
        if node not in flow.site_of and (node.op == "placeholder" or not around.isdisjoint(node.all_input_nodes)):
            around.add(node)
    return flow.output not in around
