"""The fast path on difficult networks; random ones are in test_drawn_networks.py."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from exactness import PLENTY, Function, assert_exact, cumulative, images, located, seeded, single
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from single_directions.ablation.incremental import Incremental
from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import undisturbed


def convolution(before: int, after: int, kernel: int = 3, **settings) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, **settings)


def test_a_hand_computed_ordering() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).double()
    network[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    network[2].weight.data = torch.tensor([[1.0, 10.0], [100.0, 1000.0]]).double()
    network[2].bias.data = torch.tensor([0.5, -0.5]).double()
    inputs = torch.tensor([[2.0, 3.0], [4.0, -1.0]], dtype=torch.float64)
    sited = located(network, None, inputs)
    values = torch.tensor([0.0, 7.0], dtype=torch.float64)
    with undisturbed(network):
        method = Incremental(sited, values, inputs, PLENTY)
        found = cumulative(method, inputs, torch.tensor([1, 0]), [0, 1, 2])
        alone = single(method, inputs, [0, 1])
    assert found.tolist() == [
        [[32.5, 3199.5], [4.5, 399.5]],
        [[72.5, 7199.5], [74.5, 7399.5]],  # unit 1 is 7
        [[70.5, 6999.5], [70.5, 6999.5]],  # and unit 0 is 0
    ]
    assert alone.tolist() == [[[30.5, 2999.5], [0.5, -0.5]], [[72.5, 7199.5], [74.5, 7399.5]]]


def mlp(widths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 4))


CLAMPS = pytest.mark.parametrize("clamp", [0.0, 0.5, "each"])


@CLAMPS
def test_all_points_of_a_network_wider_than_the_slices_are_rounded_to(clamp) -> None:
    assert_exact(seeded(lambda: mlp((8, 50, 37, 16, 1))), images(3, 2, 4), clamp=clamp)


@CLAMPS
@pytest.mark.parametrize("point", [0, 1, 43, 86, 87])
def test_one_point(clamp, point: int) -> None:
    assert_exact(seeded(lambda: mlp((8, 50, 37))), images(3, 8), clamp=clamp, ablated=[point], units=[0, 86])


@pytest.mark.parametrize("images_measured", [1, 2, 9])
def test_images_of_another_number_than_it_was_planned_with(images_measured: int) -> None:
    network = seeded(
        lambda: nn.Sequential(
            *(convolution(2, 20), nn.BatchNorm2d(20), nn.ReLU(), convolution(20, 18), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(18 * 9, 4)),
        )
    )
    inputs = images(images_measured, 2, 3, 3)
    for planned in (1, 5):
        examples = images(planned, 2, 3, 3, seed=9)
        assert_exact(network, inputs, clamp="each", ablated=range(0, 39, 3), examples=examples)


def test_points_by_the_thousand_do_not_add_up_errors() -> None:
    network = seeded(lambda: mlp((8, 300)), dtype=torch.float32)
    assert_exact(network, images(3, 8, dtype=torch.float32), orderings=1, tolerance=5e-6, units=[0])


def test_double_precision_to_the_last_digits() -> None:
    assert_exact(seeded(lambda: mlp((8, 60, 30))), images(3, 8), clamp="each", tolerance=1e-13)


def test_clamp_values_that_add_up_to_nothing() -> None:
    network, inputs = seeded(lambda: mlp((8, 40))), images(3, 8)
    sited = located(network, None, inputs)
    values = torch.tensor([1.0, -1.0]).double().repeat(20)
    with undisturbed(network):
        expected = cumulative(Reference(sited, values), inputs, torch.arange(40), range(41))
        found = cumulative(Incremental(sited, values, inputs, PLENTY), inputs, torch.arange(40), range(41))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


# Networks that share a shape of input, (images, 3, 6, 6), each for one trap.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {}


def network(sites: list[str], **modules: Callable[[], nn.Module]):
    def add(forward: Callable[[nn.Module, Tensor], Tensor]):
        def make() -> nn.Module:
            return Function(forward, **{name: module() for name, module in modules.items()})

        NETWORKS[forward.__name__] = make, sites
        return forward

    return add


def layer(before: int, after: int, kernel: int = 3, **settings) -> Callable[[], nn.Module]:
    return lambda: convolution(before, after, kernel, **settings)


@network(["relu", "relu_1"], a=layer(3, 20), b=layer(20, 24, groups=4), head=lambda: nn.Linear(24, 4))
def grouped(self, x):
    return self.head(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))


@network(["relu", "b", "relu_1"], a=layer(3, 20), b=layer(20, 20, groups=20), c=layer(20, 4, 1))
def depthwise(self, x):
    return self.c(torch.relu(self.b(torch.relu(self.a(x))))).mean((2, 3))


@network(["relu"], a=layer(3, 20), b=layer(20, 8), c=layer(20, 8, 5), head=lambda: nn.Linear(8, 4))
def read_by_two_layers(self, x):
    y = torch.relu(self.a(x))
    return self.head((torch.tanh(self.b(y)) * self.c(y)).mean((2, 3)))


@network(["relu", "relu_1"], a=layer(3, 20), b=layer(3, 17), c=layer(37, 8), head=lambda: nn.Linear(8, 4))
def two_sites_side_by_side_in_one_input(self, x):
    y = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)
    return self.head(torch.relu(self.c(y)).mean((2, 3)))


@network(["relu", "relu_1"], a=layer(3, 20), b=layer(3, 20), c=layer(20, 8), head=lambda: nn.Linear(8, 4))
def two_sites_added_in_one_input(self, x):
    y = torch.relu(self.a(x)) + torch.relu(self.b(x))
    return self.head(torch.relu(self.c(y)).mean((2, 3)))


@network(["relu"], a=layer(3, 20), head=lambda: nn.Linear(20, 4))
def one_site_added_to_itself(self, x):
    y = torch.relu(self.a(x))
    return self.head((y + y).mean((2, 3)))


@network(["norm", "relu"], a=layer(3, 20), norm=lambda: nn.BatchNorm2d(20), head=lambda: nn.Linear(20, 4))
def one_site_directly_behind_another(self, x):
    return self.head(torch.relu(self.norm(self.a(x))).mean((2, 3)))


@network(["b", "norm", "relu_1", "a"], a=layer(3, 20), b=layer(20, 18), norm=lambda: nn.BatchNorm2d(18), c=layer(18, 4))
def sites_one_behind_the_other(self, x):
    return self.c(torch.relu(self.norm(self.b(torch.relu(self.a(x)))))).mean((2, 3))


@network(["a", "b"], a=layer(3, 20), b=layer(20, 18), norm=lambda: nn.BatchNorm2d(18), head=lambda: nn.Linear(18, 4))
def before_the_activation(self, x):
    return self.head(torch.relu(self.norm(self.b(torch.relu(self.a(x))))).mean((2, 3)))


@network(["head"], a=layer(3, 20), head=lambda: nn.Linear(20, 4))
def the_head_itself(self, x):
    return self.head(torch.relu(self.a(x)).mean((2, 3)))


@network(["relu", "head"], a=layer(3, 20), head=lambda: nn.Linear(20, 4))
def the_head_and_a_site_before_it(self, x):
    return self.head(torch.relu(self.a(x)).mean((2, 3)))


@network(["mean"], a=layer(3, 20), head=lambda: nn.Linear(20, 4))
def the_input_of_the_head(self, x):
    return self.head(torch.relu(self.a(x)).mean((2, 3)))


@network(["relu", "flatten"], a=layer(3, 18), head=lambda: nn.Linear(18 * 36, 4))
def flattened_feature_maps_as_units(self, x):
    return self.head(torch.flatten(torch.relu(self.a(x)), 1))


@network(["relu"], a=layer(3, 18), b=layer(18, 5), head=lambda: nn.Linear(5 * 36, 4))
def a_view_told_its_size_far_behind_the_site(self, x):
    y = torch.relu(self.b(torch.relu(self.a(x))))
    return self.head(y.view(y.size(0), -1))


@network(["relu", "view"], a=layer(3, 18), b=layer(18, 2), head=lambda: nn.Linear(72, 4))
def a_view_as_site(self, x):
    y = self.b(torch.relu(self.a(x)))
    return self.head(y.view(y.size(0), -1))


@network(["relu"], a=layer(3, 18), norm=lambda: nn.BatchNorm1d(18 * 36), head=lambda: nn.Linear(18 * 36, 4))
def a_norm_behind_flattened_feature_maps(self, x):
    return self.head(self.norm(torch.relu(self.a(x)).flatten(1)))


@network(
    ["relu", "relu_1"],
    a=layer(3, 18),
    b=layer(18, 20),
    norm=lambda: nn.BatchNorm1d(720),
    head=lambda: nn.Linear(720, 4),
)
def a_norm_behind_flattened_feature_maps_that_vary(self, x):
    return self.head(self.norm(torch.relu(self.b(torch.relu(self.a(x)))).flatten(1)))


@network(["relu"], a=layer(3, 18), pool=lambda: nn.MaxPool1d(3, 1, 1), head=lambda: nn.Linear(18 * 36, 4))
def a_pool_over_flattened_features(self, x):
    return self.head(self.pool(torch.relu(self.a(x)).flatten(1)))


@network(["relu"], a=layer(3, 18), pool=lambda: nn.AvgPool2d(3, 1, 1), head=lambda: nn.Linear(18 * 36, 4))
def a_pool_over_channels(self, x):
    return self.head(self.pool(torch.relu(self.a(x)).flatten(2)).flatten(1))


@network(["pool"], a=lambda: nn.Linear(108, 20), pool=lambda: nn.AvgPool1d(3, 1, 1), head=lambda: nn.Linear(20, 4))
def a_pool_over_features_as_site(self, x):
    return self.head(self.pool(self.a(x.flatten(1))))


@network(["a", "relu_1"], a=layer(3, 20), b=layer(20, 20), c=layer(20, 20), head=lambda: nn.Linear(20, 4))
def two_layers_between_two_sites(self, x):
    return self.head(torch.relu(self.c(self.b(torch.relu(self.a(x))))).mean((2, 3)))


@network(["relu"], a=layer(3, 18), head=lambda: nn.Linear(18, 4))
def pools_that_see_their_padding(self, x):
    y = torch.relu(self.a(x))
    y = F.max_pool2d(F.avg_pool2d(y, 3, 2, 1), 3, 1, 1) + F.avg_pool2d(y, 3, 2, 1, count_include_pad=False)
    return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


@network(["add", "relu"], a=layer(3, 18), b=layer(18, 18), c=layer(18, 4))
def a_sum_as_site(self, x):
    y = torch.relu(self.a(x))
    return self.c(self.b(y) + y).mean((2, 3))


@network(["relu_1", "relu_2"], a=layer(3, 18), b=layer(18, 18), c=layer(18, 18), head=lambda: nn.Linear(18, 4))
def a_skip_around_a_site(self, x):
    y = torch.relu(self.a(x))
    z = torch.relu(self.b(y))
    return self.head(torch.relu(self.c(z) + y).mean((2, 3)))


@network(["relu", "sub"], a=layer(3, 18), b=layer(18, 18), head=lambda: nn.Linear(18, 4))
def differences_scalars_and_scaled_sums(self, x):
    y = torch.relu(self.a(x))
    z = torch.add(self.b(y), y, alpha=3) + 1
    return self.head((2 - z).add(y).mean((2, 3)))


@network(["relu"], a=layer(3, 18), b=layer(18, 18, 1, bias=False), head=lambda: nn.Linear(18, 4))
def one_layer_called_twice(self, x):
    return self.head(self.b(self.b(torch.relu(self.a(x)))).mean((2, 3)))


@network(["relu"], a=layer(3, 18), norm=lambda: nn.BatchNorm2d(18), b=layer(18, 18), head=lambda: nn.Linear(18, 4))
def a_norm_whose_layer_is_read_twice(self, x):
    y = self.b(torch.relu(self.a(x)))
    return self.head((torch.relu(self.norm(y)) + y).mean((2, 3)))


@network(
    ["relu", "relu_1"],
    a=layer(3, 18),
    b=lambda: nn.Conv2d(18, 20, 3, padding=1, padding_mode="circular"),
    c=lambda: nn.ConvTranspose2d(20, 18, 3),
    d=lambda: nn.Conv2d(18, 8, 3, dilation=2, padding="same"),
    head=lambda: nn.Linear(8, 4),
)
def convolutions_of_other_kinds(self, x):
    y = torch.relu(self.b(torch.relu(self.a(x))))
    return self.head(self.d(self.c(y)).mean((2, 3)))


@network(
    ["relu", "relu_1", "group"],
    a=layer(3, 18),
    group=lambda: nn.GroupNorm(3, 18),
    b=layer(18, 18),
    instance=lambda: nn.InstanceNorm2d(18),
    line=lambda: nn.LayerNorm(18),
    head=lambda: nn.Linear(18, 4),
)
def norms_that_mix_units(self, x):
    y = self.instance(self.b(torch.relu(self.group(self.a(x)))))
    return self.head(self.line(torch.relu(y).mean((2, 3))))


@network(["linear"], a=lambda: nn.Linear(6, 6), head=lambda: nn.Linear(6, 4))
def a_dense_layer_on_positions(self, x):
    y = F.linear(torch.relu(self.a(x)), self.a.weight, self.a.bias)
    return self.head(y.mean(dim=[1, 2]))


@network(["relu"], a=layer(3, 18), norm=lambda: nn.BatchNorm2d(18, affine=False), head=lambda: nn.Linear(18, 4))
def a_norm_without_weights(self, x):
    return self.head(self.norm(torch.relu(self.a(x))).mean((2, 3)))


@network(["relu"], a=layer(3, 20), b=layer(20, 18), c=layer(18, 4), norm=lambda: nn.BatchNorm2d(18))
def two_norms_in_a_row(self, x):
    return self.c(self.norm(self.norm(self.b(torch.relu(self.a(x)))))).mean((2, 3))


@network(["relu"], a=layer(3, 18), b=layer(18, 18), head=lambda: nn.Linear(18, 4), norm=lambda: nn.BatchNorm1d(4))
def three_norms_behind_the_head(self, x):
    return self.norm(self.norm(self.norm(self.head(self.b(torch.relu(self.a(x))).mean((2, 3))))))


@pytest.mark.parametrize("clamp", [0.0, "each"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_chosen_networks(name: str, clamp) -> None:
    make, sites = NETWORKS[name]
    made, inputs = seeded(make), images(3, 3, 6, 6)
    units = located(made, sites, inputs).units
    step = max(1, units // 25)
    ablated = sorted({*range(0, units, step), units})
    assert_exact(made, inputs, sites, clamp, ablated, range(0, units, step))
    assert_exact(made, inputs[:1], sites[::-1], clamp, [0, units // 2, units], [units - 1], orderings=1)


class Tail(nn.Module):
    """20 units, then the layer that a test has something done to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.layer = convolution(3, 20), nn.ReLU(), convolution(20, 18)
        self.norm, self.last, self.head = nn.BatchNorm2d(18), nn.ReLU(inplace=True), nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.norm(self.layer(self.relu(self.first(x))))).mean((2, 3)))


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Tripled(nn.Conv2d):
    __module__ = "torch.nn"  # tracing looks no deeper into what says so, as with layers trained for quantization

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class Signed(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - x.mean(1, keepdim=True)


def _hooked(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tail], object]:
    return lambda network: network.get_submodule(name).register_forward_hook(lambda *given: change(given[-1]))


