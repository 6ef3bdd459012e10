"""Which activation functions are default sites, in which dimension their units lie, and what they are called."""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from exactness import Function, Untraceable, assert_exact, images, located, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torchvision.models.feature_extraction import get_graph_node_names
from torchvision.ops import SqueezeExcitation

from single_directions import BadInput, Site, ablation_curve, resolve_sites
from single_directions.ablation.activations import ACTIVATIONS, SIGMOIDS
from single_directions.ablation.record import Recorder
from single_directions.ablation.sites import described, locate, undisturbed


def names(network: nn.Module, inputs: Tensor, **asked: Any) -> list[str]:
    return [site.name for site in resolve_sites(network, None, inputs, **asked)]


def dense(forward: Callable[[Any, Tensor], Tensor], **more: nn.Module) -> nn.Module:
    """A layer, somebody's function of it, and a head."""
    return seeded(lambda: Function(forward, layer=nn.Linear(8, 6), head=nn.Linear(6, 3), **more))


# Activation functions


NONE = {nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax}
MODULES = [getattr(nn, name) for name in nn.modules.activation.__all__ if getattr(nn, name) not in NONE]


@pytest.mark.parametrize("activation", MODULES)
def test_every_activation_function(activation: type[nn.Module]) -> None:
    act = activation(0.0, 0.0) if activation is nn.Threshold else activation()
    width = 3 if activation is nn.GLU else 6
    network = dense(lambda self, x: self.head(self.act(self.layer(x))[:, :width]), act=act)
    network.head = nn.Linear(width, 3).double()
    assert names(network, images(4, 8)) == ["act"]
    assert names(Untraceable(network), images(4, 8)) == ["inner.act"]


@pytest.mark.parametrize("name", sorted(ACTIVATIONS | SIGMOIDS))
def test_every_name_listed_is_that_of_a_function_however_it_is_called(name: str) -> None:
    arguments = {"threshold": (0.0, 0.0), "prelu": (torch.full((1,), 0.25).double(),)}.get(name, ())
    spelt = [(where, name + end) for where in (F, torch, Tensor) for end in ("", "_") if hasattr(where, name + end)]
    assert spelt
    spelt += [(torch.special, other) for other, same in (("erf", "erf"), ("expit", "sigmoid")) if same == name]
    for where, one in spelt:
        act = getattr(where, one)
        network = dense(lambda self, x, act=act: act(self.layer(x).repeat(1, 2), *arguments).mean(1, keepdim=True))
        with undisturbed(network):
            assert name in {event.operation for event in Recorder(network).run(images(4, 8)).events}


def test_softmax_and_identity_are_none() -> None:
    network = dense(lambda self, x: self.head(self.same(self.layer(x)).softmax(1)), same=nn.Dropout())
    with pytest.raises(BadInput, match=r"no activation function to ablate; name the sites .*, such as layer, same$"):
        names(network, images(4, 8))
    assert resolve_sites(network, ["same"], images(4, 8)) == (Site("same", 6),)


@pytest.mark.parametrize(
    "written",
    [
        lambda x: x * torch.sigmoid(x),
        lambda x: torch.sigmoid(1.702 * x) * x,
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: x * torch.tanh(F.softplus(x)),
        lambda x: 0.5 * x * (1 + torch.tanh(0.797 * (x + 0.0447 * x**3))),
    ],
)
def test_an_activation_function_written_as_a_product_is_one_site(written) -> None:
    network = dense(lambda self, x: self.head(written(self.layer(x))))
    (site,) = resolve_sites(network, None, images(4, 8))
    assert re.match(r"mul(_\d)?$", site.name)
    assert_exact(network, images(4, 8))


