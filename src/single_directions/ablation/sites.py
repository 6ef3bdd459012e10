"""Sites: places in a network whose units can be clamped, and the network run with something done there."""

import copy
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from single_directions.ablation.adapting import Output, with_logits, with_own_inputs
from single_directions.ablation.idle import warn_of_idle_sites
from single_directions.ablation.places import Places, Spot, UnitDim
from single_directions.ablation.record import MIXING
from single_directions.ablation.runners import AsItIs
from single_directions.ablation.select import select
from single_directions.ablation.unchanged import modes_kept, unchanged, version_of
from single_directions.errors import BadInput, one_line


class ForwardFailed(BadInput):
    """The network's own `forward` raised an exception; it is the cause of this one."""


_IMAGES_TO_CHECK = 8
_MOST_LOOKED_AT = 256
_SHOWN = 5
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


@dataclass(frozen=True)
class Site:
    """A place in a network, named as ``torchvision.models.feature_extraction`` names nodes.

    Attributes:
        name: e.g. ``relu1``, or ``layer4.2.relu_2`` for the third call of the module ``layer4.2.relu``.
        units: how many there are: neurons of a dense layer (images, units), whole feature maps of a convolution
            (images, units, height, width), channels of a token model (images, tokens, units), or attention heads.
        dim: the dimension of its output in which they lie.
        block: how many neighbours in that dimension are one unit: above 1 for heads of (images, tokens, heads * size).
        images: the dimension before it in which the images lie: 1 for (tokens, images, units).
    """

    name: str
    units: int
    dim: int = 1
    block: int = 1
    images: int = field(default=0, repr=False)

    def clamp(self, activation: Tensor, clamped: Tensor, values: Tensor) -> Tensor:
        """Replace the activation of units that are clamped by their values.

        Args:
            activation: (images, ...), the output of this place.
            clamped: bool, (units,), or (images, units) for a set of its own for each image.
            values: (units,).
        """
        if self.block > 1:
            clamped, values = (vector.repeat_interleave(self.block, dim=-1) for vector in (clamped, values))
        shape = [1] * activation.dim()
        shape[self.dim] = -1
        constants = values.to(activation.dtype).view(shape)
        if clamped.dim() == 1:
            return torch.where(clamped.view(shape), constants, activation)
        shape[self.images] = len(clamped)
        return select(clamped.reshape(shape), constants, activation)


def described(sites: Sequence[Site]) -> str:
    """The sites in one line.

    >>> described([Site("relu", 64), Site("blocks.0.mlp.act", 192, dim=2)])
    '2 sites with 256 units: relu (64 units in dimension 1), blocks.0.mlp.act (192 units in dimension 2)'
    """
    each = [f"{site.name} ({site.units} units in dimension {site.dim})" for site in sites]
    if len(each) > 4:
        each[3:-1] = ["..."]
    plural = "s" if len(sites) > 1 else ""
    return f"{len(sites)} site{plural} with {sum(site.units for site in sites)} units: {', '.join(each)}"


class SitedNetwork:
    """A network and the sites in it.

    Attributes:
        network: in eval mode while it is measured (see `undisturbed`). It leaves its inputs as they are.
        sites: in the order asked for; a vector over all units runs through them in this order.
        units: of all sites together.
        graph, nodes: the traced graph and the node of each site, or ``None`` and empty where tracing failed.
        untraced: why there is no graph, "" where there is one.
        seen: what one pass over a few images showed of each node of the graph.
        mixes: whether an image's logits depend on the other images of its batch.
        logits: how many the network returns for an image.
    """

    def __init__(self, places: Places, spots: Sequence[Spot], by_rule: bool) -> None:
        self.network, self.seen, self.mixes = places.network, places.seen, places.mixes
        self.logits: int = places.record.logits.shape[1]
        self.sites = tuple(Site(spot.name, spot.units, spot.dim, spot.block, spot.images) for spot in spots)
        self.run, self.nodes, self.untraced = places.runner(spots, by_rule)
        self.graph = self.nodes[0].graph if self.nodes else None
        self.units = sum(site.units for site in self.sites)

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Cut (..., units) into one part a site."""
        return vector.split([site.units for site in self.sites], dim=-1)

    def clamped(self, inputs: Tensor, clamped: Tensor, values: Tensor) -> Tensor:
        """The network's answer with some units held at a value: one plain forward pass, the definition of ablation.

        Args:
            inputs: (images, ...).
            clamped: bool, which units are clamped: (units,), or (images, units) for a set of its own for each image.
            values: (units,), what they are clamped to.

        Returns:
            logits, (images, classes).
        """
        masks, constants = self.split(clamped), self.split(values)
        return self.run(inputs, lambda n, activation: self.sites[n].clamp(activation, masks[n], constants[n]))

    def plain(self, inputs: Tensor) -> Tensor:
        """The network's answer with nothing clamped. Raises `BadInput` if it makes calls that would not be clamped."""
        run = self.run.plain if isinstance(self.run, AsItIs) else self.network
        answer: Tensor = run(inputs)
        return answer

    def in_float64(self) -> "SitedNetwork":
        """A copy of the network that calculates in float64, with the same sites."""
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network).double()
        other.run = self.run.on(other.network)
        return other


