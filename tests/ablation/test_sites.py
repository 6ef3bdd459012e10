import warnings

import pytest
import torch
from exactness import Function, assert_exact, images, located, seeded, state
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import get_graph_node_names

from single_directions.ablation import Site, resolve_sites
from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import undisturbed
from single_directions.errors import BadInput


def chain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


class ThreeCalls(nn.Module):
    """One ReLU called three times, as in ResNet-50's blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 5), nn.Linear(5, 4), nn.Linear(4, 6)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.third(self.relu(self.second(self.relu(self.first(x)))))))


class Untraceable(ThreeCalls):
    """The same, but which path it takes depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() < 1e9 else x


def test_default_is_every_relu_where_the_network_names_none() -> None:
    assert resolve_sites(chain(), None, images(2, 8, dtype=torch.float32)) == (Site("2", 5), Site("4", 4))


def test_default_is_what_the_network_names() -> None:
    network = chain()
    network.default_sites = ("4",)
    assert resolve_sites(network, None, torch.ones(2, 8)) == (Site("4", 4),)
    assert resolve_sites(network, ["2"], torch.ones(2, 8)) == (Site("2", 5),)


def test_sites_are_in_the_order_asked_for() -> None:
    assert [site.name for site in resolve_sites(chain(), ["4", "2", "1"], torch.ones(2, 8))] == ["4", "2", "1"]


def test_units_are_neurons_or_whole_feature_maps() -> None:
    network = nn.Sequential(nn.Conv2d(1, 7, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 5), nn.ReLU(), nn.Linear(5, 2))
    sites = resolve_sites(network, ["1", "2", "4"], torch.ones(3, 1, 4, 4))
    assert [site.units for site in sites] == [7, 28, 5]


@pytest.mark.parametrize("make", [ThreeCalls, Untraceable])
def test_a_module_called_three_times_is_three_sites(make) -> None:
    sites = located(make(), None, torch.ones(2, 8)).sites
    assert sites == (Site("relu", 5), Site("relu_1", 4), Site("relu_2", 6))


def test_every_way_to_write_a_relu() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = torch.relu(self.layer(x))
        x = F.relu(self.layer(x), inplace=True)
        x = self.layer(x).relu()
        x = self.layer(x).relu_()
        x = torch.relu_(self.layer(x))
        x = F.relu_(self.layer(x))
        x = self.six(self.layer(x))
        return self.layer(F.relu6(self.layer(x)))

    network = Function(forward, layer=nn.Linear(4, 4), six=nn.ReLU6())
    names = [site.name for site in resolve_sites(network, None, torch.ones(2, 4))]
    assert len(names) == 8
    assert names[:3] == ["relu", "relu_1", "relu_2"]


def test_names_are_those_of_torchvision() -> None:
    network = ThreeCalls()
    _, names = get_graph_node_names(network.eval(), suppress_diff_warning=True)
    sites = resolve_sites(network, names[1:], torch.ones(2, 8))  # the first is the input
    assert [site.name for site in sites] == names[1:]


def test_a_shared_module_under_two_names() -> None:
    relu = nn.ReLU()
    network = seeded(lambda: nn.Sequential(nn.Linear(8, 5), relu, nn.Linear(5, 4), relu, nn.Linear(4, 3)))
    sites = assert_exact(network, images(2, 8)).sites
    assert [(site.name, site.units) for site in sites] == [("1", 5), ("1_1", 4)]
    assert {site.name for site in sites} < set(get_graph_node_names(network)[1])