@pytest.mark.parametrize(
    "written",
    [
        lambda x: x.clamp(min=0),
        lambda x: torch.clamp(x, 0.0, 6.0),
        lambda x: x.clip(0),
        lambda x: x.clone().clamp_(min=0),
        lambda x: torch.clamp_min(x, 0),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: torch.max(torch.zeros(6), x),
        lambda x: torch.fmax(x, x.new_zeros(1)),
    ],
)
def test_the_larger_of_a_value_and_0_is_an_activation_function(written) -> None:
    network = dense(lambda self, x: self.head(written(self.layer(x))))
    (site,) = resolve_sites(network, None, images(4, 8))
    assert re.match(r"(clamp|clip|max|fmax)", site.name)
    assert site.units == 6
    assert names(Untraceable(network), images(4, 8)) == [f"inner.{site.name}"]
    assert_exact(network, images(4, 8))


@pytest.mark.parametrize(
    "written",
    [
        lambda x: x.clamp(min=1e-6),
        lambda x: x.clamp(max=0),
        lambda x: torch.maximum(x, -x),
        lambda x: torch.maximum(x, 0 * x),  # 0 for these images, who knows for which others
        lambda x: x.unflatten(1, (4, 2)).max(2).values.repeat(1, 2),
        lambda x: x.unflatten(1, (4, 2)).max(dim=2)[0].repeat(1, 2),
    ],
)
def test_other_bounds_and_maxima_are_none(written) -> None:
    network = dense(lambda self, x: self.head(self.act(self.layer(written(x)))), act=nn.GELU())
    assert names(network, images(4, 8)) == ["act"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (lambda self, x: self.head(F.relu(self.layer(x)).clamp(0, 6)), ["relu"]),
        (lambda self, x: self.head(F.gelu(self.layer(x)).softmax(1).clamp(min=0)), ["gelu"]),
        (lambda self, x: self.head(F.gelu(self.layer(x)) * ((self.gate(x) + 3) / 6).clamp(0, 1)), ["gelu"]),
        (lambda self, x: self.head(F.gelu(self.layer(x)) + (self.gate(x).square() + 1).clamp(min=0).sqrt()), ["gelu"]),
        # A block of a residual network: what is clamped is a sum with the output of a layer.
        (lambda self, x: self.head((F.relu(self.layer(x)) + self.gate(x)).clamp(min=0)), ["relu", "clamp"]),
        (lambda self, x: self.head((z := self.layer(x)) * ((z + 3) / 6).clamp(0, 1)), ["mul"]),
    ],
)
def test_a_clamp_is_an_activation_function_only_behind_a_layer_and_unless_it_is_a_gate(written, expected) -> None:
    assert names(dense(written, gate=nn.Linear(8, 6)), images(4, 8)) == expected


def test_clamped_tokens_and_pixels_are_none() -> None:
    """No layer has computed them. Tokens below 0 stand for padding."""

    def forward(self: Any, tokens: Tensor) -> Tensor:
        largest = torch.maximum(tokens, torch.zeros_like(tokens))
        return self.head(F.gelu(self.layer(self.table(tokens.clamp(min=0)) + self.table(largest))).mean(1))

    network = dense(forward, table=nn.Embedding(5, 8))
    assert names(network, torch.arange(12).view(4, 3) % 6 - 1) == ["gelu"]
    network = dense(lambda self, x: self.head(F.gelu(self.layer(x.clamp(0, 1)))))
    assert names(network, images(4, 8)) == ["gelu"]


def _by_index(x: Tensor, parts: list[Tensor]) -> Tensor:
    filled = torch.zeros(len(x), 2, 6, dtype=x.dtype)
    filled[:, 0], filled[:, 1] = parts
    return filled


def _by_view(x: Tensor, parts: list[Tensor]) -> Tensor:
    filled = torch.zeros(len(x), 2, 6, dtype=x.dtype)
    for view, part in zip(filled.unbind(1), parts, strict=True):
        view.copy_(part)
    return filled


def _of_its_shape(x: Tensor, parts: list[Tensor]) -> Tensor:
    filled = x.new_zeros(len(x), 2, 6)  # in x the channels are dimension 1, here it is the last
    filled[:, 0], filled[:, 1] = parts
    return filled


