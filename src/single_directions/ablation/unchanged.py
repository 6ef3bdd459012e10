"""Leaves a network as it was: what its modules hold, the values of their tensors, and their modes."""

import operator
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

_HOOKS = vars(nn.Module()).keys() - {"_parameters", "_buffers", "_modules"}
_LONG = 1000
"""Of a container with more elements than this, these are kept, but not what is in them."""
_MOST = 1_000_000
"""So many elements of tensors that are no buffers are copied at most: there may be a whole data set of them."""


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """After it the attributes and buffers of all modules are as before, whatever forward passes have set.

    So are lists, dicts, sets and deques that modules hold, and in them the values of tensors and arrays, the states of
    random generators, and modules. Other objects may change. Parameters keep their places, not their values. Lazy
    layers are left out: they change for good in their first forward pass.
    """
    modules = [one for one in network.modules() if _can_be_kept(one)]
    containers, given_back = _held(modules)
    try:
        yield
    finally:
        for container, before in containers:
            _refill(container, before)
        for give_back in given_back:
            give_back()


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """After it all modules are in the modes in which they were, and no change of a mode has left a trace in parameters.

    A module whose own `train` or `eval` does more than set a flag, such as to merge weights, is switched by it.
    """
    modes = {module: module.training for module in network.modules()}
    switched = [module for module in modes if _switches(module)]
    parameters = dict.fromkeys(parameter for module in switched for parameter in module.parameters())
    values = [_Value(parameter) for parameter in parameters if _has_value(parameter)]
    try:
        yield
    finally:
        for module in switched:
            if module.training != modes[module]:
                module.train(modes[module])
        for module, training in modes.items():
            module.training = training
        for value in values:
            value.give_back()


def state_keeper(thing: Any) -> Callable[[], Any] | None:
    """What gives a random generator the state that it has now; None if the thing is none."""
    if isinstance(thing, torch.Generator):
        return partial(thing.set_state, thing.get_state())
    if isinstance(thing, np.random.RandomState):
        return partial(thing.set_state, thing.get_state())
    if isinstance(thing, np.random.Generator):
        return partial(setattr, thing.bit_generator, "state", thing.bit_generator.state)
    if isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
        return partial(thing.setstate, thing.getstate())
    return None


def version_of(tensor: Tensor) -> int:
    """A number that changes with most changes of a tensor in place; 0 where PyTorch does not count them."""
    return 0 if tensor.is_inference() else tensor._version


class _Value:
    """The value of a tensor, to give it back."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.own, self.version = tensor, tensor.data, tensor._version
        self.value = tensor.detach().clone()
        self.form = _form(tensor)

    def give_back(self) -> None:
        """Give the tensor its value and its memory, unless it has them. Its version stays, for autograd."""
        same = _form(self.tensor) == self.form
        if same and self.tensor._version == self.version and self._is_equal():
            return
        if not same:  # it was resized, or `data` was set
            self.tensor.data = self.own
        with torch.no_grad():
            self.tensor.data.copy_(self.value)

    def _is_equal(self) -> bool:
        """Whether the value is the same; only ``True`` where it cannot be told."""
        return self.tensor.layout is not torch.strided or self.tensor.is_meta or self.tensor.equal(self.value)


def _form(tensor: Tensor) -> tuple[Any, ...]:
    form = tensor.shape, tensor.dtype, tensor.device
    if tensor.layout is not torch.strided:
        return form
    return *form, tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.stride()


def _has_value(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and not tensor.is_inference()


def _can_be_kept(module: nn.Module) -> bool:
    return not isinstance(module, LazyModuleMixin | torch.jit.ScriptModule)


def _held(modules: Sequence[nn.Module]) -> tuple[list[tuple[Any, Any]], list[Callable[[], Any]]]:
    """The containers that modules hold, the modules' own dicts included, with what is in them; what gives values back.

    Modules in containers, which the network does not know of, are held as well.
    """
    containers: list[tuple[Any, Any]] = []
    given_back: list[Callable[[], Any]] = []
    buffers = {id(buffer) for module in modules for buffer in module._buffers.values()}
    seen, copied = set[int](), 0
    waiting: list[Any] = list(modules)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module) and _can_be_kept(thing):
            own = vars(thing)
            containers.append((own, dict(own)))
            buffers.update(map(id, thing._buffers.values()))
            waiting += [value for name, value in own.items() if name not in _HOOKS]
        elif isinstance(thing, Tensor):
            if not isinstance(thing, nn.Parameter) and _has_value(thing):
                size = 0 if id(thing) in buffers else thing.numel()
                if copied + size <= _MOST:
                    copied += size
                    given_back.append(_Value(thing).give_back)
        elif isinstance(thing, np.ndarray):
            if copied + thing.size <= _MOST:
                copied += thing.size
                given_back.append(partial(_give_array_back, thing, thing.copy()))
        elif isinstance(thing, list | dict | set | deque | tuple):
            if not isinstance(thing, tuple):
                containers.append((thing, _content(thing)))
            if len(thing) <= _LONG:
                waiting += thing.values() if isinstance(thing, dict) else thing
        elif (keeper := state_keeper(thing)) is not None:
            given_back.append(keeper)
    return containers, given_back


def _give_array_back(array: Any, before: Any) -> None:
    """Unless it was resized, or may no longer be written."""
    if array.shape == before.shape and array.flags.writeable:
        np.copyto(array, before)


def _content(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _refill(container: Any, before: Any) -> None:
    """Put back what was in a container, unless it still is."""
    is_dict = isinstance(container, dict)
    same = len(container) == len(before) and all(map(operator.is_, container, before))
    if same and (not is_dict or all(map(operator.is_, container.values(), before.values()))):
        return
    container.clear()
    if isinstance(container, dict | set):
        container.update(before)
    else:
        container.extend(before)


def _switches(module: nn.Module) -> bool:
    """Whether a module changes its mode in a way of its own."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    methods = [getattr(method, "__func__", method) for method in (module.train, module.eval)]
    return any(not getattr(method, "__module__", "").startswith("torch.") for method in methods)
