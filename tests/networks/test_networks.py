"""All three architectures: shapes, sites, seeds, and one clear line for arguments that do not fit."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from single_directions.errors import BadInput
from single_directions.networks import MLP, ConvNet, ResNet50

NETWORKS = {
    "mlp": lambda: MLP((1, 8, 8), 10, hidden=(6, 5)),
    "mlp with dropout": lambda: MLP((1, 8, 8), 10, hidden=[6], dropout=0.5),
    "convnet": lambda: ConvNet((1, 8, 8), 10, width=0.05),
    "convnet without batch norm": lambda: ConvNet((1, 8, 8), 10, width=0.05, batch_norm=False, head="pool"),
    "resnet50": lambda: ResNet50((3, 32, 32), 10),
    "resnet50 for small images": lambda: ResNet50((1, 8, 8), 10, stem="small"),
}
INPUT = {"resnet50": (3, 32, 32)}


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return NETWORKS[request.param](), torch.randn(3, *INPUT.get(request.param, (1, 8, 8)))


def test_gives_a_finite_logit_a_class_in_both_modes(case: tuple[nn.Module, torch.Tensor]) -> None:
    network, inputs = case
    for mode in (True, False):
        logits = network.train(mode)(inputs)
        assert logits.shape == (3, 10)
        assert logits.isfinite().all()


def test_default_sites_are_nodes_whose_output_is_a_rectified_unit(case: tuple[nn.Module, torch.Tensor]) -> None:
    network, inputs = case
    network.eval()
    assert set(network.default_sites) <= set(get_graph_node_names(network)[1])
    outputs = create_feature_extractor(network, list(network.default_sites))(inputs)
    assert list(outputs) == list(network.default_sites)
    assert all(output.ndim in (2, 4) and (output >= 0).all() for output in outputs.values())


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_the_same_seed_gives_the_same_network(build: Callable[[], nn.Module]) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.detach().flatten() for p in build().parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("network", [MLP, ConvNet, ResNet50])
@pytest.mark.parametrize(
    ("input_shape", "classes", "message"),
    [
        ((3, 32), 10, r"input_shape must be \(channels, height, width\), not \(3, 32\)"),
        ((0, 32, 32), 10, "input_shape"),
        ((3, 32.5, 32), 10, "input_shape"),
        ((3, 32, 32), 1, "at least 2 classes, not 1"),
        ((3, 32, 32), 2.5, "at least 2 classes"),
    ],
)
def test_what_cannot_be_classified_is_refused(
    network: type[nn.Module], input_shape: tuple, classes: int, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        network(input_shape, classes)


@pytest.mark.parametrize("network", [ConvNet, ResNet50])
@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf"), "wide"])
def test_width_that_cannot_be_is_refused(network: Callable[..., nn.Module], width: object) -> None:
    with pytest.raises(BadInput, match=r"network\.width must be above 0"):
        network((3, 32, 32), 10, width=width)