@pytest.mark.parametrize("fill", [_by_index, _by_view, _of_its_shape])
def test_activations_of_a_tensor_that_is_filled_part_by_part(fill) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(torch.relu(fill(x, [self.layer(F.gelu(x[:, 0])), self.layer(x[:, 1])])).mean(1))

    assert resolve_sites(dense(forward), None, images(4, 2, 8)) == (Site("gelu", 8), Site("relu", 6, 2))


# Gates


def test_what_a_norm_divides_by_is_a_gate() -> None:
    """A variance that rounding shall not make negative."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = torch.relu(self.layer(x))
        mean = x.mean(1, keepdim=True)
        variance = (x.square().mean(1, keepdim=True) - mean.square()).clamp(min=0)
        return self.head((x - mean) / (variance + 1e-5).sqrt())

    assert names(dense(forward), images(4, 8)) == ["relu"]


def test_gates_of_squeeze_and_excitation_are_none_traced_or_not() -> None:
    network = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.SiLU(), SqueezeExcitation(8, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(8, 3),
        )
    )
    inputs = images(4, 3, 6, 6)
    assert names(network, inputs) == ["1"]
    assert names(Untraceable(network), inputs) == ["inner.1"]
    # Asked for, a gate is measured.
    assert resolve_sites(network, ["2.activation"], inputs) == (Site("2.activation", 4),)


def test_a_network_with_squeeze_and_excitation_has_the_same_sites_traced_or_not() -> None:
    """All of a small RegNet Y: its gates lie in a module that the tracer takes for one step."""
    blocks = torchvision.models.regnet.BlockParams([1, 2], [8, 16], [8, 8], [1.0, 1.0], [2, 2], se_ratio=0.25)
    network, inputs = torchvision.models.RegNet(blocks, num_classes=3, stem_width=8), images(4, 3, 16, 16).float()
    traced, untraced = located(network, None, inputs), located(Untraceable(network), None, inputs)
    assert (traced.untraced, untraced.graph) == ("", None)
    assert len(traced.sites) == 1 + 3 * 3
    assert untraced.sites == tuple(replace(site, name=f"inner.{site.name}") for site in traced.sites)


def test_a_gated_linear_unit_is_one_site_and_a_sigmoid_gate_none() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.silu(self.layer(x)) * self.other(x)
        return self.head(x * torch.sigmoid(self.third(x)))

    network = dense(forward, other=nn.Linear(8, 6), third=nn.Linear(6, 6))
    assert names(network, images(4, 8)) == ["silu"]


def test_what_is_scaled_by_a_parameter_is_no_gate() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.layer(x)).mean(1) * self.gamma)

    network = dense(forward)
    network.gamma = nn.Parameter(torch.ones(6).double())
    assert names(network, images(4, 5, 8)) == ["relu"]


# Logits


def test_an_activation_on_the_logits_is_no_default_site() -> None:
    network = seeded(lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3), nn.ReLU(), nn.Softmax(1)))
    with pytest.warns(UserWarning, match=r"no default site: 3, because no layer follows, so it acts on the logits"):
        assert names(network, images(4, 8)) == ["1"]
    assert resolve_sites(network, ["3"], images(4, 8)) == (Site("3", 3),)  # asked for, it is taken without a warning
    with pytest.raises(BadInput, match=r"to ablate but on its logits \(1\); name the sites"):
        names(seeded(lambda: nn.Sequential(nn.Linear(8, 3), nn.ReLU())), images(4, 8))


def test_a_classifier_that_is_a_convolution() -> None:
    """As in SqueezeNet: its feature maps are the classes."""
    network = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        )
    )
    with pytest.warns(UserWarning, match="no default site: 3,"):
        assert names(network, images(4, 3, 6, 6)) == ["1"]


# Rows and dimensions


class Tokens(nn.Module):
    """Units in all the ways there are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.table = nn.Conv2d(3, 4, 2, 2), nn.Linear(2, 4)
        self.tokens, self.channels, self.norm = nn.Linear(9, 5), nn.Linear(4, 7), nn.LayerNorm(7)
        self.act, self.head = nn.GELU(), nn.Linear(7, 3)
        self.register_buffer("positions", torch.rand(3, 2))  # as many as there are images, by chance

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))  # (images, 4, 3, 3)
        y = torch.relu(self.table(self.positions))  # no row an image
        x = self.act(self.tokens(x.flatten(2)) + y.sum())  # (images, 4, 5 of 9 tokens)
        x = self.act(self.channels(x.transpose(1, 2)))  # (images, 5, 7)
        x = torch.relu(self.norm(x).transpose(1, 2))  # (images, 7, 5)
        windows = torch.relu(x.reshape(-1, 5))  # no row an image
        return self.head((x + windows.view(x.shape)).mean(2))


