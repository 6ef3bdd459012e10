"""Random networks for property tests: chains, residual and branching blocks; any of their nodes can be sites."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from exactness import images, seeded
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional as F

from single_directions.ablation.sites import undisturbed
from single_directions.ablation.trace import trace

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d}
BATCH_NORM = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
AVERAGE_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
DROPOUT = {0: nn.Dropout, 1: nn.Dropout1d, 2: nn.Dropout2d}
CLASSES = 4
MOST_UNITS = 300

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "in place": lambda: nn.ReLU(inplace=True),
    "leaky": nn.LeakyReLU,
    "gelu": nn.GELU,
    "prelu": nn.PReLU,
    "softmax": lambda: nn.Softmax(dim=1),  # no unit is on its own: must be run as it is
}

KINDS = ("plain", "plain", "plain", "before", "residual", "projected", "twice", "joined", "gated", "summed")
HEADS = ("flatten", "view", "reshape", "module", "mean", "pool", "hidden")


class Activation(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        if name in ACTIVATIONS:
            self.act = ACTIVATIONS[name]()

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "F.relu":
            return F.relu(x, inplace=True)
        return x.relu() if self.name == "method" else self.act(x)


@dataclass(frozen=True)
class Plan:
    """What was drawn for one block."""

    kind: str
    width: int
    kernel: int
    stride: int
    padding: int
    groups: str
    bias: bool
    norms: int
    activation: str
    pool: str
    dropout: bool


class Block(nn.Module):
    """A few layers on (images, channels, ...), of `dims` dimensions of positions."""

    def __init__(self, plan: Plan, channels: int, dims: int) -> None:
        super().__init__()
        self.plan, self.dims = plan, dims
        same = plan.kind in ("residual", "gated", "projected", "twice", "summed")
        self.width = width = channels if plan.kind in ("residual", "gated") else plan.width
        self.layer = self._layer(channels, width, same)
        self.act = Activation(plan.activation)
        normed = channels if plan.kind == "before" else width
        self.norm = nn.Sequential(*(BATCH_NORM[dims](normed) for _ in range(plan.norms)))
        if plan.kind in ("projected", "twice", "joined", "summed"):
            self.other = self._layer(channels, width, same)
        if plan.kind == "gated":
            self.gate = nn.Linear(width, width)
        if plan.kind == "joined":
            self.width = 2 * width
        self.pool: nn.Module | None = None
        if dims and plan.pool == "average":
            self.pool = AVERAGE_POOL[dims](2, stride=1, padding=1)
        elif dims and plan.pool == "uncounted":
            self.pool = AVERAGE_POOL[dims](3, stride=2, padding=1, count_include_pad=False)
        elif dims and plan.pool == "max":
            self.pool = MAX_POOL[dims](3, stride=2, padding=1)
        self.dropout = DROPOUT[dims](0.5) if plan.dropout else None

    def _layer(self, before: int, after: int, same: bool) -> nn.Module:
        plan = self.plan
        if not self.dims:
            return nn.Linear(before, after, bias=plan.bias)
        groups = {"depthwise": before if after % before == 0 else 1, "two": 1 if before % 2 or after % 2 else 2}
        stride, padding = (1, plan.kernel // 2) if same else (plan.stride, plan.padding)
        return CONVOLUTION[self.dims](
            *(before, after, plan.kernel, stride, padding), groups=groups.get(plan.groups, 1), bias=plan.bias
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self._body(x)
        if self.pool is not None:
            x = self.pool(x)
        return x if self.dropout is None else self.dropout(x)

    def _body(self, x: Tensor) -> Tensor:
        match self.plan.kind:
            case "before":
                return self.layer(self.act(self.norm(x)))
            case "residual":
                return self.act(self.norm(self.layer(x)) + x)
            case "projected":
                y = self.act(self.norm(self.layer(x)))
                y += self.other(x)
                return self.act(y)
            case "twice":
                return self.act(torch.add(self.layer(x), self.norm(self.other(x))))
            case "joined":
                return torch.cat([self.act(self.layer(x)), self.act(self.norm(self.other(x)))], 1)
            case "summed":
                return self.act(self.layer(x)) + self.act(self.norm(self.other(x)))
            case "gated":
                y = self.act(self.norm(self.layer(x)))
                gate = torch.sigmoid(self.gate(y.flatten(2).mean(-1) if self.dims else y))
                return y * gate.view(gate.shape + (1,) * self.dims)
        return self.act(self.norm(self.layer(x)))


class Drawn(nn.Module):
    """Blocks, then a head."""

    def __init__(self, plans: list[Plan], channels: int, dims: int, size: int, head: str) -> None:
        super().__init__()
        self.dims, self.blocks = dims, nn.ModuleList()
        example = torch.zeros(1, channels, *[size] * dims)
        for plan in plans:
            self.blocks.append(Block(plan, channels, dims))
            channels = self.blocks[-1].width
            example = self.blocks[-1].eval()(example)
        self.head_kind = head if dims or head not in ("mean", "pool") else "flatten"
        if head == "module":
            self.flat: nn.Module = nn.Flatten()
        if self.head_kind == "pool":
            self.flat = nn.AdaptiveAvgPool1d(2) if dims == 1 else nn.AdaptiveMaxPool2d((1, 2))
        features = {"mean": channels, "pool": 2 * channels}.get(self.head_kind, example.numel())
        if head == "hidden":
            self.hidden, self.hidden_norm = nn.Linear(features, 19), nn.BatchNorm1d(19)
            features = 19
        self.head = nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(self._flattened(x))

    def _flattened(self, x: Tensor) -> Tensor:
        match self.head_kind:
            case "view":
                return x.contiguous().view(x.size(0), -1)
            case "reshape":
                return x.reshape(x.shape[0], -1)
            case "module":
                return self.flat(x)
            case "mean":
                return x.mean((2, 3)) if self.dims == 2 else x.mean(dim=-1)
            case "pool":
                return torch.flatten(self.flat(x), 1)
            case "hidden":
                return F.relu(self.hidden_norm(self.hidden(torch.flatten(x, 1))))
        return torch.flatten(x, 1)


class _Recorder(fx.Interpreter):
    def run_node(self, n: fx.Node):
        self.seen = getattr(self, "seen", {})
        self.seen[n] = super().run_node(n)
        return self.seen[n]


def possible_sites(network: nn.Module, inputs: Tensor) -> list[str]:
    """Every node with units, and not too many of them."""
    with undisturbed(network):
        graph, named = trace(network)
        recorder = _Recorder(network, graph=graph)
        recorder.run(inputs.clone())
    values = {
        name: recorder.seen[node]
        for name, node in named.items()
        if node.op not in ("placeholder", "output", "get_attr")
    }
    return [
        name
        for name, value in values.items()
        if isinstance(value, Tensor) and value.dim() > 1 and len(value) == len(inputs) and value.shape[1] <= MOST_UNITS
    ]


def _kill_units(network: nn.Module) -> None:
    """Every third output of each layer but the head is the same for all images, and negative."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and layer.bias is not None and name != "head":
            layer.weight.data[::3] = 0
            layer.bias.data[::3] = -1


