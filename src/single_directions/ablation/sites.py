"""Sites: places in a network whose units can be clamped, and the network run with something done there."""

import difflib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn

from single_directions.ablation.adapting import Output, with_logits
from single_directions.ablation.select import select
from single_directions.ablation.trace import is_relu, out_of_place, trace
from single_directions.ablation.untraced import called_relus
from single_directions.errors import BadInput

AtSite = Callable[[int, Tensor], Tensor]
"""What is done at a site: (number of the site, its activation) -> what the rest of the network sees."""

_IMAGES_TO_CHECK = 8


@dataclass(frozen=True)
class Site:
    """A place in a network, named as ``torchvision.models.feature_extraction`` names nodes.

    Attributes:
        name: e.g. ``relu1``, or ``layer4.2.relu_2`` for the third call of the module ``layer4.2.relu``.
        units: how many there are: the size of dimension 1 of its output, so a neuron of a dense layer (images, units),
            a whole feature map of a convolution (images, units, height, width).
    """

    name: str
    units: int


class _Runner(Protocol):
    """A way to run the network with something done at its sites."""

    def __call__(self, inputs: Tensor, at_site: AtSite) -> Tensor: ...


class _Traced(fx.Interpreter):
    """Runs the traced graph, node by node."""

    def __init__(self, network: nn.Module, graph: fx.Graph, nodes: Sequence[fx.Node]) -> None:
        super().__init__(network, graph=graph)
        self.numbers = {node: number for number, node in enumerate(nodes)}

    def __call__(self, inputs: Tensor, at_site: AtSite) -> Tensor:
        self.at_site = at_site
        with out_of_place(self.module):
            return self.run(inputs)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        return self.at_site(self.numbers[n], value) if n in self.numbers else value


class _Hooked:
    """Runs the network itself, with forward hooks on the modules that are sites: for what cannot be traced."""

    def __init__(self, network: nn.Module, places: Sequence[tuple[nn.Module, int]]) -> None:
        self.network, self.places = network, places

    def __call__(self, inputs: Tensor, at_site: AtSite) -> Tensor:
        calls: dict[nn.Module, int] = {}

        def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            call = calls[module] = calls.get(module, -1) + 1
            place = (module, call)
            return at_site(self.places.index(place), output) if place in self.places else output

        handles = [module.register_forward_hook(hook) for module in {module: None for module, _ in self.places}]
        try:
            return self.network(inputs)
        finally:
            for handle in handles:
                handle.remove()


class SitedNetwork:
    """A network and the sites in it.

    Attributes:
        network: in eval mode while it is measured (see `undisturbed`).
        sites: in the order asked for; a vector over all units runs through them in this order.
        units: of all sites together.
        graph, nodes: the traced graph and the node of each site, or ``None`` and empty where tracing failed.
        untraced: why there is no graph, "" where there is one.
    """

    def __init__(
        self, network: nn.Module, sites: tuple[Site, ...], run: _Runner, nodes: Sequence[fx.Node], untraced: str
    ) -> None:
        self.network, self.sites, self.run = network, sites, run
        self.nodes, self.untraced = tuple(nodes), untraced
        self.graph = nodes[0].graph if nodes else None
        self.units = sum(site.units for site in sites)

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Cut (..., units) into one part a site."""
        return vector.split([site.units for site in self.sites], dim=-1)

    def clamped(self, inputs: Tensor, clamped: Tensor, values: Tensor) -> Tensor:
        """The network's answer with some units held at a value: one plain forward pass, the definition of ablation.

        Args:
            inputs: (images, ...).
            clamped: bool, (units,) or (images, units), which units are clamped.
            values: (units,), what they are clamped to.

        Returns:
            logits, (images, classes).
        """
        masks, constants = self.split(clamped), self.split(values)
        return self.run(inputs, lambda site, activation: clamp(activation, masks[site], constants[site]))


def clamp(activation: Tensor, clamped: Tensor, values: Tensor) -> Tensor:
    """Replace the activation (images, units, ...) of clamped units by their values (units,).

    `clamped` is bool, (units,), the same for all images, or (images, units).
    """
    positions = [1] * (activation.dim() - 2)
    choose = select if clamped.dim() > 1 else torch.where
    constants = values.to(activation.dtype).view(1, -1, *positions)
    return choose(clamped.view(-1, len(values), *positions), constants, activation)


def as_written(network: nn.Module) -> nn.Module:
    """The network as it was before `torch.compile(network)`."""
    return getattr(network, "_orig_mod", network)


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Within it the network is in eval mode and gradients are off; afterwards modes and random states are as before.

    A network or a part of it that was compiled (in place by `module.compile()`, or a part by `torch.compile(module)`)
    runs as it was written.
    """
    wrapped = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent._modules.items()
        if child is not None and "_orig_mod" in child._modules  # so does torch.compile name what it wraps
    ]
    compiled = {module: module._compiled_call_impl for module in network.modules() if module._compiled_call_impl}
    modes = {module: module.training for module in network.modules()}
    devices = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)), torch.no_grad():
        try:
            network.eval()
            for module in compiled:
                module._compiled_call_impl = None
            for parent, name, child in wrapped:
                parent._modules[name] = child._modules["_orig_mod"]
            yield
        finally:
            for parent, name, child in wrapped:
                parent._modules[name] = child
            for module, call in compiled.items():
                module._compiled_call_impl = call
            for module, training in modes.items():
                module.training = training


