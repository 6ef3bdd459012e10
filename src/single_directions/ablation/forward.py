"""Module calls and function calls of a forward pass, each recognised by where and how often it happens.

Works for every network, traced or not: a `TorchFunctionMode` sees functions and methods of tensors, global hooks see
modules. Calls inside a scripted module are not seen.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

_READING = {"__get__", "__set__", "__len__", "size", "dim", "stride", "numel", "is_floating_point", "is_complex"}
OTHER_NAMES = {
    **{"_threshold": "threshold", "log_sigmoid": "logsigmoid"},  # of `F.threshold` and `F.logsigmoid`
    **{"special_expit": "sigmoid", "special_erf": "erf"},
}


@dataclass(frozen=True)
class Call:
    """One call in a forward pass.

    Attributes:
        module: the path of the module called, or of the innermost module whose `forward` calls the function; "" is the
            network itself.
        function: the name of the function as `function_name` gives it; ``None`` for a call of the module itself.
        times: how often the same was called before in this forward pass.
        state: of a recurrent layer, the hidden state that is meant (see `recurrent.states`), at all steps of all calls,
            so that `times` is 0.
    """

    module: str
    function: str | None
    times: int
    state: str | None = None


class Watch(TorchFunctionMode):
    """Runs a network. A function is called after each call in it, and may replace the result.

    Attributes:
        running: the paths of the modules whose `forward` is running, from the outermost to the innermost.
    """

    def __init__(self, network: nn.Module, after: "After", functions: frozenset[str] | None = None) -> None:
        """`functions`: names of the functions to watch; ``None`` for all."""
        super().__init__()
        self.network, self.after, self.functions = network, after, functions
        # Of several paths to a shared module the first, as in the tracer of torch.fx.
        self.paths = {module: path for path, module in network.named_modules()}

    def __call__(self, inputs: Tensor, run: Callable[[Tensor], Any] | None = None) -> Any:
        """The answer to images; `run` runs the network in another way, such as node by node."""
        self.times: Counter[tuple[str, str | None]] = Counter()
        self.running: list[str] = [""]
        with register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave), self:
            return (run or self.network)(inputs)

    def _enter(self, module: nn.Module, args: Any) -> None:
        path = self.paths.get(module)
        if path:
            self.running.append(path)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> Any:
        path = self.paths.get(module)
        if not path:
            return None
        self.running.pop()
        call = self._call(path, None)
        overwrites = getattr(module, "inplace", False) is True and args and output is args[0]
        if self.functions is None or not overwrites or torch.is_grad_enabled():  # it could not be differentiated
            return self.after(call, args, {}, output)
        return output.copy_(self.after(call, args, {}, output.clone()))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if name in _READING or (self.functions is not None and name not in self.functions):
            return func(*args, **kwargs)
        call = self._call(self.running[-1], name)
        if self.functions is None or not args or not _overwrites(func, kwargs):
            return self.after(call, args, kwargs, func(*args, **kwargs))
        # Its result must be clamped and still be its argument. Computed on a copy, it can be differentiated.
        target = args[0]
        return target.copy_(self.after(call, args, kwargs, func(target.clone(), *args[1:], **kwargs)))

    def _call(self, path: str, function: str | None) -> Call:
        times = self.times[path, function]
        self.times[path, function] += 1
        return Call(path, function, times)


After = Callable[[Call, tuple[Any, ...], dict[str, Any], Any], Any]
"""(call, its arguments, keyword arguments (of functions alone), result) -> what the network gets instead."""


def function_name(func: Any) -> str:
    """The name of a function as torch.fx gives it to a node: `relu_`, `mul` for ``__mul__`` and ``__rmul__``."""
    name = (getattr(func, "__name__", None) or str(func)).split(".")[0]
    if name in _READING or not (name.startswith("__") and name.endswith("__")):
        return name
    name = name[2:-2]
    return name[1:] if name.startswith("r") and hasattr(Tensor, f"__{name[1:]}__") else name


def operation(function: str) -> str:
    """What a function of this name does, in place or not: `relu` for `relu_`, `add` for `iadd`."""
    name = function.rstrip("_")
    name = OTHER_NAMES.get(name, name)
    return name[1:] if name.startswith("i") and hasattr(Tensor, f"__{name}__") else name


def _overwrites(func: Any, kwargs: dict[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    return kwargs.get("inplace") is True or (name.endswith("_") and not name.endswith("__"))
