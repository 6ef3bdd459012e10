"""The fast path: an exact cumulative ablation curve at a fraction of the cost.

One forward pass of the whole network for each point of a curve does nearly the same arithmetic over and over. Three
facts make almost all of it unnecessary.

1. What lies before the first site is the same at every point. It is run once for each portion of images.
2. A layer that reads a site directly is linear in it. Points are visited from the last, where everything is clamped, to
   the first, so units come back to life, and each adds its own contribution once: over a whole ordering such a layer
   costs one pass in all, not one a point. (Growing a sum is also numerically kinder than subtracting from one: at
   every point it is a plain partial sum, and with all units clamped it is exactly what it should be.)
3. The input of a clamped unit need not be computed. The units of each site are put into *slots*, those clamped last
   first. Then the living are always the first so many, every tensor is a slice, and a layer between two sites
   multiplies the living rows of its weight with the living columns.

Clamping to another value c than zero costs little more: a layer computes W x + b = W (x - c) + (W c + b), where x - c
is zero for the clamped and the second term is a constant. (With a c far beyond the activations x, digits are lost.)

Whatever this file does not know (an operation, a skip connection that reads a site in another order) is run as it is,
on all channels in the network's own order. So the method is exact for every network that can be traced and that treats
images one by one, and fast where the facts hold.

To read: `Incremental` is the plan for a network, made once; `_lay_out` is its heart. `_Sweep` is one ordering on one
portion of images. `_LinearStep` is facts 2 and 3. `single` clamps one unit alone, for its importance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from single_directions.ablation.cost import OPERATIONS_A_BYTE, OPERATIONS_A_CALL, Curve
from single_directions.ablation.dataflow import Dataflow, ancestors, images_at_once
from single_directions.ablation.operations import (
    NARROW,
    Add,
    Affine,
    Flatten,
    Linear,
    Operation,
    PerChannel,
    folded,
    recognise,
)
from single_directions.ablation.sites import SitedNetwork

_ROUND_TO = 32
"""Slices hold a multiple of so many channels: convolutions of other widths run at two thirds of the speed."""

Layout = int | None
"""The order of a tensor's channels: the number of the site in whose slots they are, or ``None``: the network's own."""


class Incremental:
    """The plan for one network: what is computed in which order of channels.

    A tensor in the layout of a site holds only its first slots, those of the living units (rounded up to `_ROUND_TO`).
    Before the site, the rest is not needed; behind it, the rest is known: the constant that clamped units give there.

    Memory, beside the network and the inputs: the weights behind the first site once more; and for each of the
    `images_at_once`, four times (cached, in slots, as a growing sum, in use) the outputs of the nodes that vary.

    Attributes:
        operations, sources: what each node that varies does, and the nodes that it reads for that.
        layout: the layout of each node's value.
        constants: for a node behind a site in its layout, what dead units give there, (1, features, ...), in the
            network's own order; `shifted` are those where that is not all zero.
        masked: of these, the nodes whose value is a fixed tensor with the dead units overwritten by the constant.
        aside: the sites whose units are not the channels of dimension 1. They are computed as a whole and then clamped.
        block: how many features of a node belong to one unit: more than one once feature maps are flattened.
        gains: in what way this beats running all layers behind the first site at each point; "" if in none.
    """

    name = "incremental"

    def __init__(self, network: SitedNetwork, values: Tensor, inputs: Tensor, memory_budget: int) -> None:
        self.network, self.device = network, values.device
        self.flow = flow = Dataflow(network)
        self.example = flow.run(flow.needed, inputs[:2], keep=flow.needed)
        self.shapes = {n: value.shape if isinstance(value, Tensor) else None for n, value in self.example.items()}
        self.operations, self.sources = self._recognise()
        self.needed = self._needed()
        self.layout: dict[fx.Node, Layout] = {}
        self.constants: dict[fx.Node, Tensor] = {}
        self.shifted: set[fx.Node] = set()
        self.masked: set[fx.Node] = set()
        self.aside = {
            node
            for node, number in flow.site_of.items()
            if (network.sites[number].dim, network.sites[number].block) != (1, 1)
        }
        self.block: dict[fx.Node, int] = {}
        self.steps: list[tuple[fx.Node, Callable[[_Sweep], Any]]] = []
        self.values = network.split(values)
        self._lay_out(self.values)
        self.gains = self._gains()
        kept = self.masked | (self.aside & flow.fixed)
        self.cached = [node for node in self.needed if node in kept or flow.is_steady(node)]
        self.cached_path = ancestors(self.cached)
        varying = [self.example[node] for node in self.needed if not flow.is_steady(node)]
        self.images_at_once: int | None = images_at_once(varying, 4, self.device, memory_budget)
        self.bytes = {
            node: value[:1].nbytes for node, value in self.example.items() if isinstance(value, Tensor) and value.dim()
        }
        del self.example

    def _recognise(self) -> tuple[dict[fx.Node, Operation], dict[fx.Node, list[fx.Node]]]:
        """What each node that varies does, batch norm folded into the layer before it where that serves it alone."""
        modules = dict(self.network.network.named_modules())
        operations: dict[fx.Node, Operation] = {}
        sources: dict[fx.Node, list[fx.Node]] = {}
        for node in self.flow.needed:
            if self.flow.is_steady(node):
                continue
            operation, reads = recognise(node, modules, self.shapes), list(node.all_input_nodes)
            if isinstance(operation, Flatten):
                reads = reads[:1]  # not the size that `view` is told
            layer = folded(operation, reads[0], operations.get(reads[0]), self.flow.site_of) if reads else None
            if layer is not None:
                operation, reads = layer, sources[reads[0]]
            operations[node], sources[node] = operation, reads
        return operations, sources

    def _needed(self) -> list[fx.Node]:
        """The nodes that the steps read: `Dataflow.needed` without what was folded away or lies before the sites."""
        found, waiting = {self.flow.output}, [self.flow.output]
        while waiting:
            node = waiting.pop()
            first_site = node in self.flow.fixed and node in self.flow.site_of
            if not self.flow.is_steady(node) and not first_site:
                waiting += set(self.sources[node]) - found
                found.update(self.sources[node])
        return [node for node in self.flow.needed if node in found]

    def _feeds(self) -> dict[fx.Node, Layout]:
        """The site that a node serves, channel for channel, and nothing else: then its dead channels are not needed."""
        users: dict[fx.Node, list[fx.Node]] = {node: [] for node in self.needed}
        for node in self.needed:
            for source in self.sources.get(node, ()):
                if source in users:
                    users[source].append(node)
        feeds: dict[fx.Node, Layout] = {}
        for node in reversed(self.needed):
            served = {
                feeds[user] if isinstance(self.operations[user], PerChannel | Affine | Add) else None
                for user in users[node]
            }
            sliceable = isinstance(self.operations.get(node), PerChannel | Affine | Add | Linear)
            fed = self.flow.site_of.get(node, served.pop() if sliceable and len(served) == 1 else None)
            feeds[node] = None if node in self.aside else fed
        return feeds

    def _lay_out(self, values: tuple[Tensor, ...]) -> None:
        """Settle the layout of each node, and the step that computes it at each point."""
        feeds = self._feeds()
        for node in self.needed:
            if self.flow.is_steady(node):
                continue
            site, operation = self.flow.site_of.get(node), self.operations[node]
            if node in self.aside:
                self.layout[node] = None
                self.steps.append((node, self._step_aside(node, self._step(node, operation))))
                continue
            source = next(iter(self.sources[node]), node)
            stays_behind = source in self.constants and isinstance(operation, PerChannel | Affine | Flatten)
            if site is None and stays_behind:
                constant = _on_all_channels(operation, self.constants[source])
                self._behind(node, self.layout[source], constant, constant.shape[1] // self._units(source))
                if source in self.masked:
                    self.masked.add(node)
                    continue
            else:
                self.layout[node] = feeds[node]
            if site is not None:
                example = self.example[node][:1]
                constant = _per_feature(values[site].to(example.dtype), example).expand_as(example)
                self._behind(node, site, constant.contiguous(), block=1)
                if node in self.flow.fixed:
                    self.masked.add(node)
                    continue
            step = self._step(node, operation)
            self.steps.append((node, step if site is None else _clamping(node, step, _is_fresh(operation))))

    def _behind(self, node: fx.Node, layout: Layout, constant: Tensor, block: int) -> None:
        self.layout[node], self.constants[node], self.block[node] = layout, constant, block
        if constant.any():
            self.shifted.add(node)

    def _units(self, node: fx.Node) -> int:
        layout = self.layout[node]
        assert layout is not None
        return self.network.sites[layout].units

    def _step(self, node: fx.Node, operation: Operation) -> "Callable[[_Sweep], Any]":
        """How a sweep computes a node in its layout."""
        layout, sources = self.layout[node], self.sources[node]
        source = next(iter(sources), node)
        match operation:
            case Linear():
                return _LinearStep(self, node, operation)
            case PerChannel():
                return lambda sweep: operation.function(sweep.read(source, layout))
            case Affine():
                return lambda sweep: sweep.affine(node, operation, sweep.read(source, layout))
            case Flatten() if layout is not None and layout == self.layout.get(source):
                return lambda sweep: sweep.read(source, layout).flatten(1)
            case Flatten():
                return lambda sweep: sweep.laid_out(sweep.read(source, None).flatten(1), layout)
            case Add():
                other = sources[-1]  # the same one in x + x
                return lambda sweep: sweep.read(source, layout) + sweep.read(other, layout)
        return lambda sweep: sweep.as_it_is(node, layout)

    def _step_aside(self, node: fx.Node, step: "Callable[[_Sweep], Any]") -> "Callable[[_Sweep], Any]":
        """How a sweep computes a site of `aside`."""
        number = self.flow.site_of[node]
        site, values = self.network.sites[number], self.values[number]
        if node in self.flow.fixed:
            return lambda sweep: site.clamp(self.cache[node], sweep.dead(number), values)
        return lambda sweep: site.clamp(step(sweep), sweep.dead(number), values)

    def _gains(self) -> str:
        linear = [node for node, _ in self.steps if isinstance(self.operations[node], Linear)]
        helped = [node for node in linear if self.layout[node] is not None or self.sources[node][0] in self.constants]
        return (
            f"{len(helped)} of the {len(linear)} layers behind the first site are updated or sliced" if helped else ""
        )

    def cost(self, each: dict[fx.Node, float], curve: Curve) -> float:
        """What a curve costs, where each site has its share of the clamped units; `each` is `cost.operations`."""
        alive = 1 - curve.fractions

        def width(layout: Layout) -> Tensor:
            """Of all channels of a tensor in a layout, the part that is computed at each point."""
            if layout is None:
                return torch.ones_like(alive)
            units = self.network.sites[layout].units
            return ((alive * units / _ROUND_TO).ceil().clamp_min(1) * _ROUND_TO / units).clamp_max(1)

        work = sum(each[node] for node in self.cached_path)
        weights = 0.0
        for node, _ in self.steps:
            shape, operation = self.shapes[node], self.operations[node]
            parts = width(self.layout[node])
            if isinstance(operation, Linear):
                assert shape is not None
                product = 2 * math.prod(shape[1:]) * operation.weight[0].numel()
                source = self.sources[node][0]
                reads = self.layout.get(source) if source in self.constants else None
                grows = source in self.masked
                work += curve.orderings * product * (1.0 if grows else float((parts * width(reads)).sum()))
                permuted = (self.layout[node] is not None) + (reads is not None)
                weights += permuted * operation.weight.nbytes
            if shape is not None:
                passed = 3 if isinstance(operation, Linear) and self.sources[node][0] in self.masked else 1
                work += curve.orderings * OPERATIONS_A_BYTE * passed * self.bytes.get(node, 0) * float(parts.sum())
        for node in self.masked:
            work += (
                curve.orderings
                * OPERATIONS_A_BYTE
                * self.bytes.get(node, 0)
                * (1 + float(width(self.layout[node]).sum()))
            )
        portions = math.ceil(curve.images / (self.images_at_once or curve.images))
        sweeps = curve.orderings * portions
        calls = 2 * sweeps * len(curve.fractions) * (len(self.steps) + len(self.masked)) + len(self.cached_path)
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
        whole = self.flow.run(self.flow.needed, self.inputs, keep=self.needed)
        owners = [(site, unit) for site, owned in enumerate(self.network.sites) for unit in range(owned.units)]
        for number in units:
            site, unit = owners[number]
            yield number, self._alone(self.network.nodes[site], unit, whole)

    def _alone(self, site: fx.Node, unit: int, whole: dict[fx.Node, Any]) -> Tensor:
        """Logits with one unit of a site clamped, from the values of all nodes with nothing clamped."""
        if site not in whole:  # nothing reads it
            return whole[self.flow.output]
        channel: dict[fx.Node, Any] = {}  # nodes that differ in this unit's features alone
        changed: dict[fx.Node, Any] = {}  # nodes that differ everywhere
        if site in self.aside:
            number = self.flow.site_of[site]
            owned = self.network.sites[number]
            mask = torch.arange(owned.units, device=self.device) == unit
            changed[site] = owned.clamp(whole[site], mask, self.values[number])
        else:
            channel[site] = self.constants[site][:, unit : unit + 1]

        def features(node: fx.Node) -> slice:
            block = channel[node].shape[1]
            return slice(unit * block, (unit + 1) * block)

        def value(node: fx.Node) -> Any:
            if node in channel:
                patched = whole[node].clone()
                patched[:, features(node)] = channel[node]
                return patched
            return changed.get(node, whole[node])

        for node in self.needed:
            if node is site or not any(source in channel or source in changed for source in self.sources.get(node, ())):
                continue
            operation, source = self.operations[node], self.sources[node][0]
            if source in channel and isinstance(operation, PerChannel | Flatten):
                channel[node] = _on_all_channels(operation, channel[source])
            elif source in channel and isinstance(operation, Linear):
                difference = channel[source] - whole[source][:, features(source)]
                update = operation.product(difference, operation.weight[:, features(source)], None)
                changed[node] = whole[node] + update
            elif isinstance(operation, Linear):
                changed[node] = operation(value(source))
            elif isinstance(operation, PerChannel | Affine | Flatten):
                changed[node] = _on_all_channels(operation, value(source))
            else:
                changed[node] = self.flow.apply(node, {source: value(source) for source in node.all_input_nodes})
        return value(self.flow.output)


class _Sweep:
    """One ordering on one portion of images: the values of nodes at a point, and what carries over between points.

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
        self.values: dict[fx.Node, Any] = {}
        for node, step in self.plan.steps:
            self.values[node] = step(self)
        return self.read(self.plan.flow.output, None)

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

    def read(self, node: fx.Node, layout: Layout) -> Any:
        """The value of a node in a layout."""
        plan = self.plan
        if plan.flow.is_steady(node):
            if layout is None:
                return plan.cache[node]
            return self.in_slots(node, plan.cache[node], layout)[:, : self.width[layout]]
        if node in plan.masked and node not in self.values:
            self.values[node] = self.clamped(node, self.fixed(node), fresh=False)
        value, present = self.values[node], plan.layout[node]
        if present == layout:
            return value
        if present is not None:
            constant = plan.constants[node].to(value.dtype)
            order = self.order(present, plan.block[node])
            value = constant.repeat(len(value), *[1] * (value.dim() - 1)).index_copy_(1, order[: value.shape[1]], value)
        return self.laid_out(value, layout)

    def fixed(self, node: fx.Node) -> Tensor:
        """The slots of a masked node, before anything is clamped."""
        layout, block = self.plan.layout[node], self.plan.block[node]
        assert layout is not None
        return self.in_slots(node, self.plan.cache[node], layout, block)[:, : self.width[layout] * block]

    def clamped(self, node: fx.Node, value: Tensor, fresh: bool) -> Tensor:
        """A value in the slots of its site, the dead ones among them set to their constant."""
        layout, block = self.plan.layout[node], self.plan.block[node]
        assert layout is not None
        dead = slice(self.alive[layout] * block, self.width[layout] * block)
        if dead.start == dead.stop:
            return value
        value = value if fresh else value.clone()
        if node in self.plan.shifted:
            value[:, dead] = self.in_slots(("constant", node), self.plan.constants[node], layout, block)[:, dead]
        else:
            value[:, dead] = 0
        return value

    def affine(self, node: fx.Node, affine: Affine, value: Tensor) -> Tensor:
        """Batch norm on the channels there are."""
        layout, scale, shift = self.plan.layout[node], affine.scale, affine.shift
        if layout is not None:
            block = self.plan.block.get(node, 1)
            scale = self.in_slots(("scale", node), scale, layout, block, dim=0)[: value.shape[1]]
            shift = self.in_slots(("shift", node), shift, layout, block, dim=0)[: value.shape[1]]
        return _affine(value, scale, shift)

    def as_it_is(self, node: fx.Node, layout: Layout) -> Any:
        """Run a node that is not known, on all channels."""
        value = self.plan.flow.apply(node, {source: self.read(source, None) for source in node.all_input_nodes})
        return self.laid_out(value, layout)

    def laid_out(self, value: Any, layout: Layout) -> Any:
        """A value of all channels in the network's own order, in a layout."""
        return value if layout is None else value.index_select(1, self.slots[layout][: self.width[layout]])