@dataclass(frozen=True)
class Case:
    network: nn.Module
    inputs: Tensor
    sites: list[str]
    seed: int

    def __repr__(self) -> str:
        return f"{self.network}\nsites={self.sites}\ninputs={tuple(self.inputs.shape)}, seed={self.seed}"


_PLANS = st.builds(
    Plan,
    kind=st.sampled_from(KINDS),
    width=st.integers(1, 40),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    groups=st.sampled_from(["one", "one", "two", "depthwise"]),
    bias=st.booleans(),
    norms=st.sampled_from([0, 1, 1, 2]),
    activation=st.sampled_from(["relu", "relu", "in place", "F.relu", "method", "leaky", "gelu", "prelu", "softmax"]),
    pool=st.sampled_from(["none", "none", "average", "uncounted", "max"]),
    dropout=st.booleans(),
)


@st.composite
def cases(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Case:
    """A network, images and some of its nodes as sites, in any order."""
    dims = draw(st.sampled_from([0, 1, 2, 2]))
    plans = draw(st.lists(_PLANS, min_size=1, max_size=4))
    channels, size, seed = draw(st.integers(1, 4)), draw(st.integers(6, 8)), draw(st.integers(0, 99))
    head = draw(st.sampled_from(HEADS))
    plans = _of_odd_kernels(plans)
    network = seeded(lambda: Drawn(_large_enough(plans, dims, size), channels, dims, size, head), seed)
    if draw(st.integers(0, 3)) == 0:
        _kill_units(network)
    network = network.to(dtype).train(draw(st.booleans()))
    inputs = images(draw(st.integers(1, 5)), channels, *[size] * dims, seed=seed, dtype=dtype)
    names = possible_sites(network, inputs)
    sites = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    return Case(network, inputs, sites, seed)


def _of_odd_kernels(plans: list[Plan]) -> list[Plan]:
    """Blocks that add their input to their output need both of one size."""
    keep = ("plain", "before", "joined")
    return [p if p.kind in keep else Plan(**{**vars(p), "kernel": p.kernel | 1}) for p in plans]


def _large_enough(plans: list[Plan], dims: int, size: int) -> list[Plan]:
    """Blocks up to the one that would leave no position."""
    kept = []
    for plan in plans if dims else ():
        if plan.kind in ("plain", "before", "joined"):
            if size + 2 * plan.padding < plan.kernel:
                break
            size = (size + 2 * plan.padding - plan.kernel) // plan.stride + 1
        size = {"average": size + 1, "uncounted": (size + 1) // 2, "max": (size + 1) // 2}.get(plan.pool, size)
        kept.append(plan)
        if size < 2:
            break
    return kept if dims else plans
