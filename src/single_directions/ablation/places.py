"""All places of a network that can be named as sites: those of its graph, if it has one, and of its record."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from single_directions.ablation.activations import ACTIVATIONS, Defaults, images_dim
from single_directions.ablation.forward import Call
from single_directions.ablation.record import Event, Record, Recorder
from single_directions.ablation.runners import ATTENTION, AsItIs, Runner, Traced
from single_directions.ablation.trace import out_of_place, trace
from single_directions.errors import BadInput, one_line

UnitDim = int | str
"""The dimension of an output in which its units lie, or ``"head"``: they are attention heads."""

_IMAGES, _FEWER = 3, 2
"""A place has one row per image if its size follows these numbers of images."""
_TOLERANCE = 1e-3
_TOLERANCE_OF_PARTS = 1e-2
"""Rounding differs more between batches of different sizes. What depends on a batch differs by more than this."""
_SHOWN = 5


@dataclass(frozen=True)
class Seen:
    """What one pass over a few images shows of a node.

    Attributes:
        event: the event that computed its value; ``None`` where it does not depend on the images.
        shape: of its value; ``None`` where that is no tensor.
        dtype: of its value.
        flops: of the node alone, an image.
    """

    event: Event | None
    shape: Size | None
    dtype: torch.dtype
    flops: float

    @property
    def row(self) -> int:
        """Bytes of its value for one image; 0 where it has no dimension for images."""
        return self.shape[1:].numel() * self.dtype.itemsize if self.shape is not None and len(self.shape) > 1 else 0

    @property
    def one_row_an_image(self) -> bool:
        """Whether its value has as many rows as there were images."""
        return self.shape is not None and self.shape[:1] == (_IMAGES,)

    @property
    def bytes(self) -> float:
        """Bytes of its value, an image; all bytes of what is the same for any number of images."""
        if self.shape is None:
            return 0.0
        return self.shape.numel() * self.dtype.itemsize / (_IMAGES if self.one_row_an_image else 1)


@dataclass(frozen=True)
class Spot:
    """A place that was named.

    Attributes:
        name: of the place.
        call: the call whose result it is; ``None`` if only the graph has it.
        node: of the graph; ``None`` if the graph does not have it.
        units, dim, block, images: as `Site` has them.
    """

    name: str
    call: Call | None
    node: fx.Node | None
    units: int
    dim: int
    block: int
    images: int = 0


class Places:
    """The places of a network in eval mode, found by running it on a few images.

    Attributes:
        defaults: its default sites by rule.
        mixes: whether an image's logits depend on the other images of its batch.
        graph: ``None`` where it cannot be traced.
        untraced: why it cannot, "" where it can.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, plain: Tensor) -> None:
        """`plain` are the logits of the inputs."""
        self.network = network
        self.inputs = torch.cat([inputs] * _IMAGES)[:_IMAGES] if len(inputs) < _IMAGES else inputs[:_IMAGES]
        self.record = Recorder(network).run(self.inputs)
        fewer = self.fewer = Recorder(network).run(self.inputs[:_FEWER])
        self.defaults = Defaults(self.record, fewer)
        self.mixes = mixed(network, self.record.logits, fewer.logits)
        if len(inputs) < _IMAGES and not self.mixes:  # copies of images hide whether they depend on each other
            first = inputs[:1]
            other = inputs[1:] if len(inputs) > 1 else torch.zeros_like(inputs)
            self.mixes = mixed(network, network(torch.cat([first, other])), network(torch.cat([first, first]))[:1])
        if len(inputs) > _IMAGES and not self.mixes:  # the most extreme image is in one part alone
            cut = min(_IMAGES, len(inputs) - 2)  # see `dataflow.portions`
            parts = (plain[:_IMAGES], self.record.logits), (plain[cut:], network(inputs[cut:]))
            tolerance = max(_TOLERANCE_OF_PARTS, 8 * torch.finfo(plain.dtype).eps)
            self.mixes = any(_distance(*part) > tolerance for part in parts)
        self.graph: fx.Graph | None = None
        self.nodes: dict[str, fx.Node] = {}
        self.seen: dict[fx.Node, Seen] = {}
        self.untraced = _subclass(network)
        if not self.untraced:
            self._trace()

    def _trace(self) -> None:
        try:
            graph, named = trace(self.network)
            found, seen = _OfNodes(self.network, graph)(self.inputs)
            if not isinstance(found.logits, Tensor) or not _distance(self.record.logits, found.logits) <= _TOLERANCE:
                raise RuntimeError("its graph, without in-place operations, computes something else")
        except Exception as error:  # tracing runs the user's own code on stand-ins: anything can be raised
            self.untraced = one_line(error)
            return
        self.graph, self.seen = graph, seen
        self.nodes = {
            name: node for name, node in named.items() if node.op not in ("placeholder", "output", "get_attr")
        }

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
            event, shape = self.seen[node].event, self.seen[node].shape
        else:
            event, shape = self._event(name), self.record.places[name].shape
        call = None if place is None else place.call
        if unit_dim == "head" and (within := self._attention(call)):
            return Spot(name, *within)
        images = self._images(name, shape)
        if event is None or shape is None or len(shape) < 2 or images is None or 0 in shape:
            raise BadInput(f"site {name!r}: its output is not a tensor (images, units, ...); choose another site")
        if unit_dim == "head":
            return Spot(name, call, node, *self._heads(name, call, event), images)
        dim = event.units if unit_dim is None else unit_dim
        if dim is None:
            raise BadInput(
                f"site {name!r}: cannot tell in which dimension of its output {_of(shape)} its units lie; "
                f"name it, as in unit_dim={{{name!r}: {len(shape) - 1}}}"
            )
        if not isinstance(dim, int) or not dim % len(shape) > images or not -len(shape) <= dim < len(shape):
            raise BadInput(
                f"unit_dim={unit_dim!r}: site {name!r} has the dimensions {images + 1} to {len(shape) - 1} after the "
                f'images, its output is {_of(shape)}; name one of them, or "head" for attention heads'
            )
        return Spot(name, call, node, shape[dim], dim % len(shape), 1, images)

    def _images(self, name: str, shape: Size | None) -> int | None:
        """The dimension of the images at a place; ``None`` if there is none."""
        other = self.fewer.places.get(name)
        found = None if other is None else images_dim(shape, other.shape, (_IMAGES, _FEWER))
        return 0 if found is None and shape is not None and shape[:1] == (_IMAGES,) else found

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
            f"site {name!r}: cannot tell how many attention heads its output {_of(event.shape)} holds; name an "
            "nn.MultiheadAttention, or what the projection of an attention with the attribute num_heads reads"
        )

    def _unknown(self, name: str) -> str:
        nodes = [name for name, node in self.nodes.items() if self.seen[node].shape]
        known = dict.fromkeys([*nodes, *(name for name, place in self.record.places.items() if place.shape)])
        close = difflib.get_close_matches(name, known, n=_SHOWN, cutoff=0.0)
        return f"site {name!r}: the network has no site of this name. Closest of {len(known)}: {', '.join(close)}" + (
            f" (the network cannot be traced: {self.untraced})" if self.untraced else ""
        )

    def runner(self, spots: Sequence[Spot], by_rule: bool) -> tuple[Runner, tuple[fx.Node, ...], str]:
        """A way to run the network with something done at these places, their nodes, and why there are none."""
        outside = [spot.name for spot in spots if spot.node is None or spot.images]
        graph_alone = [spot.name for spot in spots if spot.node is not None and not self._is_at_call(spot)]
        if outside and graph_alone:
            raise BadInput(
                f"sites: {graph_alone[0]!r} is a step of the graph alone, and {outside[0]!r} cannot be measured in it; "
                "measure them one at a time"
            )
        calls = [spot.call for spot in spots if spot.call is not None]
        as_it_is = AsItIs(self.network, calls, self.record.calls if by_rule else None)
        if self.graph is None:
            return as_it_is, (), self.untraced
        if any(spot.images for spot in spots):
            return as_it_is, (), f"images are not the first dimension of site {outside[0]!r}"
        if outside:
            return as_it_is, (), f"its graph has no step {outside[0]!r}, which lies within one"
        nodes = tuple(spot.node for spot in spots if spot.node is not None)
        traced = Traced(self.network, self.graph, nodes)
        if by_rule and graph_alone:
            return as_it_is, (), "its graph names other activations"
        return traced, nodes, ""

    def _is_at_call(self, spot: Spot) -> bool:
        """Whether the call of a place in the graph gives what its node gives."""
        return spot.call is not None and spot.node is not None and self.seen[spot.node].event == self._event(spot.name)

    def _event(self, name: str) -> Event | None:
        """The event at a place of the record."""
        number = self.record.places[name].event
        return None if number is None else self.record.events[number]


