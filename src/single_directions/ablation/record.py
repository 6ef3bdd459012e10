"""A record of one forward pass: what was computed from what, under which names.

Names are those of ``torchvision.models.feature_extraction``, so a place has one name whether or not the network can be
traced. There are also names for whole modules, and for calls inside what the tracer takes for one step (a layer of
torchvision such as `SqueezeExcitation`).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Size, Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from single_directions.ablation.forward import Call, Watch, operation
from single_directions.ablation.recurrent import RECURRENT, states
from single_directions.ablation.trace import Names, is_leaf

_OF_LAST_DIMENSION = {
    *("linear", "layer_norm", "rms_norm", "embedding", "embedding_bag", "bilinear"),
    *("lstm", "gru", "lstm_cell", "gru_cell", *RECURRENT),
    *("linear_dynamic", "linear_dynamic_fp16", "linear_relu", "linear_relu_dynamic"),  # of quantized layers
}
_OF_FIRST_DIMENSION = {
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "deform_conv2d"),
    *("batch_norm", "group_norm", "instance_norm", "prelu"),
}
_ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}
_PRODUCTS = {
    *("matmul", "bmm", "mm", "mv", "addmm", "addmv", "addbmm", "baddbmm", "einsum", "tensordot", "inner", "cdist"),
    *("chain_matmul", "multi_dot", "kron"),
}
_PER_UNIT = {"layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "prelu"}
_OF_SHAPE = {"zeros_like", "new_zeros", "ones_like", "new_ones", "full_like", "new_full", "empty_like", "new_empty"}
"""Operations whose results depend on the shape of what they read, and not on its values."""
_RESHAPING = {"squeeze", "unsqueeze", "view", "reshape", "flatten", "getitem"}
MIXING = (_OF_LAST_DIMENSION | _OF_FIRST_DIMENSION | _ATTENTION | _PRODUCTS | {"unseen"}) - _PER_UNIT
"""Operations that mix units: layers and products of matrices."""


@dataclass(frozen=True)
class Event:
    """An operation whose result depends on the images.

    Attributes:
        operation: its name, as `forward.operation` gives it; "rectify" for other spellings of max(x, 0),
            "saturate" if they also take the smaller of it and 1.
        sources: the numbers of the events whose results it reads.
        shape: of its result.
        units: the dimension of its result in which the units lie; ``None`` where that cannot be told.
    """

    operation: str
    sources: tuple[int, ...]
    shape: Size
    units: int | None


@dataclass
class Place:
    """A named place of a forward pass.

    Attributes:
        call: the call whose result it is.
        event: the number of the event that computed it; ``None`` where it does not depend on the images.
        shape: of its value; ``None`` where that is no tensor.
    """

    call: Call
    event: int | None
    shape: Size | None


@dataclass
class Record:
    """Everything that one forward pass computed from the images.

    Attributes:
        events: in the order in which they ran; number 0 is the images.
        places: by name, in the order in which they ran.
        named_by: for an event, the name of the place at it.
        calls: how often each function was called by each module, and each module itself.
        output: the number of the event that computed the logits; ``None`` where they do not depend on the images.
        logits: the network's answer.
    """

    events: list[Event] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    named_by: dict[int, str] = field(default_factory=dict)
    calls: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    output: int | None = None
    logits: Any = None

    @property
    def last(self) -> str:
        """The operation whose result the logits are, but for their shape."""
        number = self.output
        while number is not None and self.events[number].operation in _RESHAPING:
            number = self.events[number].sources[0]
        return "" if number is None else self.events[number].operation


class Recorder:
    """Records one forward pass.

    Attributes:
        record: so far.
    """

    def __init__(self, network: nn.Module) -> None:
        self.watch = Watch(network, self._after)
        self.leaves = {path for module, path in self.watch.paths.items() if is_leaf(module)}
        self.nested = {path for module, path in self.watch.paths.items() if any(True for _ in module.children())}
        self.record = Record()
        self._event_of = WeakTensorKeyDictionary()  # of the tensors that live
        for tensor in (*network.parameters(), *network.buffers()):
            self.is_constant(tensor)
        self._nodes = WeakTensorKeyDictionary()  # those computed by a layer, though not of the images
        self._names = Names()
        self._more: dict[str, Place] = {}
        self._parts = WeakTensorKeyDictionary()  # the events that have overwritten parts of a tensor since it was read

    def run(self, inputs: Tensor, run: Callable[[Tensor], Any] | None = None) -> Record:
        """Run the network on images (images, ...) and record what it does; `run` as `Watch` takes it."""
        self.images = len(inputs)
        record = self.record
        record.events.append(Event("images", (), inputs.shape, 1 if inputs.dim() > 1 else None))
        self._event_of[inputs] = 0
        record.logits, record.calls = self.watch(inputs, run), self.watch.times
        if isinstance(record.logits, Tensor):
            record.output = self.event(record.logits)
        for name, place in self._more.items():
            record.places.setdefault(name, place)
        for name, place in record.places.items():
            if place.event is not None:
                record.named_by.setdefault(place.event, name)
        return record

    def is_constant(self, tensor: Tensor) -> None:
        """A tensor does not depend on the images, though it may have a row for each by chance."""
        self._event_of[tensor] = None

    def event(self, tensor: Tensor) -> int | None:
        """The number of the event that computed a tensor; ``None`` where it does not depend on the images."""
        if tensor in self._parts:
            before = [] if self._event_of.get(tensor) is None else [self._event_of[tensor]]
            self._event_of[tensor] = self._append("setitem", before + self._parts.pop(tensor), tensor, (), {})
        if tensor not in self._event_of:
            # A constant, or computed in code that cannot be watched, perhaps from all that came before.
            unseen = tensor.dim() > 0 and len(tensor) == self.images
            everything, units = range(len(self.record.events)), 1 if tensor.dim() == 2 else None
            self._event_of[tensor] = self._event("unseen", everything, tensor.shape, units) if unseen else None
        return self._event_of[tensor]

    def _after(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        within = any(path in self.leaves for path in self.watch.running)
        if call.function is None:
            name, named = call.module, call.module in self.leaves and not within
            if named:
                self._nodes.update(dict.fromkeys(_tensors(result)))
        else:
            read = [(tensor, self.event(tensor)) for tensor in _tensors((args, kwargs))]
            sources = [number for _, number in read if number is not None]
            if sources and call.function in RECURRENT and states(call.function, args):
                self._recurrent(call, sources, args, result)
                return result
            of_shape = call.function in _OF_SHAPE
            for tensor in _tensors(args[0] if call.function == "setitem" else result):
                values = sources and not of_shape
                self._event_of[tensor] = self._append(call.function, sources, tensor, args, kwargs) if values else None
                if values and args and tensor is args[0] and tensor._base is not None:
                    self._parts.setdefault(tensor._base, []).append(self._event_of[tensor])
            if any(tensor in self._nodes for tensor, _ in read) or (sources and of_shape):
                self._nodes.update(dict.fromkeys(_tensors(result)))
            elif not sources:  # nor does the tracer see it
                return result
            if within and call.module not in self.nested:
                return result
            name, named = f"{call.module}.{call.function}" if call.module else call.function, not within
        event = self.event(result) if isinstance(result, Tensor) else None
        place = Place(call, event, result.shape if isinstance(result, Tensor) else None)
        if named:
            self.record.places[self._names.next(name)] = place
        else:
            self._more.setdefault(f"{name}_{call.times}" if call.times else name, place)
        return result

    def _recurrent(self, call: Call, sources: list[int], args: Any, result: Any) -> None:
        """Record the hidden states of a recurrent layer, each of which is a place."""
        assert call.function is not None
        activation, shape = RECURRENT[call.function], args[1].shape[-2:]
        every: list[int] = []
        for layer in states(call.function, args):
            found = []
            for state in layer:
                mixed = self._event(call.function, sources, shape, 1)
                found.append(self._event(activation, [mixed], shape, 1))
                name = ".".join(filter(None, [call.module, activation + (state and f"_{state}")]))
                place = Place(Call(call.module, call.function, 0, state), None, shape)
                self._more.setdefault(name, place).event = found[-1]  # that of the last call
            sources = found
            every += found
        for tensor, read in zip(_tensors(result), (sources, every), strict=False):  # outputs, and all last states
            self._event_of[tensor] = self._event("rnn", read, tensor.shape, tensor.dim() - 1)

    def _event(self, operation: str, sources: Iterable[int], shape: Size, units: int | None) -> int:
        self.record.events.append(Event(operation, tuple(sorted(set(sources))), shape, units))
        return len(self.record.events) - 1

    def _append(self, function: str, sources: list[int], result: Tensor, args: Any, kwargs: dict[str, Any]) -> int:
        name, events = operation(function), self.record.events
        alike = (n for n in sources if len(events[n].shape) == result.dim() and events[n].units is not None)
        source = events[next(alike, sources[0])]
        dense = result.dim() > 1 and self._is_dense(name, args)
        units = result.dim() - 1 if dense else _units(name, source, result.shape, args, kwargs)
        return self._event(self._rectified(name, args, kwargs), sources, result.shape, units)

    def _rectified(self, name: str, args: Any, kwargs: dict[str, Any]) -> str:
        """ "rectify" for an operation that takes the larger of a value and 0, "saturate" if 1 is its largest result."""
        if name in ("clamp", "clip", "clamp_min"):
            bounds = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
            lowest, highest = bounds.get("min"), bounds.get("max")
            if isinstance(lowest, int | float) and lowest == 0:
                return "saturate" if highest == 1 else "rectify"
        given = [*args, *kwargs.values()]
        if name in ("max", "maximum", "fmax") and len(given) == 2 and any(map(self._is_zero, given)):
            return "rectify"
        return name

    def _is_dense(self, name: str, args: Any) -> bool:
        """Whether a product is a dense layer: the last dimension of its result is one of a parameter alone."""
        operands = _tensors(args)
        varying = [self._event_of.get(tensor) is not None for tensor in operands]
        if name in ("matmul", "einsum") and len(operands) == 2 and sum(varying) == 1:
            constant = operands[varying.index(False)]
            if not isinstance(constant if constant._base is None else constant._base, nn.Parameter):
                return False
            if name == "matmul":
                return varying[0] and operands[1].dim() > 1
            read, _, given = str(args[0]).replace(" ", "").partition("->")
            return given[-1:].isalpha() and given[-1] not in read.split(",")[varying.index(True)]
        return False

    def _is_zero(self, value: Any) -> bool:
        """Whether a value is a tensor of zeros, whatever the images are."""
        return isinstance(value, Tensor) and self._event_of.get(value) is None and not value.any()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, tuple | list):
        return []
    return [tensor for part in value for tensor in _tensors(part)]


def _units(name: str, source: Event, shape: Size, args: Any, kwargs: dict[str, Any]) -> int | None:
    """The dimension of a result in which the units lie: the outputs of the layer that computed it."""
    dims = len(shape)
    if dims == 2:
        return 1
    if name in _OF_LAST_DIMENSION | _ATTENTION:
        return dims - 1
    if name in _OF_FIRST_DIMENSION:
        return 1
    before = source.units
    if before is None:
        return None
    order = _order(name, len(source.shape), args, kwargs)
    if order is not None:
        return order.index(before)
    if name in MIXING:
        return None
    if dims == len(source.shape) and not (name in ("reshape", "view") and shape != source.shape):
        return before
    if dims > before and shape[1 : before + 1] == source.shape[1 : before + 1]:  # positions behind them were reshaped
        return before
    behind = len(source.shape) - before  # positions before them were reshaped
    if dims > 1 and shape[dims - behind :] == source.shape[before:] and dims - behind > 0:
        return dims - behind
    return None


def _order(name: str, dims: int, args: Any, kwargs: dict[str, Any]) -> list[int] | None:
    """Where each dimension of a transposed tensor comes from; ``None`` for what does not transpose."""
    rest = [*args[1:], *kwargs.values()]
    if name == "permute":
        order = rest[0] if len(rest) == 1 and not isinstance(rest[0], int) else rest
        return [d % dims for d in order]
    order = list(range(dims))
    if name in ("transpose", "swapaxes", "swapdims") and len(rest) == 2:
        first, second = (d % dims for d in rest)
        order[first], order[second] = order[second], order[first]
        return order
    if name in ("movedim", "moveaxis") and len(rest) == 2 and all(isinstance(d, int) for d in rest):
        order.insert(rest[1] % dims, order.pop(rest[0] % dims))
        return order
    return order[::-1] if name in ("t", "mT") and dims == 2 else None
