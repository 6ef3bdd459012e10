"""All places of a network that can be named as sites: by its graph, where it can be traced, and by its record."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor, fx, nn

from single_directions.ablation.activations import ACTIVATIONS, Defaults
from single_directions.ablation.forward import Call
from single_directions.ablation.record import Event, Record, Recorder, record
from single_directions.ablation.runners import ATTENTION, AsItIs, Runner, Traced
from single_directions.ablation.trace import out_of_place, trace
from single_directions.errors import BadInput, one_line

UnitDim = int | str
"""The dimension of an output in which its units lie, or ``"head"``: they are attention heads."""

_IMAGES, _FEWER = 3, 2
"""A place has a row an image if its size follows these numbers of images."""
_TOLERANCE = 1e-3
_SHOWN = 5


@dataclass(frozen=True)
class Spot:
    """A place that was named.

    Attributes:
        name: of the place.
        call: the call whose result it is; ``None`` where the graph alone knows it.
        node: of the graph; ``None`` where it is not in it.
        units, dim, block: as `Site` has them.
    """

    name: str
    call: Call | None
    node: fx.Node | None
    units: int
    dim: int
    block: int


class Places:
    """The places of a network in eval mode, found by running it on a few images.

    Attributes:
        defaults: its default sites by rule.
        graph: ``None`` where it cannot be traced.
        untraced: why it cannot, "" where it can.
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        self.network = network
        self.inputs = torch.cat([inputs] * _IMAGES)[:_IMAGES] if len(inputs) < _IMAGES else inputs[:_IMAGES]
        self.record = record(network, self.inputs)
        self._other = record(network, self.inputs[:_FEWER])
        self.defaults = Defaults(self.record, self._other)
        self.graph: fx.Graph | None = None
        self.nodes: dict[str, fx.Node] = {}
        self._values: dict[fx.Node, tuple[Event | None, Size | None]] = {}
        self.untraced = _subclass(network)
        if not self.untraced:
            self._trace()

    def _trace(self) -> None:
        try:
            graph, named = trace(self.network)
            found, values = _OfNodes(self.network, graph)(self.inputs)
            plain = self.record.logits
            scale = plain.abs().max().clamp_min(1e-3)
            if not isinstance(found.logits, Tensor) or not ((found.logits - plain).abs().max() / scale) <= _TOLERANCE:
                raise RuntimeError("its graph, out of place, computes something else")
        except Exception as error:  # tracing runs the user's own code on stand-ins: anything can be raised
            self.untraced = one_line(error)
            return
        self.graph, self._values = graph, values
        self.nodes = {
            name: node for name, node in named.items() if node.op not in ("placeholder", "output", "get_attr")
        }

    @cached_property
    def names(self) -> list[str]:
        """Of all places that hold a tensor."""
        nodes = [name for name, node in self.nodes.items() if node in self._values]
        return list(dict.fromkeys([*nodes, *(name for name, place in self.record.places.items() if place.shape)]))

    def layers(self) -> list[str]:
        """Names of places that can be taken as sites."""
        return [name for name, place in self.record.places.items() if place.call.function is None and self._fits(name)]

    def _fits(self, name: str) -> bool:
        try:
            self.spot(name, None)
        except BadInput:
            return False
        return self.record.places[name].event != self.record.output

    def spot(self, name: str, unit_dim: UnitDim | None) -> Spot:
        """The place of a name.

        Raises:
            BadInput: there is none, or its output has no units where they are asked for.
        """
        place, node = self.record.places.get(name), self.nodes.get(name)
        if place is None and node is None:
            raise BadInput(self._unknown(name))
        if node is not None:
            event, shape = self._values.get(node, (None, None))
        else:
            assert place is not None
            event, shape = None if place.event is None else self.record.events[place.event], place.shape
        call = None if place is None else place.call
        if unit_dim == "head" and (within := self._attention(call)):
            return Spot(name, *within)
        if event is None or shape is None or len(shape) < 2 or shape[0] != _IMAGES or 0 in shape:
            raise BadInput(f"site {name!r}: its output is not a tensor (images, units, ...); choose another site")
        if unit_dim == "head":
            return Spot(name, call, node, *self._heads(name, call, event))
        dim = event.units if unit_dim is None else unit_dim
        if dim is None:
            raise BadInput(
                f"site {name!r}: in which dimension of its output {_of(shape)} its units lie cannot be told; "
                f"say so (unit_dim={{{name!r}: {len(shape) - 1}}})"
            )
        if not isinstance(dim, int) or not dim % len(shape) > 0 or not -len(shape) <= dim < len(shape):
            raise BadInput(
                f"unit_dim={unit_dim!r}: site {name!r} has the dimensions 1 to {len(shape) - 1} behind the images, "
                f'its output is {_of(shape)}; or "head" for attention heads'
            )
        return Spot(name, call, node, shape[dim], dim % len(shape), 1)

    def _attention(self, call: Call | None) -> tuple[Call, None, int, int, int] | None:
        """The place within an `nn.MultiheadAttention` where its heads are apart, as the parts of a `Spot`."""
        module = None if call is None or call.function else self.network.get_submodule(call.module)
        if not isinstance(module, nn.MultiheadAttention):
            return None
        assert call is not None
        return Call(call.module, ATTENTION, call.times), None, module.num_heads, 2, module.head_dim

    def _heads(self, name: str, call: Call | None, event: Event) -> tuple[int, int, int]:
        """How many heads an output has, in which dimension, and how many neighbours there are one head."""
        if len(event.shape) == 4 and event.operation in ("scaled_dot_product_attention", "matmul"):
            return event.shape[1], 1, 1
        if event.operation in ACTIVATIONS:
            raise BadInput(f"site {name!r}: its output is that of {event.operation}, which has no attention heads")
        path = (call.module if call is not None else name).split(".")
        modules = dict(self.network.named_modules())
        for end in range(len(path), -1, -1):
            heads = getattr(modules.get(".".join(path[:end])), "num_heads", None)
            dim = len(event.shape) - 1 if event.units is None else event.units
            if isinstance(heads, int) and event.shape[dim] % heads == 0:
                return heads, dim, event.shape[dim] // heads
        raise BadInput(
            f"site {name!r}: how many attention heads its output {_of(event.shape)} holds cannot be told; name an "
            "nn.MultiheadAttention, or what the projection of an attention with the attribute num_heads reads"
        )

    def _unknown(self, name: str) -> str:
        known = self.names
        close = difflib.get_close_matches(name, known, n=_SHOWN, cutoff=0.0)
        return f"site {name!r}: the network has none of this name. Closest of {len(known)}: {', '.join(close)}" + (
            f" (the network cannot be traced: {self.untraced})" if self.untraced else ""
        )

    def runner(self, spots: Sequence[Spot], by_rule: bool) -> tuple[Runner, tuple[fx.Node, ...], str]:
        """A way to run the network with something done at these places, their nodes, and why there are none."""
        outside = [spot.name for spot in spots if spot.node is None]
        as_it_is = AsItIs(self.network, [spot.call for spot in spots if spot.call is not None])
        if self.graph is None:
            return as_it_is, (), self.untraced
        if outside:
            return as_it_is, (), f"its graph has no step {outside[0]!r}, which lies within one"
        nodes = tuple(spot.node for spot in spots if spot.node is not None)
        traced = Traced(self.network, self.graph, nodes)
        if by_rule and not _alike(traced, as_it_is, self.inputs):
            return as_it_is, (), "its graph names other activations"
        return traced, nodes, ""


