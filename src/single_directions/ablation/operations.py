"""What the nodes of a graph do, as far as the fast path can make use of it.

A node is recognised only if it does exactly what its class says: a subclass, a layer with hooks or a `forward` put on
it, groups, a padding other than zeros or batch norm in training mode is not, and is then run as it is.
"""

import copy
import operator
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor, fx, nn
from torch.nn import functional as F

_IDENTITIES = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_PER_CHANNEL_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh),
    *(nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
_PER_CHANNEL_FUNCTIONS = {
    *(torch.relu, F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardtanh),
    *(F.hardswish, F.hardsigmoid, F.softplus, F.softsign, F.logsigmoid, F.sigmoid, F.tanh, torch.sigmoid, torch.tanh),
    *(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d),
}
_PER_CHANNEL_METHODS = {"relu", "sigmoid", "tanh", "clone"}
_IDENTITY_METHODS = {"contiguous", "detach"}
_FLATTENING = {torch.flatten, torch.reshape, "flatten", "view", "reshape"}
_ADDITIONS = {operator.add, torch.add, "add"}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}


NARROW = 16
"""So few outputs of a dense layer are faster computed as (outputs, images) and transposed."""


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


@dataclass(frozen=True)
class Linear:
    """A dense layer or a convolution: ``product(x, weight, bias)``, with weight (out, in, ...) and bias (out,)."""

    weight: Tensor
    bias: Tensor
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight, self.bias)

    def followed_by(self, affine: Affine) -> "Linear":
        """The same layer with a batch norm behind it folded in."""
        scale = affine.scale.view(-1, *[1] * (self.weight.dim() - 1))
        return Linear(self.weight * scale, self.bias * affine.scale + affine.shift, self.product)


@dataclass(frozen=True)
class Flatten:
    """(images, channels, ...) to (images, channels * positions)."""


@dataclass(frozen=True)
class Add:
    """The sum of two tensors of one shape."""


Operation = PerChannel | Affine | Linear | Flatten | Add | None


def folded(norm: Operation, source: fx.Node, before: Operation, sites: Container[fx.Node]) -> Linear | None:
    """A layer and the batch norm behind it as one layer, where the norm alone reads the layer, which is no site.

    Args:
        norm, before: what the norm's node and its `source` do.
    """
    if not isinstance(norm, Affine) or not isinstance(before, Linear) or before.weight.dtype != norm.scale.dtype:
        return None
    return before.followed_by(norm) if len(source.users) == 1 and source not in sites else None


def recognise(node: fx.Node, modules: dict[str, nn.Module], shapes: dict[fx.Node, Size | None]) -> Operation:
    """What a node does, or ``None`` if it is nothing that this file knows.

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
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and kind in _BATCH_NORMS and not module.training:
        return _affine(module)
    if isinstance(module, nn.Linear) and kind is nn.Linear and len(before) == 2:
        return Linear(module.weight, _bias(module.weight, module.bias), dense)
    if kind in _CONVOLUTIONS and module.groups == 1 and module.padding_mode == "zeros" and len(before) == len(after):
        settings = {name: getattr(module, name) for name in ("stride", "padding", "dilation")}
        convolve: Any = _CONVOLUTIONS[kind]
        return Linear(module.weight, _bias(module.weight, module.bias), lambda x, w, b: convolve(x, w, b, **settings))
    return None


def _of_function(node: fx.Node, dims: int) -> Operation:
    rest: Any = node.args[1:]
    settings: dict[str, Any] = dict(node.kwargs)
    target: Any = node.target
    per_channel = target in _PER_CHANNEL_FUNCTIONS and _keeps_channels(target.__name__, dims)
    if per_channel and not settings.get("return_indices", False):
        return PerChannel(lambda x: target(x, *rest, **settings))
    if target is F.dropout and settings.get("training") is False:
        return PerChannel(lambda x: x, fresh=False)
    if node.op == "call_method" and target in _IDENTITY_METHODS:
        return PerChannel(lambda x: getattr(x, target)(*rest, **settings), fresh=False)
    if target in (torch.mean, "mean") and _over_positions(rest[0] if rest else settings.get("dim"), dims):
        return PerChannel(lambda x: torch.mean(x, *rest, **settings))
    if node.op == "call_method" and target in _PER_CHANNEL_METHODS:
        return PerChannel(lambda x: getattr(x, target)(*rest, **settings))
    return None


def _keeps_channels(name: str, dims: int) -> bool:
    """Whether the channels of a tensor are not among the positions that a pooling of this name pools over."""
    return not name.endswith(("1d", "2d", "3d")) or dims == 2 + int(name[-2])


def _over_positions(dim: Any, dims: int) -> bool:
    over = [dim] if isinstance(dim, int) else dim
    return isinstance(over, tuple | list) and all(isinstance(d, int) and d % dims >= 2 for d in over)


def _flattening(before: Size, after: Size) -> Operation:
    return Flatten() if after == (before[0], before[1:].numel()) else None


def _affine(norm: nn.modules.batchnorm._BatchNorm) -> Operation:
    if norm.running_mean is None or norm.running_var is None:
        return None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return Affine(scale, shift + norm.bias if norm.affine else shift)


def _bias(weight: Tensor, bias: Any) -> Tensor:
    return weight.new_zeros(weight.shape[0]) if bias is None else bias
