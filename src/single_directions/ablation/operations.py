"""What the nodes of a graph do, as far as the fast path can make use of it.

A node is recognised only if it does exactly what its class says. Not recognised, and so run as they are: a subclass, a
layer with hooks or with a `forward` of its own, groups, padding other than zeros, batch norm in training mode.
"""

import copy
import operator
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor, fx, nn
from torch.nn import functional as F


def _all(where: Any, names: str) -> set[Any]:
    return {getattr(where, name) for name in names.split()}


_IDENTITIES = _all(nn, "Identity Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout")
_PER_CHANNEL_MODULES = _all(
    nn,
    "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Softplus Softsign Hardtanh Hardswish Hardsigmoid "
    "LogSigmoid AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d "
    "MaxPool1d MaxPool2d MaxPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d",
)
_PER_CHANNEL_FUNCTIONS = _all(torch, "relu sigmoid tanh max_pool1d max_pool2d max_pool3d") | _all(
    F,
    "relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid softplus softsign logsigmoid "
    "sigmoid tanh avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "max_pool1d max_pool2d max_pool3d",
)
_PER_CHANNEL_METHODS = {"relu", "sigmoid", "tanh", "clone"}
_IDENTITY_METHODS = {"contiguous", "detach"}
_FLATTENING = {torch.flatten, torch.reshape, "flatten", "view", "reshape"}
_ADDITIONS = {operator.add, torch.add, "add"}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}

NARROW = 16
"""A dense layer with so few outputs is faster if it is computed as (outputs, images) and transposed."""


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``, (images, outputs)."""
    if len(weight) > NARROW or bias is None or x.dtype != weight.dtype or torch.is_autocast_enabled(x.device.type):
        return F.linear(x, weight, bias)
    return torch.addmm(bias.unsqueeze(1), weight, x.t()).t()


@dataclass(frozen=True)
class PerChannel:
    """Acts on each channel alone: an activation function, a pooling. `fresh`: its result shares no memory."""

    function: Callable[[Tensor], Tensor]
    fresh: bool = True


@dataclass(frozen=True)
class Affine:
    """Batch norm in eval mode: x * scale + shift, (features,) each."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class Linear:
    """A dense layer or a convolution, with the batch norm behind it folded in if there is a `norm`.

    It computes ``product(x, weight, bias)``, with weight (out, in, ...) and bias (out,).
    """

    layer: Any
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    norm: Affine | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight, self.bias)

    @cached_property
    def weight(self) -> Tensor:
        """Computed when it is first used: folding reads and writes all weights."""
        weight: Tensor = self.layer.weight
        return weight if self.norm is None else weight * self.norm.scale.view(-1, *[1] * (weight.dim() - 1))

    @cached_property
    def bias(self) -> Tensor:
        weight, bias = self.layer.weight, self.layer.bias
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        return bias if self.norm is None else bias * self.norm.scale + self.norm.shift


@dataclass(frozen=True)
class Flatten:
    """(images, channels, ...) to (images, channels * positions)."""


@dataclass(frozen=True)
class Add:
    """The sum of two tensors of one shape."""


Operation = PerChannel | Affine | Linear | Flatten | Add | None


def folded(norm: Operation, source: fx.Node, before: Operation, sites: Container[fx.Node]) -> Linear | None:
    """A layer with the batch norm behind it, if the norm alone reads the layer and the layer is no site.

    Of several batch norms in a row the first is folded.

    Args:
        norm, before: what the norm's node and its `source` do.
    """
    if not isinstance(norm, Affine) or not isinstance(before, Linear) or before.norm is not None:
        return None
    if before.layer.weight.dtype != norm.scale.dtype:
        return None
    return Linear(before.layer, before.product, norm) if len(source.users) == 1 and source not in sites else None


