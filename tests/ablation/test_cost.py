import pytest
import torch
from torch import Tensor, nn

from single_directions import ablation_curve
from single_directions.ablation.cost import OPERATIONS_A_BYTE, Curve, operations, prefix_cost, reference_cost
from single_directions.ablation.dataflow import Dataflow
from single_directions.ablation.sites import locate, undisturbed
from single_directions.networks import MLP

Batches = list[tuple[Tensor, Tensor]]


def noise(images: int, *shape: int) -> Batches:
    return [(torch.randn(images, *shape), torch.arange(images) % 10)]


def test_operations_of_a_network_are_counted_by_hand() -> None:
    network = MLP((1, 2, 2), 3, hidden=(5,))
    inputs = torch.randn(1, 1, 2, 2)
    with undisturbed(network):
        flow = Dataflow(locate(network, None, inputs))
        each = operations(flow)
    by_name = {node.name: cost for node, cost in each.items()}
    byte = OPERATIONS_A_BYTE
    assert by_name["fc1"] == 2 * 4 * 5 + byte * 4 * 5
    assert by_name["relu1"] == byte * 4 * 5
    assert by_name["head"] == 2 * 5 * 3 + byte * 4 * 3
    curve = Curve(orderings=2, fractions=torch.tensor([0.0, 0.5, 1.0]).double(), images=100, batch=50)
    without_calls = Curve(2, curve.fractions, 10**9, 10**9)
    whole = sum(each.values())
    assert reference_cost(each, without_calls) == pytest.approx(6 * 1e9 * whole, rel=1e-4)
    before = sum(each[node] for node in flow.fixed)
    assert prefix_cost(flow, each, without_calls, 10**9) == pytest.approx(
        1e9 * (before + 6 * (whole - before)), rel=1e-4
    )


def test_large_weights_are_not_sorted_for_a_few_images() -> None:
    """Sorting the weights for each ordering would take longer than the passes that it saves."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 2000), nn.ReLU(), nn.Linear(2000, 2000), nn.ReLU())
    network.append(nn.Linear(2000, 10))
    assert ablation_curve(network, noise(2, 8), orderings=2, points=3).method != "incremental"
    assert ablation_curve(network, noise(400, 8), orderings=2, points=21).method == "incremental"


def test_the_definition_is_taken_unless_another_method_saves_a_tenth() -> None:
    """All of a network that starts with a site varies, so there is nothing to keep or to update."""
    network = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(1000, 1000))
    curve = ablation_curve(network, noise(200, 1000), orderings=1, points=2)
    assert curve.method == "reference"
    assert curve.why == "since for so small a curve no other method saves a tenth of the arithmetic"