def locate(network: nn.Module, sites: Sequence[str] | None, inputs: Tensor) -> SitedNetwork:
    """Find sites by name in a network (in eval mode), and check on a few images that they are what they seem.

    Args:
        network: any module that turns `inputs` into logits (images, classes).
        sites: names; ``None`` is ``network.default_sites`` where it has them, else every ReLU.
        inputs: some images, on the network's device.

    Raises:
        BadInput: an unknown or repeated name, no site at all, a site whose output has no units, or a network whose
            answer is not one finite row of logits an image.

    Warns:
        UserWarning: clamping a whole site changes nothing, so a wrong site, a bypassed one, or dead units; or, without
            `sites`, a network that cannot be traced has ReLUs that are no modules, which are not found.
    """
    inputs = inputs[:_IMAGES_TO_CHECK]
    plain = network(inputs)
    if not isinstance(plain, Tensor) or plain.dim() != 2 or len(plain) != len(inputs):
        raise BadInput(
            f"network {type(network).__name__}: its output must be logits (images, classes); "
            f"it is {tuple(plain.shape) if isinstance(plain, Tensor) else type(plain).__name__}; "
            'name them in it, as output="logits", or give a function of it'
        )
    if not plain.isfinite().all():
        raise BadInput(f"network {type(network).__name__}: its logits are not finite; was its training?")
    if sites is None:
        sites = getattr(network, "default_sites", None)
    names, run, nodes, untraced = _places(network, sites, inputs, plain)
    activations: dict[int, Tensor] = {}

    def record(site: int, activation: Tensor) -> Tensor:
        activations[site] = activation
        return activation

    plain = run(inputs, record)  # a graph may differ from the network by rounding
    for number, name in enumerate(names):
        activation = activations.get(number)
        if not isinstance(activation, Tensor) or activation.dim() < 2 or len(activation) != len(inputs):
            raise BadInput(f"site {name!r}: its output is not a tensor (images, units, ...); choose another site")
    units = tuple(Site(name, activations[number].shape[1]) for number, name in enumerate(names))
    sited = SitedNetwork(network, units, run, nodes, untraced)
    _warn_of_idle_sites(sited, inputs, plain)
    return sited


def resolve_sites(
    network: nn.Module, sites: Sequence[str] | None, inputs: Tensor, output: Output | None = None
) -> tuple[Site, ...]:
    """The sites that these names mean, without measuring anything; arguments and errors are those of `locate`.

    `output` says where the logits are, as for `ablation_curve`.
    """
    network = with_logits(as_written(network), output)
    with undisturbed(network):
        return locate(network, sites, inputs).sites