class _LinearStep:
    """A layer: the living units of the site that it feeds, computed from those of the site that it reads.

    Attributes:
        reads, feeds: the layouts of its input and of its output; ``None``: all channels in the network's own order.
    """

    def __init__(self, plan: Incremental, node: fx.Node, layer: Linear) -> None:
        self.plan, self.node, self.layer = plan, node, layer
        (self.source,) = plan.sources[node]
        self.reads = plan.layout[self.source] if self.source in plan.constants else None
        self.feeds = plan.layout[node]
        self.constant = plan.constants.get(self.source) if self.source in plan.shifted else None
        self.offset: Tensor | None = None  # W c + b, (1, out, ...), where c is not zero
        if self.constant is not None:
            self.offset = layer.product(self.constant, layer.weight, layer.bias)

    def __call__(self, sweep: _Sweep) -> Tensor:
        if self.source in self.plan.masked:
            return self._grow(sweep)
        x = sweep.read(self.source, self.reads)
        out = slice(None) if self.feeds is None else slice(sweep.width[self.feeds])
        weight = self._weight(sweep)[out, : x.shape[1]]
        if self.constant is None:
            return self.layer.product(x, weight, self._outputs(sweep, self.layer.bias, 0)[out])
        assert self.reads is not None
        assert self.offset is not None
        shift = sweep.in_slots(("constant", self.source), self.constant, self.reads, self.plan.block[self.source])
        deviation = x - shift[:, : x.shape[1]]
        return self.layer.product(deviation, weight, None) + self._outputs(sweep, self.offset, 1)[:, out]

    def _grow(self, sweep: _Sweep) -> Tensor:
        """Fact 2: the sum over living inputs, carried from point to point.

        Units that came back to life since the last point add to the outputs held so far; outputs that are new get the
        sum over all units that now live. So each weight is used once in a sweep.
        """
        site = self.reads
        assert site is not None
        block = self.plan.block[self.source]
        inputs = sweep.alive[site] * block
        outputs = self.layer.weight.shape[0] if self.feeds is None else sweep.width[self.feeds]
        x, weight = self._deviations(sweep, site, block), self._weight(sweep)
        total, had_inputs, had_outputs = sweep.memory.get(self, (None, 0, 0))
        if total is None:
            shape = self.plan.shapes[self.node]
            assert shape is not None
            total = x.new_empty(len(x), *shape[1:], dtype=torch.promote_types(x.dtype, torch.float32))
        if inputs > had_inputs and had_outputs:
            came = slice(had_inputs, inputs)
            self._add(total[:, :had_outputs], x[:, came], weight[:had_outputs, came])
        if outputs > had_outputs:
            new = slice(had_outputs, outputs)
            if self.offset is None:
                total[:, new] = _per_feature(self._outputs(sweep, self.layer.bias, 0)[new], total)
            else:
                total[:, new] = self._outputs(sweep, self.offset, 1)[:, new]
            if inputs:
                self._add(total[:, new], x[:, :inputs], weight[new, :inputs])
        sweep.memory[self] = total, inputs, outputs
        return total[:, :outputs].to(x.dtype)

    def _deviations(self, sweep: _Sweep, site: int, block: int) -> Tensor:
        """x - c for all units, in slots."""
        x = self.plan.cache[self.source]
        if self.constant is None:
            return sweep.in_slots(self.source, x, site, block)
        constant = self.constant.to(x.dtype)
        return sweep.once((self, "x - c"), lambda: (x - constant).index_select(1, sweep.order(site, block)))

    def _weight(self, sweep: _Sweep) -> Tensor:
        """The weight with its rows and columns in slots."""

        def permuted() -> Tensor:
            weight = self._outputs(sweep, self.layer.weight, 0)
            if self.reads is None:
                return weight
            return weight.index_select(1, sweep.order(self.reads, self.plan.block[self.source]))

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


def _clamping(node: fx.Node, step: Callable[[_Sweep], Tensor], fresh: bool) -> Callable[[_Sweep], Tensor]:
    """A step at a site that varies: compute, then clamp."""
    return lambda sweep: sweep.clamped(node, step(sweep), fresh)


def _is_fresh(operation: Operation) -> bool:
    """Whether an operation's result is its own, to be written to."""
    return isinstance(operation, Add | Affine) or (isinstance(operation, PerChannel) and operation.fresh)


def _on_all_channels(operation: Operation, x: Tensor) -> Tensor:
    match operation:
        case PerChannel():
            return operation.function(x)
        case Affine():
            return _affine(x, operation.scale, operation.shift)
    return x.flatten(1)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(_per_feature(shift, x), x, _per_feature(scale, x)).to(x.dtype)  # as batch norm answers


def _per_feature(vector: Tensor, like: Tensor) -> Tensor:
    """(features,) in a shape to be broadcast over (images, features, ...)."""
    return vector.view(1, -1, *[1] * (like.dim() - 2))