def as_written(network: nn.Module) -> nn.Module:
    """The network as it was before `torch.compile(network)`.

    A network with layers that are not initialized yet (`nn.LazyLinear`) is copied. They are initialized by their first
    forward pass, with random numbers, and that must stay the first one of the training.

    Raises:
        BadInput: it is no module, or one that hides its layers.
    """
    if not isinstance(network, nn.Module):
        raise BadInput(f"network: a torch.nn.Module is needed, not {type(network).__name__}")
    if isinstance(network, torch.jit.ScriptModule):
        raise BadInput("network: it is scripted (torch.jit), which hides its layers; give the module it was made from")
    network = getattr(network, "_orig_mod", network)
    buffers: list[Any] = [buffer for buffer in network.buffers() if is_lazy(buffer)]
    if buffers or any(map(is_lazy, network.parameters())):  # PyTorch copies the parameters among them alone
        return copy.deepcopy(network, {id(one): type(one)(device=one.device, dtype=one.dtype) for one in buffers})
    return network


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Within it nothing is compiled, and what was compiled runs as it was written, also while it is traced."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"), torch._dynamo.config.patch(error_on_nested_fx_trace=False):
        yield


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Within it the network is in eval mode and gradients are off.

    Afterwards random states and all modules are as before: their modes, buffers and attributes, whatever a forward pass
    or tracing sets.

    What `torch.compile` has compiled, the network or a part of it, runs as it was written, and so does
    `nn.TransformerEncoder`, which else runs as one operation.

    Raises:
        BadInput: the network has no eval mode.
    """
    wrapped = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent._modules.items()
        if child is not None and "_orig_mod" in child._modules  # so does torch.compile name what it wraps
    ]
    devices = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
    fast = torch.backends.mha.get_fastpath_enabled()
    random = torch.random.fork_rng(devices=list(devices))
    with random, torch.no_grad(), unchanged(network), modes_kept(network), _uncompiled():
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                network.eval()
            except NotImplementedError as error:
                raise BadInput(
                    f"network: {type(network).__name__} cannot be set to eval mode, as after torch.export; "
                    "give the module it was made from"
                ) from error
            for parent, name, child in wrapped:
                parent._modules[name] = child._modules["_orig_mod"]
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for parent, name, child in wrapped:
                parent._modules[name] = child


def locate(
    network: nn.Module,
    sites: Sequence[str] | None,
    inputs: Tensor,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
) -> SitedNetwork:
    """Find sites by name in a network (in eval mode), and check on a few images that they are what they seem.

    Args:
        network: any module that turns `inputs` into logits (images, classes). If it changes them in place, each pass
            has a copy of them.
        sites: names; ``None`` is ``network.default_sites`` where it has them, else every activation function (see
            `activations`), or with ``unit_dim="head"`` every `nn.MultiheadAttention`.
        inputs: some images, on the network's device.
        unit_dim: the dimension of the sites' outputs in which the units lie, or ``"head"`` for attention heads, for all
            sites or by name; ``None``: that of the outputs of the layer that computed it.

    Raises:
        BadInput: an unknown or repeated name, no site at all, a site whose output has no units, or a network whose
            output is not one finite row of logits per image.

    Warns:
        UserWarning: clamping a whole site changes nothing, so a wrong site, a bypassed one, or dead units; or, without
            `sites`, an activation function acts on the logits or inside a recurrent layer; or the one output may be a
            probability.
    """
    batch, inputs, name = inputs[:_MOST_LOOKED_AT], inputs[:_IMAGES_TO_CHECK], type(network).__name__
    given = inputs.clone()
    version = version_of(given)
    try:
        plain = network(given)
    except BadInput:
        raise
    except Exception as error:  # somebody's own forward()
        kind = str(inputs.dtype).removeprefix("torch.")
        raise ForwardFailed(
            f"network {name}: it cannot take {kind} {tuple(inputs.shape)}: {one_line(error)}"
        ) from error
    if not isinstance(plain, Tensor) or plain.dim() != 2 or len(plain) != len(inputs):
        advice = 'say where they are, as in output="logits", or give a function that returns them'
        if isinstance(plain, Tensor) and plain.shape == (len(inputs),):
            advice = "if it is one logit per image, give output=lambda logits: logits.unsqueeze(1)"
        raise BadInput(
            f"network {name}: its output must be logits (images, classes); "
            f"it is {tuple(plain.shape) if isinstance(plain, Tensor) else type(plain).__name__}; {advice}"
        )
    if not plain.isfinite().all():
        raise BadInput(f"network {name}: its logits are not finite; did its training diverge?")
    if version_of(given) != version or not given.equal(inputs):
        network = with_own_inputs(network)
    places = Places(network, inputs, plain)
    if plain.shape[1] == 1 and places.record.last == "sigmoid":
        raise BadInput(
            f"network {name}: its one output is a probability (of a sigmoid), not a logit, which is below 0 for "
            "class 0; give output=lambda probability: probability - 0.5"
        )
    if plain.shape[1] == 1 and places.record.last not in MIXING | {"sub"} and _within_0_and_1(plain, network, batch):
        warnings.warn(
            f"network {name}: its one output lies between 0 and 1 for all of {len(batch)} images, and is taken for a "
            "logit; if it is a probability, give output=lambda probability: probability - 0.5",
            stacklevel=2,
        )
    own = _own_sites(network) if sites is None else sites
    if own is None and unit_dim == "head":
        own = [name for name, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
        if not own:
            raise BadInput(
                'unit_dim="head": the network has no nn.MultiheadAttention; name what the projections of its '
                "attentions read (sites=[...])"
            )
    names = _checked(places.defaults.names if own is None else own, own is None, places)
    dims = dict(unit_dim) if isinstance(unit_dim, Mapping) else dict.fromkeys(names, unit_dim)
    strangers = set(dims) - set(names)
    if strangers:
        raise BadInput(f"unit_dim: {min(strangers)!r} is not one of the sites, which are {', '.join(names[:_SHOWN])}")
    spots = [places.spot(name, dims.get(name)) for name in names]
    sited = SitedNetwork(places, spots, by_rule=own is None)
    warn_of_idle_sites(sited, inputs)
    return sited


def resolve_sites(
    network: nn.Module,
    sites: Sequence[str] | None,
    inputs: Tensor,
    unit_dim: UnitDim | Mapping[str, UnitDim] | None = None,
    output: Output | None = None,
) -> tuple[Site, ...]:
    """The sites that these names mean, without measuring anything; arguments and errors are those of `locate`.

    `output` says where the logits are, as for `ablation_curve`.

    >>> network = nn.Sequential(nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 3))
    >>> resolve_sites(network, None, torch.ones(2, 8))
    (Site(name='1', units=5, dim=1, block=1),)
    """
    network = with_logits(as_written(network), output)
    with undisturbed(network):
        return locate(network, sites, inputs, unit_dim).sites


def _within_0_and_1(plain: Tensor, network: nn.Module, batch: Tensor) -> bool:
    """Whether all outputs for a batch, of which `plain` are the first, lie between 0 and 1, and are not all equal."""
    if len(plain) < len(batch) and _within_0_and_1(plain, network, batch[: len(plain)]):
        plain = network(batch)
    return 0 <= float(plain.min()) < float(plain.max()) <= 1


def _own_sites(network: nn.Module) -> Sequence[str] | None:
    """The default sites that a network names, or the one that is wrapped in it."""
    sites = getattr(network, "default_sites", None)
    if sites is None and isinstance(network, _WRAPPERS):
        inner = _own_sites(network.module)
        sites = None if inner is None else [f"module.{name}" for name in inner]
    return sites


def _checked(sites: Sequence[str], by_rule: bool, places: Places) -> tuple[str, ...]:
    """The names asked for, or the default."""
    if isinstance(sites, str) or not isinstance(sites, Iterable):
        example = sites if isinstance(sites, str) else "relu"
        raise BadInput(f"sites={sites!r}: a list of names is needed, as in [{example!r}]")
    names, on_logits = tuple(sites), ", ".join(places.defaults.on_logits)
    if not all(isinstance(name, str) for name in names):
        raise BadInput(f"sites={list(names)}: a list of names is needed, as in ['relu']")
    if by_rule and on_logits and names:
        warnings.warn(f"no default site: {on_logits}, because no layer follows, so it acts on the logits", stacklevel=3)
    recurrent = [
        name
        for name, module in places.network.named_modules()
        if isinstance(module, nn.RNNBase | nn.RNNCellBase) and name not in {site.rpartition(".")[0] for site in names}
    ]
    if by_rule and recurrent and names:
        warnings.warn(
            f"no default site: the units inside {', '.join(recurrent)}, which act at each time step", stacklevel=3
        )
    scripted = [name for name, module in places.network.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    if by_rule and names and scripted:
        warnings.warn(
            f"no default site: activation functions, if any, inside {scripted[0]}, which is scripted (torch.jit)",
            stacklevel=3,
        )
    if by_rule and not names:
        layers = places.layers()
        some = ", ".join(layers[:_SHOWN]) + (f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else "")
        because = f" but on its logits ({on_logits})" if on_logits else ""
        raise BadInput(
            f"sites: the network has no activation function to ablate{because}; name the sites (sites=[...]), such as "
            f"{some or 'a layer'}"
        )
    if not names:
        raise BadInput("sites=[]: name at least one, or None for the default")
    if len(set(names)) < len(names):
        raise BadInput(f"sites={list(names)}: each site may be named only once")
    return names