EXPECTED = (Site("act", 4), Site("act_1", 5, 2), Site("act_2", 7, 2), Site("relu_1", 7))


def test_units_are_outputs_of_the_layer_before() -> None:
    network, inputs = seeded(Tokens), images(3, 3, 6, 6)
    assert resolve_sites(network, None, inputs) == EXPECTED
    found = resolve_sites(Untraceable(network), None, inputs)
    assert [(site.units, site.dim) for site in found] == [(site.units, site.dim) for site in EXPECTED]


@pytest.mark.parametrize("clamp", [0.0, "each"])
def test_all_methods_take_units_of_any_dimension(clamp) -> None:
    for measured in (1, 3):
        sited = assert_exact(seeded(Tokens), images(measured, 3, 6, 6), clamp=clamp)
        assert sited.sites == EXPECTED


@pytest.mark.parametrize(
    ("product", "shape"),
    [
        (lambda x, w: x @ w, (8, 7)),
        (torch.matmul, (8, 7)),
        (lambda x, w: torch.einsum("btc,cd->btd", x, w), (8, 7)),
        (lambda x, w: torch.einsum("... c, c d -> ... d", x, w), (8, 7)),
        (lambda x, w: torch.einsum("cd,btc->btd", w, x), (8, 7)),
        (lambda x, w: torch.einsum("ecd,btc->bted", w, x).mean(2), (2, 8, 7)),
    ],
)
def test_a_product_with_weights_is_a_dense_layer(product, shape: tuple[int, ...]) -> None:
    network = dense(lambda self, x: self.head(torch.relu(product(x, self.weight)).mean(1)))
    network.weight, network.head = nn.Parameter(torch.randn(shape).double()), nn.Linear(7, 3).double()
    assert resolve_sites(network, None, images(4, 5, 8)) == (Site("relu", 7, 2),)
    assert_exact(network, images(4, 5, 8))


def test_a_product_with_a_buffer_is_none() -> None:
    """As with the neighbours of a graph's nodes: the units stay where they were, in a dimension that is not known."""
    network = dense(lambda self, x: self.head(torch.relu(F.gelu(self.layer(x)) @ self.weight).mean(1)))
    network.register_buffer("weight", torch.randn(7, 7).double())
    network.layer, network.head = nn.Linear(8, 7).double(), nn.Linear(7, 3).double()
    assert names(network, images(4, 5, 8)) == ["gelu"]


