"""A CUDA device that is only pretended, to count how often a measurement waits for it.

Nothing is computed there: tensors have shapes and no values (PyTorch's fake tensors). Where the program wants a value,
it would wait for the device; it is given the value that the same run had on the CPU, and the wait is counted.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
_READS = {aten._local_scalar_dense.default, aten.equal.default}
"""Operations that give Python a number: `.item()`, `int()`, `bool()`, `torch.equal()`."""


class Recorded(TorchDispatchMode):
    """Keeps what a run on the CPU reads, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.read: deque[Any] = deque()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        if func in _READS:
            self.read.append(value)
        return value


class PretendedCuda(TorchDispatchMode):
    """Runs what is on the CPU, pretends what is on CUDA, and counts what the host waits for.

    Attributes:
        waits: how often, by kind: `read` of a value, `copy to the host`, `copy to the device` (from memory that is not
            pinned, so that CUDA may wait), and the `hidden copy` of an operation given tensors of both.
    """

    def __init__(self, read: deque[Any]) -> None:
        super().__init__()
        self.read, self.waits = read, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, FakeTensor)]
        here = [tensor for tensor in tensors if not isinstance(tensor, FakeTensor) and tensor.dim()]
        to = kwargs.get("device")
        if func in _READS:
            self.waits["read"] += bool(there)
            return self.read.popleft()
        if there and to is not None and torch.device(to).type == "cpu":
            self.waits["copy to the host"] += 1
            with unset_fake_temporarily():
                return torch.zeros(there[0].shape, dtype=kwargs.get("dtype") or there[0].dtype)
        if not there and (to is None or torch.device(to).type == "cpu"):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if here:
            self.waits["hidden copy" if there else "copy to the device"] += 1
        return func(*args, **kwargs)  # by the mode below this one, which pretends


@contextmanager
def _no_random_state(**_: Any) -> Iterator[None]:
    yield


def waits(measure: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the host would wait while ``measure(device)`` runs on CUDA.

    The measurement is to make its tensors itself: it is run on ``"cpu"`` first, and then on ``"cuda"``.
    """
    with Recorded() as recorded:
        measure("cpu")
    monkeypatch.setattr(torch.random, "fork_rng", _no_random_state)  # there is no generator to keep
    with FakeTensorMode(allow_non_fake_inputs=True), PretendedCuda(recorded.read) as pretended:
        measure("cuda")
    assert not recorded.read, "on CUDA less was read than on the CPU"
    return pretended.waits
