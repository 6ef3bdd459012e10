"""The graph of a network, with the names that torchvision's feature extraction gives its nodes."""

import inspect
import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

RELU_MODULES = (nn.ReLU, nn.ReLU6)
RELU_FUNCTIONS = (torch.relu, nn.functional.relu, nn.functional.relu6)
RELU_METHODS = ("relu",)

_OUT_OF_PLACE = {
    getattr(operator, "i" + name): getattr(operator, f"__{name}__")
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
}


def trace(network: nn.Module) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """Trace a network in its current mode, every operation out of place.

    Out of place because the fast methods hold on to activations that an in-place operation would overwrite. Where a
    network counts on the overwriting, its graph computes something else; whoever traces must compare the two.

    Returns:
        the graph, and its nodes by name, in the order in which they run.

    Raises:
        RuntimeError: an operation works in place and has no twin that does not.
        Exception: whatever tracing a network with data-dependent control flow raises.
    """
    operations = [member for _, member in inspect.getmembers(torchvision.ops, inspect.isclass)]
    # As torchvision does, but for its sequences of layers: a site within one must have a name.
    leaves = [
        member for member in operations if issubclass(member, nn.Module) and not issubclass(member, nn.Sequential)
    ]
    tracer = NodePathTracer(autowrap_modules=(math, torchvision.ops), leaf_modules=leaves)
    graph = tracer.trace(network)
    for node in graph.nodes:
        _make_out_of_place(node)
    return graph, {name: node for node, name in tracer.node_to_qualname.items()}


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
    elif in_place or "out" in node.kwargs:
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


def is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node is a ReLU, in any of the ways to write one."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], RELU_MODULES)
    return (node.op == "call_function" and node.target in RELU_FUNCTIONS) or (
        node.op == "call_method" and node.target in RELU_METHODS
    )
