"""The graph of a network, with the names that torchvision's feature extraction gives its nodes."""

import inspect
import math
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from single_directions.ablation.unchanged import unchanged

# As torchvision does, but for its sequences of layers: a site within one must have a name.
_LEAVES = tuple(
    member
    for _, member in inspect.getmembers(torchvision.ops, inspect.isclass)
    if issubclass(member, nn.Module) and not issubclass(member, nn.Sequential)
)
_TRANSPARENT = (nn.Sequential, nn.TransformerEncoder, nn.TransformerEncoderLayer)

_OUT_OF_PLACE = {
    getattr(operator, "i" + name): getattr(operator, f"__{name}__")
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
}


def trace(network: nn.Module) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """Trace a network in its current mode, every operation out of place.

    The fast methods keep activations, which an in-place operation would overwrite. If a network depends on the
    overwriting, its graph computes something else. The caller must compare the two.

    Returns:
        the graph, and its nodes by name, in the order in which they run.

    Raises:
        RuntimeError: an operation works in place and has no counterpart that does not.
        Exception: whatever tracing a network with data-dependent control flow raises.
    """
    tracer = _Tracer()
    own = set(vars(network))
    with unchanged(network):  # a forward pass that keeps something would keep stand-ins of tensors
        graph = tracer.trace(network)
        for node in graph.nodes:
            if node.op == "get_attr" and node.target in vars(network).keys() - own:
                node.op, node.target = "call_function", partial(_constant, vars(network)[node.target])
    for node in graph.nodes:
        _make_out_of_place(node)
    return graph, {name: node for node, name in tracer.node_to_qualname.items()}


def _constant(value: Any) -> Any:
    """What a forward pass computes from no input. The graph holds it: torch.fx would leave it in the network."""
    return value


def is_leaf(module: nn.Module) -> bool:
    """Whether tracing takes a module for one step: layers of PyTorch and torchvision."""
    of_torch = type(module).__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(module, _TRANSPARENT)
    return of_torch or isinstance(module, _LEAVES)


class Names:
    """Numbers repeated names as torchvision does: `relu`, `relu_1`, `relu_2`, within one module each."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # the number that ends the newest name of each stem

    def next(self, name: str) -> str:
        """The name of the next node that would have this name, without or with a number of its own."""
        stem, _ = _split(name)
        number = self._last.get(stem, -1) + 1
        self._last[stem] = number
        name = f"{stem}_{number}" if number else stem
        like, ending = _split(name)
        if ending is not None:
            self._last[like] = ending
        return name


def _split(name: str) -> tuple[str, int | None]:
    found = re.match(r"(.+)_([0-9]+)$", name)
    return (found[1], int(found[2])) if found else (name, None)


class _Tracer(NodePathTracer):
    """Traces the first argument of `forward` alone; the others have their defaults."""

    def __init__(self) -> None:
        super().__init__(autowrap_modules=(math, torchvision.ops))
        self._names = Names()

    def _get_node_qualname(self, module_qualname: str, node: fx.Node) -> str:
        """The name that torchvision gives a node. Torchvision's own search takes longer the larger the graph is."""
        if node.op == "call_module":
            return self._names.next(module_qualname)
        return self._names.next(f"{module_qualname}.{node}" if module_qualname else str(node))

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        return is_leaf(m)

    def trace(self, root: nn.Module, concrete_args: Any = None) -> fx.Graph:
        """As torch.fx, without its search of all parameters at each access of one."""
        self._tensors: dict[Tensor, str] = {tensor: name for name, tensor in root.named_parameters()}
        self._tensors |= {tensor: name for name, tensor in root.named_buffers()}
        return super().trace(root, concrete_args)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if not (isinstance(attr_val, nn.Parameter) and attr_val in self._tensors):
            return super().getattr(attr, attr_val, parameter_proxy_cache)
        name = self._tensors[attr_val]
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and a in self._tensors:
            return self.create_node("get_attr", self._tensors[a], (), {})
        return super().create_arg(a)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        names = [name for name in inspect.signature(inspect.unwrap(root_fn)).parameters if name != "self"]
        return root_fn, [self.root, self.create_proxy("placeholder", names[0] if names else "inputs", (), {})]

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(m) is nn.TransformerEncoder and len(args) == 1 and not kwargs:  # it asks whether its input is nested
            forward = partial(_encode, m)
        return super().call_module(m, forward, args, kwargs)


def _encode(encoder: nn.TransformerEncoder, x: Any) -> Any:
    """What `nn.TransformerEncoder` computes without masks."""
    for layer in encoder.layers:
        x = layer(x)
    return x if encoder.norm is None else encoder.norm(x)


def _make_out_of_place(node: fx.Node) -> None:
    if "inplace" in node.kwargs:
        node.kwargs = {**node.kwargs, "inplace": False}
    name = getattr(node.target, "__name__", str(node.target))
    in_place = node.op in ("call_function", "call_method") and name.endswith("_") and not name.endswith("__")
    twin = name[:-1]
    if node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif in_place and node.op == "call_method" and hasattr(Tensor, twin):
        node.target = twin
    elif in_place and node.op == "call_function" and (hasattr(torch, twin) or hasattr(nn.functional, twin)):
        node.target = getattr(torch, twin, None) or getattr(nn.functional, twin)
    elif in_place or node.kwargs.get("out") is not None:
        raise RuntimeError(f"{name} overwrites a tensor")


@contextmanager
def out_of_place(network: nn.Module) -> Iterator[None]:
    """Within it, the network's modules with an `inplace` switch work out of place."""
    switched: list[Any] = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    try:
        for module in switched:
            module.inplace = False
        yield
    finally:
        for module in switched:
            module.inplace = True