def recognise(node: fx.Node, modules: dict[str, nn.Module], shapes: dict[fx.Node, Size | None]) -> Operation:
    """What a node does, or ``None`` if this file does not know it.

    Args:
        node: of a traced graph.
        modules: of the network, by name.
        shapes: of the nodes' values for some images; ``None`` where a value is no tensor.
    """
    if not node.args or not isinstance(node.args[0], fx.Node):
        return None
    before, after = shapes[node.args[0]], shapes[node]
    if before is None or after is None or len(before) < 2:
        return None
    if node.op == "call_module":
        module = modules[str(node.target)]
        hooked = module._forward_hooks or module._forward_pre_hooks
        changed = hooked or "forward" in vars(module)
        return None if changed or len(node.all_input_nodes) > 1 else _of_module(module, before, after)
    if node.target in _FLATTENING:
        return _flattening(before, after)
    if node.target in _ADDITIONS:
        sources = [arg for arg in node.args if isinstance(arg, fx.Node) and shapes[arg] == after]
        return Add() if len(sources) == len(node.args) == 2 and not node.kwargs else None
    if len(node.all_input_nodes) == 1:
        return _of_function(node, len(before))
    return None


def _of_module(module: Any, before: Size, after: Size) -> Operation:
    kind: type = type(module)
    if kind in _IDENTITIES:
        return PerChannel(lambda x: x, fresh=False)
    per_channel = kind in _PER_CHANNEL_MODULES and _keeps_channels(kind.__name__, len(before))
    if per_channel and not getattr(module, "return_indices", False):
        module = copy.copy(module)  # shallow: it shares everything but the switch
        if hasattr(module, "inplace"):
            module.inplace = False
        return PerChannel(module)
    if kind is nn.Flatten:
        return _flattening(before, after)
    if kind in _BATCH_NORMS and not module.training:
        return _affine(module)
    if kind is nn.Linear and len(before) == 2:
        return Linear(module, dense)
    if kind in _CONVOLUTIONS and module.groups == 1 and module.padding_mode == "zeros" and len(before) == len(after):
        settings = {name: getattr(module, name) for name in ("stride", "padding", "dilation")}
        convolve: Any = _CONVOLUTIONS[kind]
        return Linear(module, lambda x, w, b: convolve(x, w, b, **settings))
    return None


def _of_function(node: fx.Node, dims: int) -> Operation:
    rest: Any = node.args[1:]
    settings: dict[str, Any] = dict(node.kwargs)
    target: Any = node.target
    if target is F.dropout and settings.get("training") is False:
        return PerChannel(lambda x: x, fresh=False)
    if node.op == "call_method":
        if target in _IDENTITY_METHODS or target in _PER_CHANNEL_METHODS:
            return PerChannel(lambda x: getattr(x, target)(*rest, **settings), fresh=target in _PER_CHANNEL_METHODS)
    elif target in _PER_CHANNEL_FUNCTIONS and _keeps_channels(target.__name__, dims):
        return None if settings.get("return_indices") else PerChannel(lambda x: target(x, *rest, **settings))
    if target in (torch.mean, "mean") and _over_positions(rest[0] if rest else settings.get("dim"), dims):
        return PerChannel(lambda x: torch.mean(x, *rest, **settings))
    return None


def _keeps_channels(name: str, dims: int) -> bool:
    """Whether a pooling of this name leaves the dimension of channels alone."""
    return not name.endswith(("1d", "2d", "3d")) or dims == 2 + int(name[-2])


def _over_positions(dim: Any, dims: int) -> bool:
    over = [dim] if isinstance(dim, int) else dim
    return isinstance(over, tuple | list) and all(isinstance(d, int) and d % dims >= 2 for d in over)


def _flattening(before: Size, after: Size) -> Operation:
    return Flatten() if after == (before[0], before[1:].numel()) else None


def _affine(norm: Any) -> Operation:
    if norm.running_mean is None or norm.running_var is None:
        return None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return Affine(scale, shift + norm.bias if norm.affine else shift)