def _forward(network: Tail) -> None:
    layer = network.layer
    layer.forward = lambda x: F.conv2d(x, layer.weight * 2, layer.bias, padding=1)


def _weight_norm(network: Tail) -> None:
    parametrizations.weight_norm(network.head)
    network.head.parametrizations.weight.original0.data *= 2


def _no_bias(network: Tail) -> None:
    network.layer.bias = network.head.bias = None


CHANGES: dict[str, Callable[[Tail], object]] = {
    "subclass": lambda network: setattr(network, "layer", seeded(lambda: Doubled(20, 18, 3, padding=1))),
    "opaque subclass": lambda network: setattr(network, "layer", seeded(lambda: Tripled(20, 18, 3, padding=1))),
    "activation subclass": lambda network: setattr(network, "last", Signed()),
    "hook": _hooked("layer", lambda output: output * 2 - 1),
    "pre-hook": lambda network: network.head.register_forward_pre_hook(lambda module, inputs: (inputs[0].flip(1),)),
    "norm hook": _hooked("norm", lambda output: output.roll(1, 1)),
    "activation hook": _hooked("last", lambda output: output.cumsum(1)),
    "site hook": _hooked("relu", lambda output: output.roll(1, 1) + 1),
    "forward": _forward,
    "parametrized": lambda network: parametrizations.orthogonal(network.layer),
    "weight norm": _weight_norm,
    "pruned": lambda network: prune.random_unstructured(network.layer, "weight", amount=0.5),
    "frozen": lambda network: network.requires_grad_(False),
    "no bias": _no_bias,
}