@pytest.mark.parametrize("equation", ["bsc,btc->bst", "btc,ts->bsc"])
def test_a_product_that_mixes_tokens_is_none(equation: str) -> None:
    """What lies in the last dimension of its result is not computed by weights."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.gelu(self.layer(x))
        other = x if equation.startswith("bsc") else self.weight
        return self.head(torch.relu(torch.einsum(equation, x, other)).mean(1)[:, :1].repeat(1, 6))

    network = dense(forward)
    network.weight = nn.Parameter(torch.randn(5, 4).double())
    assert names(network, images(4, 5, 8)) == ["gelu"]


def test_means_are_of_units_of_any_dimension() -> None:
    network, inputs = seeded(Tokens), images(3, 3, 6, 6)
    with undisturbed(network):
        activation = network.act(network.stem(inputs)).flatten(2)
        tokens = network.act(network.tokens(activation) + torch.relu(network.table(network.positions)).sum())
        mean = tokens.mean((0, 1))
        sited = locate(network, ["act_1"], inputs)
        expected = sited.clamped(inputs, torch.ones(5).bool(), mean).argmax(1)
    data = [(inputs, expected)]
    curve = ablation_curve(network, data, ["act_1"], orderings=1, points=[5], clamp="mean")
    assert curve.accuracy.tolist() == [[1.0]]


def test_unit_dim_overrides() -> None:
    network, inputs = seeded(Tokens), images(3, 3, 6, 6)
    found = resolve_sites(network, None, inputs, unit_dim={"act_2": 1, "relu_1": -1})
    assert [site.units for site in found] == [4, 5, 5, 5]
    assert resolve_sites(network, ["act_2"], inputs, unit_dim=1) == (Site("act_2", 5, 1),)
    curve = ablation_curve(network, [(inputs, torch.arange(3))], ["act_2"], 2, points="all", unit_dim=1, verify=100)
    assert curve.units == 5


@pytest.mark.parametrize("dim", [0, 3, -3, -4, "heads"])
def test_a_dimension_that_cannot_be(dim) -> None:
    with pytest.raises(BadInput, match=r"unit_dim=.*site 'act_2' has the dimensions 1 to 2 after the images"):
        resolve_sites(seeded(Tokens), ["act_2"], images(3, 3, 6, 6), unit_dim=dim)


def test_a_dimension_of_no_site() -> None:
    with pytest.raises(BadInput, match="unit_dim: 'act' is not one of the sites, which are relu"):
        resolve_sites(seeded(Tokens), ["relu"], images(3, 3, 6, 6), unit_dim={"act": 1})


def test_a_dimension_that_must_be_told() -> None:
    network = dense(lambda self, x: self.head(self.layer(x).reshape(len(x), 2, 5, 3).reshape(len(x), 5, 6).mean(1)))
    with pytest.raises(
        BadInput, match=r"site 'reshape': cannot tell in which dimension of its output \(images, 2, 5, 3\) .*unit_dim="
    ):
        resolve_sites(network, ["reshape"], images(4, 5, 8))
    assert resolve_sites(network, ["reshape"], images(4, 5, 8), unit_dim=3) == (Site("reshape", 3, 3),)


# Attention


def test_heads_of_multihead_attention() -> None:
    """By hand: a head clamped to zero adds nothing but the projection's bias."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    attention = nn.MultiheadAttention(8, 4, batch_first=True)
    network, inputs = seeded(lambda: Function(forward, attention=attention, head=nn.Linear(8, 3))), images(4, 5, 8)
    with undisturbed(network):
        sited = locate(network, ["attention"], inputs, "head")
    assert sited.sites == (Site("attention", 4, 2, 2),)
    with undisturbed(network):
        for head in range(4):
            mask = torch.arange(4) == head
            found = sited.clamped(inputs, mask, torch.zeros(4).double())
            weight = network.attention.out_proj.weight
            kept = weight.clone()
            weight[:, 2 * head : 2 * head + 2] = 0
            torch.testing.assert_close(found, network(inputs))
            weight.copy_(kept)