def test_an_unknown_site_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(BadInput, match=r"site 'relu2'.*Closest of 7: relu_2, relu, relu_1, \w+, \w+$") as e:
        resolve_sites(ThreeCalls(), ["relu", "relu2"], torch.ones(2, 8))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("relu", r"sites='relu': a list of names is needed, as in \['relu'\]"),
        (["relu", "relu"], "named only once"),
        ([], "name at least one"),
        (["x"], "site 'x'"),
        (["output"], "site 'output'"),
    ],
)
def test_sites_that_cannot_be(sites, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        resolve_sites(ThreeCalls(), sites, torch.ones(2, 8))


def test_sites_of_the_graph_alone_beside_sites_outside_it() -> None:
    """`add` is the second sum of the graph, whose first is of sizes; `part` is a module that the graph has in steps."""
    part = nn.Sequential(nn.Linear(8, 5), nn.ReLU())
    network = Function(lambda self, x: self.part(x)[:, 0 + x.shape[1] - 8 :] + 1, part=part)
    assert [site.units for site in resolve_sites(network, ["part"], torch.ones(2, 8))] == [5]
    assert [site.units for site in resolve_sites(network, ["add_1"], torch.ones(2, 8))] == [5]
    with pytest.raises(BadInput, match="'add_1' is a step of the graph alone, and 'part' cannot be measured in it"):
        resolve_sites(network, ["add_1", "part"], torch.ones(2, 8))


def test_a_place_without_units() -> None:
    network = Function(lambda self, x: self.head(x.view(x.size(0), -1)), head=nn.Linear(8, 3))
    with pytest.raises(BadInput, match="site 'size': its output is not a tensor"):
        resolve_sites(network, ["size"], torch.ones(2, 2, 4))


@pytest.mark.parametrize("broken", [lambda x: (x, x), lambda x: x.sum(1), lambda x: x.flatten(), lambda x: x[:1]])
def test_an_output_that_is_not_logits(broken) -> None:
    network = Function(lambda self, x: broken(self.relu(x)), relu=nn.ReLU())
    with pytest.raises(BadInput, match="must be logits"):
        resolve_sites(network, None, torch.ones(3, 8))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(value: float) -> None:
    network = chain()
    network[-1].bias.data[1] = value
    with pytest.raises(BadInput, match="not finite"):
        resolve_sites(network, None, torch.ones(3, 8))


def test_a_bypassed_site_warns() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        self.relu(self.aside(x))
        return self.head(self.used(x))

    network = Function(
        forward, relu=nn.ReLU(), aside=nn.Linear(8, 5), used=nn.Sequential(nn.ReLU()), head=nn.Linear(8, 3)
    )
    with pytest.warns(UserWarning, match="site 'relu': clamping all units to zero changes no output"):
        resolve_sites(network, ["relu", "used.0"], torch.ones(2, 8))


def test_dead_units_warn() -> None:
    network = chain()
    network[1].weight.data.zero_()
    network[1].bias.data.fill_(-1)
    with pytest.warns(UserWarning, match="site '2'"):
        resolve_sites(network, ["2"], torch.ones(2, 8))


@pytest.mark.parametrize("make", [chain, Untraceable])
def test_sites_that_take_effect_do_not_warn(make) -> None:
    resolve_sites(seeded(make), None, images(4, 8))  # a warning would be an error


def test_what_cannot_be_traced_names_modules_by_call() -> None:
    network, traced = seeded(Untraceable), seeded(ThreeCalls)
    inputs, names = images(4, 8), ["relu_2", "relu", "first", "relu_1"]
    found, expected = located(network, names, inputs), located(traced, names, inputs)
    assert "control flow" in found.untraced
    assert expected.untraced == ""
    assert found.sites == expected.sites
    for unit in range(found.units):
        alone = torch.arange(found.units) == unit
        values = images(found.units, seed=2)
        with undisturbed(network), undisturbed(traced):
            assert torch.equal(found.clamped(inputs, alone, values), expected.clamped(inputs, alone, values))


class Mixed(nn.Module):
    """Cannot be traced, and writes ReLUs in all ways."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Function(
            lambda self, x: self.relu(F.relu(self.layer(x), inplace=True)) + 1, layer=nn.Linear(8, 8), relu=nn.ReLU()
        )
        self.six, self.unused, self.head = nn.ReLU6(), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(x if x.sum() > -1e9 else -x)
        return self.head(self.six(F.relu6(x.relu())))


def test_functions_are_sites_of_what_cannot_be_traced_too() -> None:
    network, inputs = seeded(Mixed), images(4, 8)
    found = resolve_sites(network, None, inputs)
    assert [site.name for site in found] == ["block.relu", "block.relu_1", "relu", "relu6", "six"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["relu_3", "rel", "relu_x", "relu_", ""])
def test_an_unknown_module_of_what_cannot_be_traced(name: str) -> None:
    with pytest.raises(BadInput, match=f"site '{name}'"):
        resolve_sites(Untraceable(), [name], torch.ones(2, 8))


def test_functions_alone_in_what_cannot_be_traced() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(torch.relu(x) if x.sum() > 0 else torch.relu(-x))

    network = seeded(lambda: Function(forward, first=nn.Linear(8, 5), head=nn.Linear(5, 3)))
    assert resolve_sites(network, None, images(4, 8)) == (Site("relu", 5),)


def test_an_unknown_site_of_what_cannot_be_traced_says_so() -> None:
    with pytest.raises(BadInput, match=r"Closest of 7: relu, relu_2, relu_1, .*cannot be traced: .*control flow"):
        resolve_sites(Untraceable(), ["rolu"], torch.ones(2, 8))


def test_clamp_by_hand() -> None:
    activation = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    clamped, values = torch.tensor([False, True, False]), torch.tensor([7.0, 8.0, 9.0])
    assert Site("", 3).clamp(activation, clamped, values).tolist() == [[[1.0, 2.0], [8.0, 8.0], [5.0, 6.0]]]
    assert activation[0, 1].tolist() == [3.0, 4.0]  # it was not written to
    assert Site("", 3).clamp(activation[..., 0], clamped, values).tolist() == [[1.0, 8.0, 5.0]]


def test_clamping_replaces_nan() -> None:
    activation, clamped = torch.tensor([[torch.nan, 1.0]]), torch.tensor([True, False])
    assert Site("", 2).clamp(activation, clamped, torch.zeros(2)).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("make", [ThreeCalls, Untraceable])
def test_the_reference_is_the_network_with_hooks_that_overwrite(make) -> None:
    """Independent of how the package runs networks: here by hand, on the network as it is."""
    network, inputs = seeded(make).eval(), images(6, 8)
    sited = located(network, ["relu_1", "relu", "relu_2"], inputs)
    starts = {1: 0, 0: 4, 2: 9}  # where the units of each call of the ReLU begin
    values = images(15, seed=3)
    reference = Reference(sited, values)
    reference.start(inputs)
    ordering = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for point, logits in reference.cumulative(ordering, range(16)):
            calls, gone = [], ordering[:point].tolist()

            def hook(module: nn.Module, _, output: Tensor, calls=calls, gone=gone) -> Tensor:
                start = starts[len(calls)]
                calls.append(module)
                output = output.clone()
                for unit in range(output.shape[1]):
                    if start + unit in gone:
                        output[:, unit] = values[start + unit]
                return output

            handle = network.relu.register_forward_hook(hook)
            expected = network(inputs)
            handle.remove()
            assert len(calls) == 3
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("act", [nn.ReLU(inplace=True), lambda x: F.relu(x, inplace=True)])
def test_a_clamp_is_seen_by_all_that_read_what_is_overwritten(act) -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y = self.layer(x)
        return self.head(self.other(act(y)) + y)

    network = Function(forward, layer=nn.Linear(8, 6), other=nn.Linear(6, 6), head=nn.Linear(6, 3)).double()
    if isinstance(act, nn.Module):
        network.add_module("relu", act)
    inputs, clamped, values = images(4, 8), torch.arange(6) % 2 == 0, images(6, seed=1)
    sited = located(network, ["relu"], inputs)
    with undisturbed(network):
        y = torch.where(clamped, values, F.relu(network.layer(inputs)))
        torch.testing.assert_close(sited.clamped(inputs, clamped, values), network.head(network.other(y) + y))


def test_undisturbed_even_by_an_exception() -> None:
    network = seeded(
        lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3), nn.Sequential(nn.Dropout())), 0
    )
    network[3].eval()
    before = state(network)
    with undisturbed(network):
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()
        torch.rand(3)
        network(images(4, 8))
    assert state(network) == before
    with pytest.raises(RuntimeError, match="running_mean"), undisturbed(network):
        network(torch.rand(4, 7).double())
    assert state(network) == before
    assert network.training
    assert not network[3][0].training


@pytest.mark.parametrize("make", [ThreeCalls, Untraceable])
def test_resolving_sites_leaves_everything_as_it_was(make) -> None:
    network = seeded(make).train()
    before = state(network)
    resolve_sites(network, None, images(4, 8))
    with pytest.raises(BadInput):
        resolve_sites(network, ["nowhere"], images(4, 8))
    assert state(network) == before
    assert network.relu.inplace


class Scripted(nn.Module):
    """Cannot be traced; one of its parts takes no hooks, and one of its ReLUs has the name of another's second call."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is on its way out, but people have such modules
            self.inner = torch.jit.script(nn.Linear(8, 8))
        self.relu, self.relu_1, self.head = nn.ReLU(), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.inner(x if x.sum() > -1e9 else -x))
        return self.head(self.relu_1(self.relu(x - 0.1) - 0.1))


