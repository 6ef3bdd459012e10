"""What a network is apart from its weights, to see cheaply whether it is still the one that was prepared."""

from collections.abc import Hashable, Iterator
from typing import Any

from torch import nn

_PLAIN = (bool, int, float, str, type(None))


def structure(network: nn.Module) -> tuple[Hashable, ...]:
    """The modules with their plain attributes and hooks, the form of all tensors, and the network's default sites.

    Two are compared by ``==``.

    Modes (train or eval) and private attributes do not count: a training keeps its own state there. Changes inside
    dicts, config objects or globals are not detected.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> before = structure(network)
    >>> _ = network[0].weight.data.zero_()
    >>> structure(network) == before
    True
    >>> network[1] = nn.GELU()
    >>> structure(network) == before
    False
    """
    modules = [
        (name, id(module), *module._forward_hooks, *module._forward_pre_hooks, *_attributes(module))
        for name, module in network.named_modules()
    ]
    tensors = [
        (name, tensor.shape, tensor.dtype, tensor.device)
        for named in (network.named_parameters(), network.named_buffers())
        for name, tensor in named
    ]
    return (*modules, *tensors, _plain(getattr(network, "default_sites", None)))


def _attributes(module: nn.Module) -> Iterator[tuple[str, Hashable]]:
    for name, value in vars(module).items():
        if name.startswith("_") or name == "training":
            continue
        plain = _plain(value)
        if plain is not None:
            yield name, plain


def _plain(value: Any) -> Hashable:
    """A value that can be compared, in a tuple; None of one that is no plain value and no function."""
    if isinstance(value, _PLAIN):
        return (value,)
    if isinstance(value, list | tuple) and value and all(isinstance(one, _PLAIN) for one in value):
        return tuple(value)
    return (id(value),) if callable(value) and not isinstance(value, nn.Module) else None