def test_heads_by_the_attribute_of_an_attention() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.qkv, self.norm, self.proj = 2, nn.Linear(8, 24), nn.Identity(), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(x.shape[0], 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
            x = F.scaled_dot_product_attention(q, k, v)
            return self.proj(self.norm(x.transpose(1, 2).flatten(2))).mean(1)

    network, inputs = seeded(Attention), images(4, 5, 8)
    by_function = resolve_sites(network, ["scaled_dot_product_attention"], inputs, unit_dim="head")
    assert by_function == (Site("scaled_dot_product_attention", 2, 1),)
    with undisturbed(network):
        one = locate(network, ["scaled_dot_product_attention"], inputs, "head")
        other = locate(network, ["norm"], inputs, {"norm": "head"})
        assert other.sites == (Site("norm", 2, 2, 4),)
        for mask in (torch.tensor([True, False]), torch.rand(4, 2) < 0.5):
            zeros = torch.zeros(2).double()
            torch.testing.assert_close(one.clamped(inputs, mask, zeros), other.clamped(inputs, mask, zeros))
    data = [(inputs, torch.arange(4) % 3)]
    for method in ("prefix", "incremental"):
        curve = ablation_curve(network, data, ["norm"], 2, clamp=0.3, method=method, unit_dim="head", verify=100)
        assert (curve.method, curve.units) == (method, 2)
    with pytest.raises(BadInput, match="how many attention heads"):
        resolve_sites(dense(lambda self, x: self.head(self.layer(x))), ["layer"], images(4, 8), unit_dim="head")


class Encoder(nn.Module):
    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_feed_forward_units_of_an_encoder_of_pytorch(norm_first: bool) -> None:
    network, inputs = seeded(lambda: Encoder(norm_first)), images(4, 5, 8)
    sited = assert_exact(network, inputs)
    assert sited.sites == (Site("encoder.layers.0.relu", 12, 2), Site("encoder.layers.1.relu", 12, 2))
    network.eval()
    mask = torch.rand(24) < 0.5
    with undisturbed(network):
        found = sited.clamped(inputs, mask, torch.zeros(24).double())
    with torch.no_grad():  # by hand: what a clamped unit would give is taken out of the second layer's weight
        for layer, part in zip(network.encoder.layers, mask.split(12), strict=True):
            layer.linear2.weight[:, part] = 0
        torch.testing.assert_close(found, network(inputs))
    assert torch.backends.mha.get_fastpath_enabled()


def test_activations_inside_a_step_of_the_graph() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = self.layer(x)
        return self.head(self.decoder(x, x).mean(1))

    network = dense(forward, decoder=nn.TransformerDecoderLayer(6, 2, 10, batch_first=True))
    curve = ablation_curve(network, [(images(4, 5, 8), torch.arange(4) % 3)], orderings=1, points=2)
    assert curve.sites == (Site("decoder.relu", 10, 2),)
    assert (curve.method, "'decoder.relu', which lies within one" in curve.why) == ("reference", True)


# Names


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "efficientnet_b0", "convnext_tiny", "swin_t", "googlenet", "shufflenet_v2_x0_5"]
)
def test_a_record_has_the_names_of_torchvision(name: str) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, num_classes=10, **options).eval()
    with torch.no_grad():
        found = Recorder(network).run(torch.randn(2, 3, 64, 64)).places
    _, expected = get_graph_node_names(network, suppress_diff_warning=True)
    modules = dict(network.named_modules())
    assert {node for node in expected if node in modules or "relu" in node or "gelu" in node} <= set(found)


