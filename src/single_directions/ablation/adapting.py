"""Adapts networks that give more than logits, and batches that are not pairs (inputs, targets)."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from single_directions.errors import BadInput, one_line

BatchToXY = Callable[[Any], Any]
Output = str | int | Callable[[Any], Any]


class _Pairs:
    """Batches that give pairs each time they are read."""

    def __init__(self, batches: Iterable[Any], batch_to_xy: BatchToXY) -> None:
        self.batches, self.batch_to_xy = batches, batch_to_xy

    def __getattr__(self, name: str) -> Any:
        """Other attributes, such as the number of images, are those of the batches."""
        if name == "batches":  # while this object is copied or unpickled
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (pair(batch, self.batch_to_xy) for batch in self.batches)


def as_pairs(batches: Iterable[Any], batch_to_xy: BatchToXY | None) -> Iterable[Any]:
    """Batches as pairs (inputs, targets), by a function that makes one of each; streams stay streams.

    Raises `BadInput` if `batch_to_xy` is not a function, and later if it does not make a pair of tensors of a batch.
    """
    if batch_to_xy is None:
        return batches
    if not callable(batch_to_xy):
        raise BadInput(f"batch_to_xy={batch_to_xy!r}: a function is needed, such as lambda batch: (inputs, targets)")
    if isinstance(batches, Sequence):
        return [pair(batch, batch_to_xy) for batch in batches]
    if isinstance(batches, Iterator):
        return (pair(batch, batch_to_xy) for batch in batches)
    return _Pairs(batches, batch_to_xy)


def pair(batch: Any, batch_to_xy: BatchToXY) -> tuple[Tensor, Tensor]:
    """The (inputs, targets) of a batch. Raises `BadInput` if the function makes no such pair of tensors."""
    try:
        xy = batch_to_xy(batch)
    except Exception as error:  # somebody's own function
        cause = f"{type(error).__name__}: {one_line(error)}"
        raise BadInput(f"batch_to_xy: the function fails on a batch, which is {described(batch)} ({cause})") from error
    if not (isinstance(xy, tuple | list) and len(xy) == 2):
        raise BadInput(f"batch_to_xy: it must make (inputs, targets) of a batch, not {described(xy)}")
    for name, part in zip(("inputs", "targets"), xy, strict=True):
        if not isinstance(part, Tensor):
            raise BadInput(
                f"batch_to_xy: the {name} must be one tensor, not {described(part)}; a network that takes several "
                "can be measured inside a module that takes one"
            )
    return xy[0], xy[1]


def with_logits(network: nn.Module, output: Output | None) -> nn.Module:
    """A network that returns the logits that `output` finds in what `network` returns.

    It shares all attributes with `network`, also those set later, so sites have the same names. If `network` has a
    `forward` of its own, apart from its class's, they are the current ones. Raises `BadInput` if `output` is of another
    kind, or later if it finds no logits.
    """
    if output is None:
        return network
    if not (callable(output) or isinstance(output, str | int)) or isinstance(output, bool):
        raise BadInput(
            f"output={output!r}: must be the name or position of the logits in what the network returns, or a function"
        )
    if isinstance(network, torch.jit.ScriptModule):
        raise BadInput("output: a scripted network cannot be given another answer; give it as it was written")
    if isinstance(network, torch.fx.GraphModule) and type(network).train is not nn.Module.train:
        raise BadInput(
            "output: a network of create_feature_extractor cannot be given another answer; measure it inside a module "
            "whose forward() returns the logits"
        )
    return _around(network, lambda forward, inputs: logits_of(forward(inputs), output))


def with_own_inputs(network: nn.Module) -> nn.Module:
    """The same network, of which each pass has a copy of its inputs, which it may change in place.

    It shares all attributes with `network` as one of `with_logits` does.
    """
    return _around(network, lambda forward, inputs: forward(inputs.clone()))


def _around(network: nn.Module, run: Callable[[Callable[[Tensor], Any], Tensor], Any]) -> nn.Module:
    """A network that shares all attributes with `network`, and whose `forward` is ``run(forward, inputs)``."""
    kind: type[nn.Module] = type(network)

    def forward(self: Any, inputs: Tensor) -> Any:
        return run(partial(kind.forward, self), inputs)

    adapted = copy.copy(network)
    adapted.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    if "forward" in vars(adapted):  # an instance's own goes before the class's
        own = vars(adapted).pop("forward")
        adapted.forward = lambda inputs: run(own, inputs)
    else:
        object.__setattr__(adapted, "__dict__", vars(network))
    return adapted


def logits_of(answer: Any, output: Output) -> Any:
    """The logits in a network's answer. Raises `BadInput` if they are not there."""
    if callable(output):
        try:
            return output(answer)
        except Exception as error:  # somebody's own function
            cause = f"{type(error).__name__}: {one_line(error)}"
            raise BadInput(
                f"output: the function fails on what the network returns, {described(answer)} ({cause})"
            ) from error
    if isinstance(output, str) and not isinstance(answer, Mapping) and hasattr(answer, output):
        return getattr(answer, output)
    try:
        return answer[output]
    except (KeyError, IndexError, TypeError) as error:
        if isinstance(output, str) and hasattr(answer, output):  # an attribute of a mapping
            return getattr(answer, output)
        raise BadInput(f"output={output!r}: not found in what the network returns, {described(answer)}") from error


def described(thing: Any) -> str:
    """What a value is, short: `dict of x, y`, `list of 3`, `NoneType`."""
    kind = type(thing).__name__
    if isinstance(thing, dict):
        return f"{kind} of {', '.join(map(str, thing))}"
    return f"{kind} of {len(thing)}" if isinstance(thing, tuple | list) else kind