@pytest.mark.parametrize("clamp", [0.0, "each"])
@pytest.mark.parametrize("change", CHANGES)
def test_layers_that_are_not_what_their_class_says(change: str, clamp) -> None:
    changed, plain = seeded(Tail), seeded(Tail)
    CHANGES[change](changed)
    changed = changed.double()
    inputs = images(3, 3, 5, 5)
    last = "last.sub" if change == "activation subclass" else "last"  # a module of one's own is traced through
    assert_exact(changed, inputs, ["relu", last], clamp, range(0, 39, 2))
    if change != "frozen":  # so that the test can fail
        with undisturbed(changed), undisturbed(plain):
            assert not torch.allclose(changed(inputs), plain(inputs))


IN_PLACE = {
    "relu_": torch.relu_,
    "leaky_relu_": F.leaky_relu_,
    "elu_": lambda x: F.elu_(x, 0.5),
    "hardtanh_": F.hardtanh_,
    "F.elu": lambda x: F.elu(x, inplace=True),
    "method": lambda x: x.mul_(2).add_(1).clamp_(min=0.1),
    "operators": lambda x: _operators(x),
}


def _operators(x: Tensor) -> Tensor:
    x *= 2
    x += 1
    x -= 0.5
    x /= 3
    x **= 2
    return x