class _OfNodes(fx.Interpreter):
    """Runs a graph, records it and notes what is to be seen of each of its nodes."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.recorder, self.counter = Recorder(network), _Flops()
        self.seen: dict[fx.Node, Seen] = {}

    def run_node(self, n: fx.Node) -> Any:
        before = self.counter.total
        value = super().run_node(n)
        flops = (self.counter.total - before) / _IMAGES
        if isinstance(value, Tensor):
            if n.op != "placeholder" and not n.all_input_nodes:
                self.recorder.is_constant(value)
            number = self.recorder.event(value)
            event = None if number is None else self.recorder.record.events[number]
            self.seen[n] = Seen(event, value.shape, value.dtype, flops)
        else:
            self.seen[n] = Seen(None, None, torch.float32, flops)
        return value

    def __call__(self, inputs: Tensor) -> tuple[Record, dict[fx.Node, Seen]]:
        """The record, and what is seen of each node."""
        with out_of_place(self.module), self.counter:
            return self.recorder.run(inputs, super().run), self.seen


class _Flops(TorchDispatchMode):
    """Counts as `torch.utils.flop_counter.FlopCounterMode`, without its cost for what takes no operation."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = flop_registry.get(func.overloadpacket)
        if count is None and torch.is_inference_mode_enabled() and func is not torch.ops.prim.device.default:
            with self:  # in this mode an operation arrives whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=result)
        return result


def mixed(network: nn.Module, whole: Any, part: Any) -> bool:
    """Whether an image's logits depend on its batch, as with batch norm that keeps no running statistics.

    `part` are the logits of the first images of those that gave `whole`.
    """
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is None for m in network.modules()):
        return True
    return _distance(whole[: len(part)], part) > _TOLERANCE


def _distance(logits: Tensor, others: Tensor) -> float:
    """The largest difference, as a part of the largest logit."""
    return float((logits - others).abs().max() / logits.abs().max().clamp_min(1e-3))


def _subclass(network: nn.Module) -> str:
    """The kind of weights with which the fast methods cannot calculate, as a reason; "" where there are none."""
    for name, parameter in network.named_parameters():
        if type(parameter) not in (nn.Parameter, Tensor):
            return f"its weights are no plain tensors: {name} is a {type(parameter).__name__}"
    return ""


def _of(shape: Size) -> str:
    return f"(images, {', '.join(map(str, shape[1:]))})"
