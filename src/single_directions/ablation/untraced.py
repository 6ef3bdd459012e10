"""The ReLUs of a network that cannot be traced, found by running it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from single_directions.ablation.trace import RELU_MODULES


class _Watch(TorchDispatchMode):
    """Tells of each ReLU that is computed, by a module or a function of that name."""

    def __init__(self, relu: Callable[[], None]) -> None:
        super().__init__()
        self.relu = relu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        if name in ("relu", "relu6") or (name == "hardtanh" and tuple(args[1:]) == (0, 6)):
            self.relu()
        return func(*args, **(kwargs or {}))


def called_relus(network: nn.Module, inputs: Tensor) -> tuple[list[str], Counter[str]]:
    """What a network calls on some inputs.

    Returns:
        the calls of ReLU modules as sites are named, in their order (``relu``, ``relu_1`` for its second call); and how
        many ReLUs else each module computes in a `forward` of its own, by its name, "" for the network itself.
    """
    modules = dict(network.named_modules())
    calls: list[str] = []
    times: Counter[str] = Counter()
    others: Counter[str] = Counter()
    running: list[tuple[str, nn.Module]] = [("", network)]

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any) -> None:
            running.append((name, module))
            if isinstance(module, RELU_MODULES):
                call = f"{name}_{times[name]}" if times[name] else name
                times[name] += 1
                if call in modules and call != name:  # another module has the name that this call would have
                    others[name] += 1
                else:
                    calls.append(call)

        return hook

    def leave(*_: Any) -> None:
        running.pop()

    def relu() -> None:
        name, module = running[-1]
        if not isinstance(module, RELU_MODULES):
            others[name] += 1

    handles = []
    try:
        for name, module in modules.items():
            if not isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
        with _Watch(relu):
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, others