def test_names_that_other_modules_have() -> None:
    """The second call of `act` and the module `act_1` share a name; torchvision numbers them on, and so is measured."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(self.act_1(self.act(self.act(self.layer(x)) - 0.1) - 0.1))

    network = dense(forward, act=nn.ReLU(), act_1=nn.ReLU())
    _, expected = get_graph_node_names(network.eval(), suppress_diff_warning=True)
    acts = [name for name in expected if name.startswith("act")]
    assert names(network, images(4, 8)) == acts == ["act", "act_1", "act_2"]
    assert names(Untraceable(network), images(4, 8)) == [f"inner.{name}" for name in acts]


def test_a_whole_module_is_a_site_by_its_name() -> None:
    network = seeded(lambda: nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 3)))
    sited = located(network, ["1"], images(4, 8))
    assert sited.sites == (Site("1", 5),)
    with undisturbed(network):
        mask = torch.arange(5) < 2
        expected = located(network, ["1.1"], images(4, 8)).clamped(images(4, 8), mask, torch.zeros(5).double())
        assert torch.equal(sited.clamped(images(4, 8), mask, torch.zeros(5).double()), expected)


def test_an_unknown_name_of_a_large_network_is_answered_in_a_line() -> None:
    network = torchvision.models.resnet18(weights=None)
    with pytest.raises(BadInput) as error:
        resolve_sites(network, ["layer4.relu"], torch.randn(2, 3, 32, 32))
    assert re.search(r"Closest of \d+: (layer4\.\d\.\w+, ){4}", str(error.value))
    assert len(str(error.value)) < 250


# What is traced


def test_normalization_optional_arguments_and_wrappers_are_traced() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
            x = torch.relu(torch.add(self.layer(x), 0.1, out=None))
            if mask is not None:
                x = x * mask
            return self.head(F.normalize(x, dim=1) * scale)

    network, inputs = seeded(Optional), images(4, 8)
    assert_exact(network, inputs)
    for wrapped in (nn.DataParallel(network), AveragedModel(network)):
        assert assert_exact(wrapped, inputs).sites == (Site("module.relu", 6),)
        with pytest.raises(BadInput, match="site '1': the network has no site of this name"):
            resolve_sites(wrapped, ["1"], inputs)
        wrapped.module.default_sites = ("layer",)
        assert names(wrapped, inputs) == ["module.layer"]
        del wrapped.module.default_sites


def test_weights_of_another_kind_of_tensor_are_measured_by_the_reference() -> None:
    class Quantized(Tensor):
        """As torchao's: the functions of layers alone are implemented."""

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (Tensor.index_select, Tensor.__getitem__):
                raise NotImplementedError(func)
            result = super().__torch_function__(func, types, args, kwargs or {})
            return result.as_subclass(Tensor) if func is F.linear else result

    network, inputs = dense(lambda self, x: self.head(torch.relu(self.layer(x)))), images(4, 8)
    plain = ablation_curve(network, [(inputs, torch.arange(4) % 3)], orderings=2, method="reference")
    network.head.weight = nn.Parameter(network.head.weight.detach().as_subclass(Quantized))
    curve = ablation_curve(network, [(inputs, torch.arange(4) % 3)], orderings=2)
    assert (curve.method, "head.weight is a" in curve.why) == ("reference", True)
    assert torch.equal(curve.accuracy, plain.accuracy)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda network, _: torch.jit.script(network), "scripted.*give the module it was made from"),
        (lambda network, x: torch.export.export(network, (x,)).module(), "eval mode.*give the module it was made from"),
        (lambda network, x: torch.export.export(network, (x,)), "a torch.nn.Module is needed, not ExportedProgram"),
    ],
)
def test_networks_without_layers_are_refused_in_a_line(make, message: str) -> None:
    network, inputs = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)), torch.ones(2, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = make(network.eval(), inputs)
    with pytest.raises(BadInput, match=message):
        ablation_curve(made, [(inputs, torch.tensor([0, 1]))])


def test_layers_that_are_not_initialized_stay_so() -> None:
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))
    assert resolve_sites(network, None, torch.ones(2, 2, 4)) == (Site("3", 5),)
    ablation_curve(network, [(torch.rand(4, 2, 4), torch.arange(4) % 3)], orderings=1, points=2)
    assert nn.parameter.is_lazy(network[1].weight)
    assert nn.parameter.is_lazy(network[2].running_mean)


# Idle sites