def _places(
    network: nn.Module, sites: Sequence[str] | None, inputs: Tensor, plain: Tensor
) -> tuple[tuple[str, ...], _Runner, tuple[fx.Node, ...], str]:
    """Names of the sites, a way to run the network with something done there, their nodes, why it is not traced."""
    modules = dict(network.named_modules())
    try:
        graph, named = trace(network)
        with out_of_place(network):
            traced = fx.Interpreter(network, graph=graph).run(inputs)
        scale = plain.abs().max().clamp_min(1e-3)
        if not isinstance(traced, Tensor) or ((traced - plain).abs().max() / scale) > 1e-3:
            raise RuntimeError("its graph, out of place, computes something else")
    except Exception as error:  # tracing runs the user's own code on stand-ins: anything can be raised
        untraced = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        names = _checked(sites, _relu_modules(network, inputs, untraced) if sites is None else [], untraced)
        places = [_module_call(name, modules, untraced) for name in names]
        return names, _Hooked(network, places), (), untraced
    known = {name: node for name, node in named.items() if node.op not in ("placeholder", "output", "get_attr")}
    names = _checked(sites, [name for name, node in known.items() if is_relu(node, modules)])
    for name in names:
        if name not in known:
            raise BadInput(_unknown_site(name, list(known)))
    nodes = tuple(known[name] for name in names)
    return names, _Traced(network, graph, nodes), nodes, ""


def _relu_modules(network: nn.Module, inputs: Tensor, untraced: str) -> list[str]:
    """The calls of ReLU modules, with a warning where there are ReLUs besides."""
    calls, others = called_relus(network, inputs)
    if calls and others:
        kind = type(network).__name__
        where = ", ".join(f"{number} in {name or f'{kind}.forward()'}" for name, number in others.items())
        warnings.warn(
            f"network {kind}: it cannot be traced ({untraced}), so of its ReLUs only the modules are sites: "
            f"{', '.join(calls)}; not those called as functions: {where}. Make these nn.ReLU modules to measure them "
            "too, or name the sites (sites=[...])",
            stacklevel=2,
        )
    return calls


def _checked(sites: Sequence[str] | None, relus: list[str], untraced: str = "") -> tuple[str, ...]:
    """The names asked for, or the default."""
    if isinstance(sites, str):
        raise BadInput(f"sites={sites!r}: a list of names is needed, as in [{sites!r}]")
    names = tuple(relus if sites is None else sites)
    if sites is not None and not names:
        raise BadInput("sites=[]: name at least one, or None for the default")
    if not names and untraced:
        raise BadInput(
            f"sites: the network cannot be traced ({untraced}), so only modules can be found, and none is a ReLU; "
            "name the modules to ablate (sites=[...])"
        )
    if not names:
        raise BadInput("sites: the network has no ReLU; name the sites to ablate (sites=[...])")
    if len(set(names)) < len(names):
        raise BadInput(f"sites={list(names)}: each site may be named only once")
    return names


def _module_call(name: str, modules: dict[str, nn.Module], untraced: str) -> tuple[nn.Module, int]:
    """The module and which of its calls a name means: ``relu`` its first, ``relu_1`` its second."""
    if name in modules and name:
        return modules[name], 0
    module, _, call = name.rpartition("_")
    if module in modules and call.isdigit():
        return modules[module], int(call)
    reason = f" (the network cannot be traced: {untraced}; so only modules can be named)"
    raise BadInput(_unknown_site(name, [name for name in modules if name]) + reason)


def _unknown_site(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    guess = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"site {name!r}: the network has none of this name.{guess} There are: {', '.join(known)}"


def _warn_of_idle_sites(sited: SitedNetwork, inputs: Tensor, plain: Tensor) -> None:
    zeros = plain.new_zeros(sited.units)
    for number, site in enumerate(sited.sites):
        mask = [torch.full((other.units,), n == number, device=plain.device) for n, other in enumerate(sited.sites)]
        if torch.equal(sited.clamped(inputs, torch.cat(mask), zeros), plain):
            warnings.warn(
                f"site {site.name!r}: clamping all its units to zero changes no output of {len(inputs)} images; it is "
                "bypassed, its units are dead, or it is the wrong site",
                stacklevel=2,
            )