@pytest.mark.parametrize("function", IN_PLACE.values(), ids=IN_PLACE)
def test_functions_that_work_in_place(function) -> None:
    network = seeded(
        lambda: Function(
            lambda self, x: self.head(function(self.b(function(self.a(x)))).mean((2, 3))),
            **{"a": convolution(3, 18), "b": convolution(18, 17), "head": nn.Linear(17, 4)},
        )
    )
    inputs = images(3, 3, 5, 5)
    kept = inputs.clone()
    assert_exact(network, inputs, ["a", "b"], 0.5, range(0, 36, 3))
    assert torch.equal(inputs, kept)


def test_arguments_of_forward_that_have_a_default() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = convolution(3, 18), convolution(18, 17), nn.Linear(17, 4)

        def forward(self, x: Tensor, scale: float = 0.5, *, shift: float = 2.0) -> Tensor:
            x = torch.relu(self.first(x * scale))
            return self.head(torch.relu(self.second(x) * scale + shift).mean((2, 3)))

    assert_exact(seeded(Scaled), images(3, 3, 5, 5), None, "each", range(0, 36, 3))


def test_a_site_that_the_output_does_not_depend_on() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        self.aside(y)
        return self.head(y.mean((2, 3)))

    network = seeded(lambda: Function(forward, a=convolution(3, 18), aside=convolution(18, 5), head=nn.Linear(18, 4)))
    assert_exact(network, images(3, 3, 5, 5), ["aside", "relu"], 0.5)