def test_a_part_that_takes_no_hooks() -> None:
    network = Scripted()
    with pytest.warns(UserWarning, match="no default site: activation functions, if any, inside .* scripted"):
        found = resolve_sites(network, None, images(4, 8).float())
    assert [site.name for site in found] == ["relu", "relu_1", "relu_2"]
    assert not network.relu._forward_hooks


@pytest.mark.parametrize("images_measured", [1, 2, 3, 9])
def test_it_is_found_out_whether_images_depend_on_each_other(images_measured: int) -> None:
    def centred(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.layer(x - x.mean(0))))

    def alone(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.layer(x)))

    for forward, mixes in ((centred, True), (alone, False)):
        network = seeded(lambda forward=forward: Function(forward, layer=nn.Linear(4, 6), head=nn.Linear(6, 3)))
        assert located(network, None, images(images_measured, 4)).mixes == mixes


@pytest.mark.parametrize("largest", range(8))
def test_it_is_found_out_that_images_are_divided_by_the_largest_of_their_batch(largest: int) -> None:
    network = seeded(
        lambda: Function(
            lambda self, x: self.head((h := torch.relu(self.layer(x))) / h.max()),
            layer=nn.Linear(4, 6, bias=False),
            head=nn.Linear(6, 3),
        )
    )
    for number in range(max(4, largest + 1), 9):
        inputs = images(number, 4)
        inputs[largest] *= 10 * inputs.abs().max() / inputs[largest].abs().max()
        assert located(network, None, inputs).mixes