class _OfNodes(fx.Interpreter):
    """Runs a graph and keeps the event at each of its nodes."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.recorder = Recorder(network)
        self.values: dict[fx.Node, tuple[int | None, Size]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n] = self.recorder.event(value), value.shape
        return value

    def __call__(self, inputs: Tensor) -> tuple[Record, dict[fx.Node, tuple[Event | None, Size | None]]]:
        """The record, and event and shape of each node whose value is a tensor."""
        with out_of_place(self.module):
            record = self.recorder.run(inputs, super().run)
        events = record.events
        return record, {
            node: (None if number is None else events[number], shape) for node, (number, shape) in self.values.items()
        }


def _alike(one: Runner, two: Runner, inputs: Tensor) -> bool:
    """Whether two runners find the same activations at their sites."""
    seen: list[dict[int, Tensor]] = []
    for run in (one, two):
        activations: dict[int, Tensor] = {}

        def keep(site: int, activation: Tensor, activations: dict[int, Tensor] = activations) -> Tensor:
            activations[site] = activation.clone()
            return activation

        run(inputs, keep)
        seen.append(activations)
    first, second = seen
    return first.keys() == second.keys() and all(
        a.shape == second[site].shape and (a - second[site]).abs().max() <= _TOLERANCE * a.abs().max().clamp_min(1e-3)
        for site, a in first.items()
    )


def _subclass(network: nn.Module) -> str:
    """The kind of weights with which the fast methods cannot calculate, as a reason; "" where there are none."""
    for name, parameter in network.named_parameters():
        if type(parameter) not in (nn.Parameter, Tensor):
            return f"its weights are no plain tensors: {name} is a {type(parameter).__name__}"
    return ""


def _of(shape: Size) -> str:
    return f"(images, {', '.join(map(str, shape[1:]))})"
