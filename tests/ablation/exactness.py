"""What "the same logits" means: every method, cumulative, single and with a mask an image, against the reference."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from single_directions.ablation.incremental import Incremental
from single_directions.ablation.masks import paired
from single_directions.ablation.prefix import Prefix
from single_directions.ablation.reference import Reference
from single_directions.ablation.rows import WholePasses, choose_rows
from single_directions.ablation.sites import SitedNetwork, locate, undisturbed

PLENTY = 2**30
ROUNDING = {torch.float64: 1e-11, torch.float32: 5e-5}
"""Of the largest logit or clamp value. A wrong step errs by orders of magnitude more."""


class Function(nn.Module):
    """A network whose forward pass is a function of itself and the inputs."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self, inputs)


class Untraceable(nn.Module):
    """Another network behind control flow."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() < 1e9 else x


def seeded(make: Callable[[], nn.Module], seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network as if trained: random weights, and batch norms with statistics of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                if module.running_mean is not None:
                    module.running_mean.normal_(std=0.5)
                    module.running_var.uniform_(0.5, 2.0)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, std=0.5)
    return network.to(dtype)


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batches(sizes=(5, 5, 2), dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    inputs = images(sum(sizes), 2, 4, 4, dtype=dtype)
    targets = torch.randint(4, (sum(sizes),), generator=torch.Generator().manual_seed(0))
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))


def two_units() -> nn.Module:
    """logits = relu(x)."""
    network = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Linear(2, 2, bias=False)).double()
    network[2].weight.data = torch.eye(2).double()
    return network


# Unit 0 gone: logits (0, 1), (0, 2), (0, 0), (0, 3); unit 1 gone: (2, 0), (1, 0), (3, 0), (1, 0); both: (0, 0).
TWO_UNITS = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, -1.0], [1.0, 3.0]]).double()
TARGETS = torch.tensor([0, 1, 0, 0])


def located(network: nn.Module, sites: Sequence[str] | None, inputs: Tensor) -> SitedNetwork:
    """`locate` without its warnings of idle sites, which drawn networks have plenty of."""
    with warnings.catch_warnings(), undisturbed(network):
        warnings.filterwarnings("ignore", message="sites? .* changes no output")
        return locate(network, sites, inputs)


def cumulative(method, inputs: Tensor, ordering: Tensor, ablated: Sequence[int]) -> Tensor:
    """(points, images, classes)."""
    method.start(inputs)
    logits = {point: answer.clone() for point, answer in method.cumulative(ordering, ablated)}
    assert sorted(logits) == list(range(len(ablated)))
    return torch.stack([logits[point] for point in range(len(ablated))])


def single(method, inputs: Tensor, units: Sequence[int]) -> Tensor:
    """(units, images, classes)."""
    method.start(inputs)
    logits = {unit: answer.clone() for unit, answer in method.single(units)}
    assert sorted(logits) == sorted(units)
    return torch.stack([logits[unit] for unit in units])


def state(network: nn.Module) -> list:
    """All that measuring might disturb."""
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in network.modules()]
    switches = [(module.training, getattr(module, "inplace", None)) for module in network.modules()]
    tensors = [value.tolist() for value in network.state_dict().values()]
    gradients = [(parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    return [hooks, switches, tensors, gradients, torch.get_rng_state().tolist(), torch.is_grad_enabled()]


def drawn_values(sited: SitedNetwork, clamp: str | float, dtype: torch.dtype) -> Tensor:
    """What units are clamped to: "each" is another value for each unit, as with their means."""
    if clamp == "each":
        return images(sited.units, seed=1, dtype=dtype)
    return torch.full((sited.units,), float(clamp), dtype=dtype)


def assert_exact(
    network: nn.Module,
    inputs: Tensor,
    sites: Sequence[str] | None = None,
    clamp: str | float = 0.0,
    ablated: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    tolerance: float | None = None,
    orderings: int = 2,
    seed: int = 0,
    examples: Tensor | None = None,
) -> SitedNetwork:
    """All methods give the reference's logits: at all points (or those given), for each unit alone, with drawn masks.

    `examples` are the images that the methods are planned with, those measured if ``None``.
    """
    sited = located(network, sites, inputs)
    assert sited.untraced == ""
    values = drawn_values(sited, clamp, inputs.dtype)
    ablated = range(sited.units + 1) if ablated is None else ablated
    units = range(sited.units) if units is None else units
    generator = torch.Generator().manual_seed(seed)
    examples = inputs if examples is None else examples
    with undisturbed(network):
        reference = Reference(sited, values)
        methods = (
            Prefix(sited, values, examples, 1),
            Prefix(sited, values, examples, PLENTY),
            Incremental(sited, values, examples, PLENTY),
        )
        for _ in range(orderings):
            ordering = torch.randperm(sited.units, generator=generator)
            expected = cumulative(reference, inputs, ordering, ablated)
            for method in methods:
                assert_close(cumulative(method, inputs, ordering, ablated), expected, values, tolerance, method.name)
        expected = single(reference, inputs, units)
        for method in methods:
            assert_close(single(method, inputs, units), expected, values, tolerance, method.name + ", single")
        for mirrored in (False, True):
            rows, _ = choose_rows(sited, values, examples, "auto", PLENTY, mirrored)
            definition, shape = WholePasses(sited, values), (2, len(inputs), sited.units - rows.late)
            early = torch.rand(shape, generator=generator) < 0.5
            early = paired(early, ~early if mirrored else early.roll(1, dims=0), 3)
            late = torch.rand(3, rows.variants, len(inputs), rows.late, generator=generator) < 0.5
            for method in (rows, definition):
                method.start(inputs)
            what = f"rows, {rows.name}, {mirrored=}"
            assert_close(rows.logits(early, late), definition.logits(early, late), values, tolerance, what)
            assert_close(rows.plain(), definition.plain(), values, tolerance, f"rows, {rows.name}, nothing clamped")
    return sited


def assert_close(found: Tensor, expected: Tensor, values: Tensor, tolerance: float | None, what: str) -> None:
    scale = max(1.0, float(expected.abs().max()), float(values.abs().max()))
    bound = ROUNDING[expected.dtype] if tolerance is None else tolerance
    difference = float((found - expected).abs().max()) / scale
    assert found.shape == expected.shape
    assert difference <= bound, f"{what}: logits differ by {difference:.1e} of the largest"