def test_idle_sites_are_named_in_one_line_and_exactly() -> None:
    layers = [layer for _ in range(6) for layer in (nn.Linear(8, 8), nn.ReLU())]
    network = seeded(lambda: nn.Sequential(*layers, nn.Linear(8, 3)))
    for dead in (2, 4, 6, 8):
        network[dead].weight.data.zero_()
        network[dead].bias.data.fill_(-1.0 if dead == 2 else 1.0)
    with pytest.warns(UserWarning, match="changes no output") as warned:
        resolve_sites(network, None, images(4, 8))
    (message,) = [str(warning.message) for warning in warned]
    assert message.startswith("sites '1', '3', '5' and 1 more: clamping all units of one to zero changes no output")


@pytest.mark.parametrize("act", [nn.GELU(), nn.LeakyReLU(inplace=True)])
@pytest.mark.parametrize("wrapped", [nn.Sequential, Untraceable])
def test_all_sites_take_as_many_passes_as_one(act: nn.Module, wrapped: Callable[[nn.Module], nn.Module]) -> None:
    def passes(depth: int) -> int:
        layers = [layer for _ in range(depth) for layer in (nn.Linear(8, 8), act)]
        network = seeded(lambda: nn.Sequential(*layers, nn.Linear(8, 3)))
        calls = []
        network[0].register_forward_hook(lambda *_: calls.append(1))
        resolve_sites(wrapped(network), None, images(4, 8))
        return len(calls)

    assert passes(2) == passes(12) < 12


def test_sites_in_a_line() -> None:
    sites = [Site("a", 64), Site("b", 192, 2)]
    assert described(sites) == "2 sites with 256 units: a (64 units in dimension 1), b (192 units in dimension 2)"
    assert described([*sites, *sites, sites[0], sites[1]]).endswith(
        "a (64 units in dimension 1), ..., b (192 units in dimension 2)"
    )


def test_heads_are_those_of_attentions_alone() -> None:
    network = torchvision.models.VisionTransformer(32, 16, 2, 4, 32, 64, num_classes=5).eval()
    nn.init.normal_(network.heads.head.weight)  # zeros to begin with
    inputs = torch.randn(2, 3, 32, 32)
    found = resolve_sites(network, None, inputs, unit_dim="head")
    assert [(site.name, site.units) for site in found] == [
        (f"encoder.layers.encoder_layer_{block}.self_attention", 4) for block in range(2)
    ]
    with pytest.raises(BadInput, match="its output is that of gelu, which has no attention heads"):
        resolve_sites(network, ["encoder.layers.encoder_layer_0.mlp.1"], inputs, unit_dim="head")
    with pytest.raises(BadInput, match=r'unit_dim="head": the network has no nn\.MultiheadAttention'):
        resolve_sites(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), None, torch.randn(2, 4), "head")


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own functions
def test_activations_between_quantized_layers_are_sites() -> None:
    network = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    quantized = torch.ao.quantization.quantize_dynamic(network, {nn.Linear})
    assert resolve_sites(quantized, None, torch.randn(4, 8)) == (Site("1", 6), Site("3", 5))


@pytest.mark.parametrize("kind", ["module", "function", "none"])
def test_a_scripted_activation_is_told_of(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of its own functions
        act = {
            "module": torch.jit.script(nn.Tanh()),
            "function": torch.jit.trace(lambda x: x * torch.sigmoid(x), torch.randn(2, 6)),
            "none": torch.tanh,
        }[kind]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 3)
            self.act, self.mean = act, torch.ones(3, 1)  # as many values as images on which sites are looked for

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.act(self.second(torch.relu(self.first(x - self.mean[0])))))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = [site.name for site in resolve_sites(Network(), None, torch.randn(4, 8))]
    told = [str(warning.message) for warning in caught if "torch.jit" in str(warning.message)]
    assert names == ["relu", "tanh"][: 1 + (kind == "none")]
    inside = "no default site: activation functions, if any, inside act, which is scripted (torch.jit)"
    assert told == [inside] * (kind == "module")  # of a function it cannot be told what it does
