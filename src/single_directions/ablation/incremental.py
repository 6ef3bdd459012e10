"""The fast path: an exact cumulative ablation curve at a fraction of the cost.

One forward pass of the whole network for each point of a curve repeats nearly the same arithmetic. Three facts make
almost all of it unnecessary.

1. What lies before the first site is the same at every point. It is run once for each portion of images.
2. A layer that reads a site directly is linear in it. Points are visited from the last, where everything is clamped, to
   the first. So units come back to life, and each adds its contribution once: over a whole ordering such a layer costs
   one pass in all, not one per point. (Growing a sum is also numerically better than subtracting from one: at every
   point it is a plain partial sum.)
3. The input of a clamped unit need not be computed. The units of each site are put into *slots*, those clamped last
   first. Then the living units always come first, every tensor is a slice, and a layer between two sites uses only
   the living rows and columns of its weight.

Clamping to a value c other than zero costs little more: a layer computes W x + b = W (x - c) + (W c + b), where x - c
is zero for clamped units and the second term is a constant. (If c is far larger than the activations, digits are lost.)

What this file does not know (an operation, a skip connection that reads a site in another order) is run as it is, on
all channels in the network's own order. So the method is exact for every network that can be traced and that treats
images one by one, and fast where the facts hold.

To read: `Incremental` is the plan for a network, made once; `_lay_out` is its core. `_Sweep` is one ordering on one
portion of images. `_LinearStep` is facts 2 and 3. `single` clamps one unit alone, for its importance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Size, Tensor, fx

from single_directions.ablation.cost import OPERATIONS_A_BYTE, OPERATIONS_A_CALL, Curve
from single_directions.ablation.dataflow import Dataflow, ancestors
from single_directions.ablation.operations import NARROW, Add, Affine, Flatten, Linear, Operation, PerChannel
from single_directions.ablation.sites import SitedNetwork

_ROUND_TO = 32
"""Slices hold a multiple of this many channels: convolutions of other widths run at two thirds of the speed."""

Layout = int | None
"""The order of a tensor's channels: the number of the site in whose slots they are, or ``None``: the network's own."""


@dataclass(eq=False)
class _Value:
    """The value of one node, as the plan treats it.

    Attributes:
        operation, sources: what the node does, and the values that it reads for that.
        steady: it is the same at every point.
        site: the number of the site at it.
        aside: it is a site whose units are not the channels of dimension 1. It is computed whole and then clamped.
        layout: the order of its channels.
        constant: for a value after a site and in its layout, what dead units give there: (1, features, ...), in the
            network's own order.
        shifted: whether that is not all zero.
        block: how many of its features belong to one unit: more than one once feature maps are flattened.
        masked: it is a fixed tensor in which dead units are overwritten by the constant.
        step: computes it at each point; ``None`` where it is steady or masked.
    """

    node: fx.Node
    operation: Operation
    sources: list["_Value"]
    steady: bool
    site: int | None
    aside: bool
    shape: Size | None
    bytes: float
    layout: Layout = None
    constant: Tensor | None = None
    shifted: bool = False
    block: int = 1
    masked: bool = False
    step: "Callable[[_Sweep], Any] | None" = field(default=None, repr=False)


class Incremental:
    """The plan for one network: what is computed in which order of channels.

    A tensor in the layout of a site holds only its first slots, those of the living units (rounded up to `_ROUND_TO`).
    Before the site, the rest is not needed. Behind it, the rest is known: the constant that clamped units give there.

    Memory, beside the network and the inputs: the weights after the first site once more; and for each of the
    `images_at_once`, four times (cached, in slots, as a growing sum, in use) the outputs of the nodes that vary.

    Attributes:
        values: those that the output depends on, in the order in which they are computed.
        steps: those of them that are computed at each point.
        gains: in what way this beats running all layers after the first site at each point; "" if in none.
    """

    name = "incremental"

    def __init__(
        self, network: SitedNetwork, clamps: Tensor, inputs: Tensor, memory_budget: int, flow: Dataflow | None = None
    ) -> None:
        self.network, self.device, self.clamps = network, clamps.device, network.split(clamps)
        self.flow = flow or Dataflow(network)
        self.values = self._values()
        self.output = self.values[-1]
        self._lay_out()
        self.steps = [value for value in self.values if value.step is not None]
        self.gains = self._gains()
        self.cached = [v.node for v in self.values if v.steady or v.masked or (v.aside and v.node in self.flow.fixed)]
        self.cached_path = ancestors(self.cached)
        varying = [value.node for value in self.values if not value.steady]
        self.images_at_once: int | None = self.flow.images_at_once(varying, self.device, memory_budget, copies=4)

    def _values(self) -> list[_Value]:
        """The values that the steps read: without what was folded away or lies before the first sites."""
        flow = self.flow
        reads: dict[fx.Node, list[fx.Node]] = {}
        for node, operation in flow.operations.items():
            sources = list(node.all_input_nodes)
            if node in flow.folded:
                sources = reads[flow.folded[node]]
            elif isinstance(operation, Flatten):
                sources = sources[:1]  # not the size that `view` is told
            reads[node] = sources
        found, waiting = {flow.output}, [flow.output]
        while waiting:
            node = waiting.pop()
            if node not in flow.fixed:
                waiting += set(reads[node]) - found
                found.update(reads[node])
        values: dict[fx.Node, _Value] = {}
        for node in flow.needed:
            if node not in found:
                continue
            number, seen = flow.site_of.get(node), flow.seen[node]
            site = None if number is None else self.network.sites[number]
            values[node] = _Value(
                node,
                flow.operations.get(node),
                [values[source] for source in reads.get(node, ()) if source in values],
                steady=flow.is_steady(node),
                site=number,
                aside=site is not None and (site.dim, site.block) != (1, 1),
                shape=seen.shape,
                bytes=seen.bytes,
            )
        return list(values.values())

    def _feeds(self) -> dict[_Value, Layout]:
        """The site that a value serves, channel for channel, and nothing else: its dead channels are not needed."""
        users: dict[_Value, list[_Value]] = {value: [] for value in self.values}
        for value in self.values:
            for source in value.sources:
                users[source].append(value)
        feeds: dict[_Value, Layout] = {}
        for value in reversed(self.values):
            served = {
                feeds[user] if isinstance(user.operation, PerChannel | Affine | Add) else None for user in users[value]
            }
            feeds[value] = None
            if value.site is not None:
                feeds[value] = None if value.aside else value.site
            elif isinstance(value.operation, PerChannel | Affine | Add | Linear) and len(served) == 1:
                feeds[value] = served.pop()
        return feeds

    def _lay_out(self) -> None:
        """Settle the layout of each value, and the step that computes it at each point."""
        feeds = self._feeds()
        for value in self.values:
            if value.steady:
                continue
            operation, source = value.operation, next(iter(value.sources), None)
            value.layout = feeds[value]
            if value.aside:
                value.step = self._step_aside(value)
                continue
            fresh = isinstance(operation, Add | Affine) or (isinstance(operation, PerChannel) and operation.fresh)
            if value.site is not None:
                assert value.shape is not None
                constant = self.clamps[value.site].to(self.flow.seen[value.node].dtype)
                _behind(value, _per_feature(constant, value.shape).expand(1, *value.shape[1:]).contiguous(), 1)
                value.masked = value.node in self.flow.fixed
            elif source and source.constant is not None and isinstance(operation, PerChannel | Affine | Flatten):
                value.layout, value.masked = source.layout, source.masked
                constant = _on_all_channels(operation, source.constant)
                assert value.layout is not None
                _behind(value, constant, constant.shape[1] // self.network.sites[value.layout].units)
            if not value.masked:
                step = self._step(value)
                value.step = step if value.site is None else _clamping(value, step, fresh)

    def _step(self, value: _Value) -> "Callable[[_Sweep], Any]":
        """How a sweep computes a value in its layout."""
        layout, operation = value.layout, value.operation
        source, other = (value.sources[0], value.sources[-1]) if value.sources else (value, value)
        match operation:
            case Linear():
                return _LinearStep(self, value, operation)
            case PerChannel():
                return lambda sweep: operation.function(sweep.read(source, layout))
            case Affine():
                return lambda sweep: sweep.affine(value, operation, sweep.read(source, layout))
            case Flatten() if layout is not None and layout == source.layout:
                return lambda sweep: sweep.read(source, layout).flatten(1)
            case Flatten():
                return lambda sweep: sweep.laid_out(sweep.read(source, None).flatten(1), layout)
            case Add():
                return lambda sweep: sweep.read(source, layout) + sweep.read(other, layout)
        return lambda sweep: sweep.laid_out(
            self.flow.apply(value.node, {source.node: sweep.read(source, None) for source in value.sources}), layout
        )

    def _step_aside(self, value: _Value) -> "Callable[[_Sweep], Any]":
        """How a sweep computes a site that is computed whole."""
        assert value.site is not None
        number = value.site
        site, clamps, fixed = self.network.sites[number], self.clamps[number], value.node in self.flow.fixed
        step = (lambda sweep: self.cache[value.node]) if fixed else self._step(value)
        return lambda sweep: site.clamp(step(sweep), sweep.dead(number), clamps)

    def _gains(self) -> str:
        linear = [value for value in self.steps if isinstance(value.operation, Linear)]
        helped = [v for v in linear if v.layout is not None or v.sources[0].constant is not None]
        return f"{len(helped)} of the {len(linear)} layers after the first site are updated or sliced" if helped else ""

    def cost(self, each: dict[fx.Node, float], curve: Curve) -> float:
        """What a curve costs if each site has its share of the clamped units; `each` is what each node costs."""
        alive = 1 - curve.fractions

        @cache
        def width(layout: Layout) -> Tensor:
            """Of all channels of a tensor in a layout, the part that is computed at each point."""
            if layout is None:
                return torch.ones_like(alive)
            units = self.network.sites[layout].units
            return ((alive * units / _ROUND_TO).ceil().clamp_min(1) * _ROUND_TO / units).clamp_max(1)

        @cache
        def passes(*layouts: Layout) -> float:
            """At how many points, in all, a tensor of these layouts is computed whole."""
            return curve.orderings * float(math.prod(map(width, layouts), start=torch.ones_like(alive)).sum())

        work = sum(each[node] for node in self.cached_path)
        weights = 0.0
        for value in self.steps:
            operation, written = value.operation, passes(value.layout)
            if isinstance(operation, Linear):
                (source,), weight = value.sources, operation.layer.weight
                assert value.shape is not None
                product = 2 * math.prod(value.shape[1:]) * weight[0].numel()
                reads = source.layout if source.constant is not None else None
                work += product * (curve.orderings if source.masked else passes(value.layout, reads))
                weights += ((value.layout is not None) + (reads is not None)) * weight.nbytes
                written *= 3 if source.masked else 1
            work += OPERATIONS_A_BYTE * value.bytes * written
        masked = [value for value in self.values if value.masked]
        work += sum(OPERATIONS_A_BYTE * value.bytes * (curve.orderings + passes(value.layout)) for value in masked)
        sweeps = curve.orderings * math.ceil(curve.images / (self.images_at_once or curve.images))
        calls = 2 * sweeps * len(curve.fractions) * (len(self.steps) + len(masked)) + len(self.cached_path)
        return curve.images * work + sweeps * 2 * OPERATIONS_A_BYTE * weights + OPERATIONS_A_CALL * calls

    def start(self, inputs: Tensor) -> None:
        """As `Method.start`: run what no clamp reaches."""
        self.inputs = inputs
        self.cache = self.flow.run(self.cached_path, inputs, self.cached)

    def cumulative(self, ordering: Tensor, ablated: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.cumulative`, from the last point to the first; the next step may overwrite the logits."""
        sweep = _Sweep(self, ordering, ablated)
        for point in reversed(range(len(ablated))):
            yield point, sweep.logits(point)

    def single(self, units: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.single`: a layer that reads the unit's site is updated by that unit alone."""
        whole = self.flow.run(self.flow.needed, self.inputs, keep=[value.node for value in self.values])
        values = {value.site: value for value in self.values}
        owners = [(site, unit) for site, owned in enumerate(self.network.sites) for unit in range(owned.units)]
        for number in units:
            site, unit = owners[number]
            # A site that nothing reads changes nothing.
            yield number, self._alone(values[site], unit, whole) if site in values else whole[self.output.node]

    def _alone(self, site: _Value, unit: int, whole: dict[fx.Node, Any]) -> Tensor:
        """Logits with one unit of a site clamped, from the values of all nodes with nothing clamped."""
        channel: dict[_Value, Any] = {}  # values that differ in this unit's features alone
        changed: dict[_Value, Any] = {}  # values that differ everywhere
        if site.aside:
            assert site.site is not None
            owned = self.network.sites[site.site]
            mask = torch.arange(owned.units, device=self.device) == unit
            changed[site] = owned.clamp(whole[site.node], mask, self.clamps[site.site])
        else:
            assert site.constant is not None
            channel[site] = site.constant[:, unit : unit + 1]

        def features(value: _Value) -> slice:
            block = channel[value].shape[1]
            return slice(unit * block, (unit + 1) * block)

        def now(value: _Value) -> Any:
            if value in channel:
                patched = whole[value.node].clone()
                patched[:, features(value)] = channel[value]
                return patched
            return changed.get(value, whole[value.node])

        for value in self.values:
            if value is site or not any(source in channel or source in changed for source in value.sources):
                continue
            operation, source = value.operation, value.sources[0]
            if source in channel and isinstance(operation, PerChannel | Flatten):
                channel[value] = _on_all_channels(operation, channel[source])
            elif source in channel and isinstance(operation, Linear):
                difference = channel[source] - whole[source.node][:, features(source)]
                update = operation.product(difference, operation.weight[:, features(source)], None)
                changed[value] = whole[value.node] + update
            elif isinstance(operation, Linear):
                changed[value] = operation(now(source))
            elif isinstance(operation, PerChannel | Affine | Flatten):
                changed[value] = _on_all_channels(operation, now(source))
            else:
                changed[value] = self.flow.apply(value.node, {source.node: now(source) for source in value.sources})
        return now(self.output)


class _Sweep:
    """One ordering on one portion of images: the values at a point, and what carries over between points.

    Attributes:
        slots: for each site the units in its slots, those clamped last first.
        alive, width: for each site, at the present point, how many units live, and how many slots are computed.
        memory: what a step keeps from one point to the next.
    """

    def __init__(self, plan: Incremental, ordering: Tensor, ablated: Sequence[int]) -> None:
        self.plan = plan
        clamped_at = ordering.argsort()
        self.slots: list[Tensor] = []
        self.alive_at: list[list[int]] = []
        for ranks in plan.network.split(clamped_at):
            by_rank = ranks.sort()
            self.slots.append(by_rank.indices.flip(0).to(plan.device, non_blocking=True))
            dead = torch.searchsorted(by_rank.values, torch.tensor(list(ablated)))
            self.alive_at.append((len(ranks) - dead).tolist())
        self.memory: dict[Any, Any] = {}

    def logits(self, point: int) -> Tensor:
        """The answer at a point; points must be visited from the last to the first."""
        self.alive = [alive_at[point] for alive_at in self.alive_at]
        self.width = [
            min(len(slots), max(_ROUND_TO, -(-alive // _ROUND_TO) * _ROUND_TO))
            for alive, slots in zip(self.alive, self.slots, strict=True)
        ]
        self.values: dict[_Value, Any] = {}
        for value in self.plan.steps:
            assert value.step is not None
            self.values[value] = value.step(self)
        return self.read(self.plan.output, None)

    def dead(self, site: int) -> Tensor:
        """bool, (units,), which units of a site are clamped at the present point."""
        mask = torch.zeros(len(self.slots[site]), dtype=torch.bool, device=self.plan.device)
        mask[self.slots[site][self.alive[site] :]] = True
        return mask

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What is the same at all points of this sweep."""
        if key not in self.memory:
            self.memory[key] = compute()
        return self.memory[key]

    def order(self, site: int, block: int) -> Tensor:
        """The features in a site's slots, where each unit has a block of them."""
        if block == 1:
            return self.slots[site]
        within = torch.arange(block, device=self.plan.device)
        return self.once(("order", site, block), lambda: (self.slots[site][:, None] * block + within).flatten())

    def in_slots(self, key: Any, tensor: Tensor, site: int, block: int = 1, dim: int = 1) -> Tensor:
        """All of a tensor in the slots of a site, computed once."""
        return self.once((key, site, dim), lambda: tensor.index_select(dim, self.order(site, block)))

    def read(self, value: _Value, layout: Layout) -> Any:
        """A value in a layout."""
        if value.steady:
            cached = self.plan.cache[value.node]
            return cached if layout is None else self.in_slots(value, cached, layout)[:, : self.width[layout]]
        if value.masked and value not in self.values:
            assert value.layout is not None
            fixed = self.in_slots(value, self.plan.cache[value.node], value.layout, value.block)
            self.values[value] = self.clamped(value, fixed[:, : self.width[value.layout] * value.block], fresh=False)
        present = self.values[value]
        if value.layout == layout:
            return present
        if value.layout is not None:
            assert value.constant is not None
            constant, order = value.constant.to(present.dtype), self.order(value.layout, value.block)
            whole = constant.repeat(len(present), *[1] * (present.dim() - 1))
            present = whole.index_copy_(1, order[: present.shape[1]], present)
        return self.laid_out(present, layout)

    def clamped(self, value: _Value, present: Tensor, fresh: bool) -> Tensor:
        """A value in the slots of its site, the dead ones among them set to their constant."""
        layout, block = value.layout, value.block
        assert layout is not None
        dead = slice(self.alive[layout] * block, self.width[layout] * block)
        if dead.start == dead.stop:
            return present
        present = present if fresh else present.clone()
        present[:, dead] = self.constant(value)[:, dead] if value.shifted else 0
        return present

    def constant(self, value: _Value) -> Tensor:
        """The constant of a value, in slots."""
        assert value.constant is not None
        assert value.layout is not None
        return self.in_slots(("constant", value), value.constant, value.layout, value.block)

    def affine(self, value: _Value, affine: Affine, present: Tensor) -> Tensor:
        """Batch norm on the channels there are."""
        scale, shift = affine.scale, affine.shift
        if value.layout is not None:
            channels = slice(present.shape[1])
            scale = self.in_slots(("scale", value), scale, value.layout, value.block, dim=0)[channels]
            shift = self.in_slots(("shift", value), shift, value.layout, value.block, dim=0)[channels]
        return _affine(present, scale, shift)

    def laid_out(self, present: Any, layout: Layout) -> Any:
        """A value of all channels in the network's own order, in a layout."""
        return present if layout is None else present.index_select(1, self.slots[layout][: self.width[layout]])


class _LinearStep:
    """A layer: the living units of the site that it feeds, computed from those of the site that it reads.

    Attributes:
        reads, feeds: the layouts of its input and of its output.
        offset: W c + b, (1, out, ...), where the constant c of its input is not zero.
    """

    def __init__(self, plan: Incremental, value: _Value, layer: Linear) -> None:
        self.plan, self.value, self.layer = plan, value, layer
        (self.source,) = value.sources
        self.reads = self.source.layout if self.source.constant is not None else None
        self.feeds = value.layout
        self.offset: Tensor | None = None
        if self.source.shifted:
            assert self.source.constant is not None
            self.offset = layer(self.source.constant)

    def __call__(self, sweep: _Sweep) -> Tensor:
        if self.source.masked:
            return self._grow(sweep)
        x = sweep.read(self.source, self.reads)
        out = slice(None) if self.feeds is None else slice(sweep.width[self.feeds])
        weight = self._weight(sweep)[out, : x.shape[1]]
        if self.offset is None:
            return self.layer.product(x, weight, self._outputs(sweep, self.layer.bias, 0)[out])
        deviation = x - sweep.constant(self.source)[:, : x.shape[1]]
        return self.layer.product(deviation, weight, None) + self._outputs(sweep, self.offset, 1)[:, out]

    def _grow(self, sweep: _Sweep) -> Tensor:
        """Fact 2: the sum over living inputs, carried from point to point.

        Units that came back to life since the last point add to the outputs held so far; outputs that are new get the
        sum over all units that now live. So each weight is used once in a sweep.
        """
        site = self.reads
        assert site is not None
        inputs = sweep.alive[site] * self.source.block
        outputs = len(self.layer.layer.weight) if self.feeds is None else sweep.width[self.feeds]
        x, weight = self._deviations(sweep, site), self._weight(sweep)
        total, had_inputs, had_outputs = sweep.memory.get(self, (None, 0, 0))
        if total is None:
            assert self.value.shape is not None
            total = x.new_empty(len(x), *self.value.shape[1:], dtype=torch.promote_types(x.dtype, torch.float32))
        if inputs > had_inputs and had_outputs:
            came = slice(had_inputs, inputs)
            self._add(total[:, :had_outputs], x[:, came], weight[:had_outputs, came])
        if outputs > had_outputs:
            new = slice(had_outputs, outputs)
            if self.offset is None:
                total[:, new] = _per_feature(self._outputs(sweep, self.layer.bias, 0)[new], total.shape)
            else:
                total[:, new] = self._outputs(sweep, self.offset, 1)[:, new]
            if inputs:
                self._add(total[:, new], x[:, :inputs], weight[new, :inputs])
        sweep.memory[self] = total, inputs, outputs
        return total[:, :outputs].to(x.dtype)

    def _deviations(self, sweep: _Sweep, site: int) -> Tensor:
        """x - c for all units, in slots."""
        x, constant, block = self.plan.cache[self.source.node], self.source.constant, self.source.block
        if not self.source.shifted:
            return sweep.in_slots(self.source, x, site, block)
        assert constant is not None
        return sweep.once((self, "x - c"), lambda: (x - constant.to(x.dtype)).index_select(1, sweep.order(site, block)))

    def _weight(self, sweep: _Sweep) -> Tensor:
        """The weight with its rows and columns in slots."""

        def permuted() -> Tensor:
            weight = self._outputs(sweep, self.layer.weight, 0)
            return weight if self.reads is None else weight.index_select(1, sweep.order(self.reads, self.source.block))

        return sweep.once((self, "weight"), permuted)

    def _outputs(self, sweep: _Sweep, tensor: Tensor, dim: int) -> Tensor:
        """A tensor whose dimension `dim` is the layer's outputs, in slots."""
        site = self.feeds
        if site is None:
            return tensor
        return sweep.once((self, dim, tensor.dim()), lambda: tensor.index_select(dim, sweep.slots[site]))

    def _add(self, total: Tensor, x: Tensor, weight: Tensor) -> None:
        if x.dim() == 2 and x.dtype == weight.dtype == total.dtype and not torch.is_autocast_enabled(x.device.type):
            if len(weight) > NARROW:
                total.addmm_(x, weight.t())
            else:
                total.t().addmm_(weight, x.t())
        else:
            total += self.layer.product(x, weight, None)


def _behind(value: _Value, constant: Tensor, block: int) -> None:
    """Note what dead units give at a value behind a site."""
    value.constant, value.block, value.shifted = constant, block, bool(constant.any())


def _clamping(value: _Value, step: Callable[[_Sweep], Tensor], fresh: bool) -> Callable[[_Sweep], Tensor]:
    """A step at a site that varies: compute, then clamp. `fresh`: what it computes may be written to."""
    return lambda sweep: sweep.clamped(value, step(sweep), fresh)


def _on_all_channels(operation: Operation, x: Tensor) -> Tensor:
    match operation:
        case PerChannel():
            return operation.function(x)
        case Affine():
            return _affine(x, operation.scale, operation.shift)
    return x.flatten(1)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(_per_feature(shift, x.shape), x, _per_feature(scale, x.shape)).to(x.dtype)


def _per_feature(vector: Tensor, like: Size) -> Tensor:
    """(features,) in a shape to be broadcast over (images, features, ...)."""
    return vector.view(1, -1, *[1] * (len(like) - 2))