def test_a_network_that_computes_more_precisely_than_its_inputs_are() -> None:
    network = seeded(lambda: Function(lambda self, x: self.inner(x.double()), inner=Tail()))
    assert_exact(network, images(3, 3, 5, 5).float(), None, 0.5, range(0, 39, 2), tolerance=1e-12)


def test_whole_numbers_as_inputs() -> None:
    network = seeded(
        lambda: Function(
            lambda self, x: self.tail(self.embedding(x).permute(0, 3, 1, 2)), embedding=nn.Embedding(7, 3), tail=Tail()
        )
    )
    inputs = torch.randint(7, (3, 5, 5))
    sited = located(network, None, inputs)
    values = torch.full((38,), 0.5)
    with undisturbed(network):
        ordering = torch.randperm(38)
        expected = cumulative(Reference(sited, values), inputs, ordering, range(0, 39, 3))
        found = cumulative(Incremental(sited, values, inputs, PLENTY), inputs, ordering, range(0, 39, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_norm_of_another_precision_than_its_layer() -> None:
    network = seeded(Tail).bfloat16()
    network.norm.float()
    inputs = images(3, 3, 5, 5).bfloat16()
    for clamp in (0.0, 0.5):
        assert_exact(network, inputs, None, clamp, range(0, 39, 3), tolerance=3e-2)


def test_it_says_what_it_gains() -> None:
    inputs = images(3, 3, 5, 5)
    for sites, gains in (
        (["relu", "last"], "2 of the 2 layers after the first site are updated or sliced"),
        (["last"], "1 of the 1 layers after the first site are updated or sliced"),
        (["head"], ""),
    ):
        network = seeded(Tail)
        sited = located(network, sites, inputs)
        with undisturbed(network):
            assert Incremental(sited, images(sited.units), inputs, PLENTY).gains == gains


def test_memory_budget_bounds_the_portions() -> None:
    network, inputs = seeded(Tail), images(3, 3, 5, 5)
    sited = located(network, None, inputs)
    with undisturbed(network):
        sizes = [Incremental(sited, images(38), inputs, budget).images_at_once for budget in (1, 10**5, 10**6)]
    assert sizes[0] == 2  # some networks cannot take a single image
    assert sizes[1] >= 2
    assert 9 * sizes[1] <= sizes[2] <= 11 * sizes[1] + 10
