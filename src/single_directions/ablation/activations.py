"""Which places of a network are its default sites: the activation functions, but for gates and what acts on logits."""

from math import prod

from torch import Size

from single_directions.ablation.record import MIXING, Event, Record

ACTIVATIONS = {
    *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "threshold", "elu", "selu", "celu", "gelu", "silu", "mish"),
    *("glu", "hardswish", "hardshrink", "softshrink", "tanh", "hardtanh", "tanhshrink", "softplus"),
    *("softsign", "erf"),
}
"""Gates only if they act on a summary of an image, as between the two layers of squeeze-and-excitation."""
SIGMOIDS = {"sigmoid", "hardsigmoid", "logsigmoid"}
"""Gates if they only multiply something else."""
_CLAMPS = {"rectify", "saturate"}
"""Activation functions only if they follow a layer."""
_PRODUCTS = {"mul", "multiply"}
_NONLINEAR = {"pow", "square", "softmax", "softmin", "log_softmax", "exp", "sqrt", "abs"}
"""Not between a layer and its activation function."""
_QUOTIENTS = {"div", "truediv", "divide"}
_POINTWISE = ACTIVATIONS | SIGMOIDS | _CLAMPS | _PRODUCTS | _QUOTIENTS | {"add", "sub", "pow", "square", "exp", "neg"}


class Defaults:
    """The default sites of a network, by the record of one of its forward passes.

    Attributes:
        names: the default sites, in the order in which they run.
        on_logits: the activation functions left out because no layer follows them.
    """

    def __init__(self, record: Record, other: Record) -> None:
        """`other` records the same network for another number of images."""
        self.events, self.output = record.events, record.output
        self.activations = self._activations()
        self.names: list[str] = []
        self.on_logits: list[str] = []
        logits = self._of_logits()
        for number in sorted(self.activations):
            name = record.named_by.get(number)
            if name is None or not _has_units(name, record, other):
                continue
            if number in logits:
                self.on_logits.append(name)
            elif not self._is_gate(number):
                self.names.append(name)

    def _activations(self) -> set[int]:
        """The events that are activation functions. Of one written as x * sigmoid(x) it is the product."""
        found = {
            number
            for number, event in enumerate(self.events)
            if event.operation in ACTIVATIONS | SIGMOIDS or (event.operation in _CLAMPS and self._follows(number))
        }
        root: list[int] = []  # what a chain of pointwise operations on one tensor starts from
        inner: list[set[int]] = []  # the activation functions in that chain
        for number, event in enumerate(self.events):
            roots = {root[source] for source in event.sources}
            chain = event.operation in _POINTWISE and len(roots) == 1
            root.append(roots.pop() if chain else number)
            before = set().union(*(inner[source] for source in event.sources)) if chain else set()
            if event.operation in _PRODUCTS and len(event.sources) == 2 and before:
                found = found - before | {number}
                before = set()
            inner.append(before | ({number} if number in found else set()) if chain else set())
        return found

    def _follows(self, number: int) -> bool:
        """Whether an operation acts on the output of a layer, on that with a norm, or on a sum with it."""
        layer, seen, waiting = False, set(), list(self.events[number].sources)
        while waiting:
            number = waiting.pop()
            event = self.events[number]
            if number in seen or event.operation in ACTIVATIONS | SIGMOIDS | _CLAMPS:
                continue
            if event.operation in _NONLINEAR or (event.operation in _PRODUCTS and len(event.sources) > 1):
                return False
            seen.add(number)
            if event.operation in MIXING:
                layer = True
            else:
                waiting += event.sources
        return layer

    def _of_logits(self) -> set[int]:
        """The events between the last layer and the logits."""
        found: set[int] = set()
        waiting = [] if self.output is None else [self.output]
        while waiting:
            number = waiting.pop()
            if number not in found and self.events[number].operation not in MIXING:
                found.add(number)
                waiting += self.events[number].sources
        return found

    def _is_gate(self, number: int) -> bool:
        """Whether an activation only multiplies, or divides, something that is not made of it.

        Unless it is a sigmoid it must also have fewer values than what it multiplies.
        """
        gate, reached, multiplies = self.events[number], {number}, False
        for later in range(number + 1, len(self.events)):
            event = self.events[later]
            if reached.isdisjoint(event.sources):
                continue
            if self._opens(gate, event, reached):
                multiplies = True
            else:
                reached.add(later)
        return multiplies and self.output not in reached

    @staticmethod
    def _opens(gate: Event, event: Event, reached: set[int]) -> bool:
        if event.operation not in _PRODUCTS | _QUOTIENTS or reached.issuperset(event.sources):
            return False
        return gate.operation in SIGMOIDS | {"saturate"} or prod(gate.shape[1:]) < prod(event.shape[1:])


def images_dim(shape: Size | None, other: Size | None, images: tuple[int, int]) -> int | None:
    """The dimension of the images in a value, which alone follows their number; ``None`` if there is none.

    Args:
        shape, other: of the value for the first and the second number of images.
        images: these numbers.
    """
    if shape is None or other is None or len(shape) != len(other):
        return None
    differ = [dim for dim, sizes in enumerate(zip(shape, other, strict=True)) if sizes[0] != sizes[1]]
    return differ[0] if len(differ) == 1 and (shape[differ[0]], other[differ[0]]) == images else None


def _has_units(name: str, record: Record, other: Record) -> bool:
    """Whether a place holds one row per image, and the dimension of its units, after that of the images, is known."""
    one, two = record.places[name], other.places.get(name)
    if two is None or one.event is None:
        return False
    images = images_dim(one.shape, two.shape, (record.events[0].shape[0], other.events[0].shape[0]))
    units = record.events[one.event].units
    return images is not None and units is not None and images < units
