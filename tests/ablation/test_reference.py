import torch
from exactness import cumulative, located, single
from torch import nn

from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import undisturbed


def two_layers() -> nn.Module:
    """logits = (h0 - h1, 2 h1 + h2) with h = relu(g0 + 1, -g0, g1) and g = relu(x0, x1)."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    weights = ([[1, 0], [0, 1]], [[1, 0], [-1, 0], [0, 1]], [[1, -1, 0], [0, 2, 1]])
    biases = ([0, 0], [1, 0, 0], [0, 0])
    for layer, weight, bias in zip(network[::2], weights, biases, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight).double(), torch.tensor(bias).double()
    return network


INPUTS = torch.tensor([[2.0, 3.0], [-1.0, 4.0]], dtype=torch.float64)


def test_a_hand_computed_ordering() -> None:
    network = two_layers()
    sited = located(network, None, INPUTS)
    reference = Reference(sited, torch.zeros(5, dtype=torch.float64))
    with undisturbed(network):
        # Units 0 1 are g0 g1, units 2 3 4 are h0 h1 h2. Nothing: h = (3, 0, 3), (1, 0, 4).
        found = cumulative(reference, INPUTS, torch.tensor([0, 2, 4, 1, 3]), range(6))
    expected = [
        [[3, 3], [1, 4]],
        [[1, 3], [1, 4]],  # g0 = 0, so h0 = 1
        [[0, 3], [0, 4]],  # h0 = 0
        [[0, 0], [0, 0]],  # h2 = 0
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
    ]
    assert found.tolist() == expected


def test_a_hand_computed_clamp_to_values() -> None:
    network = two_layers()
    sited = located(network, None, INPUTS)
    values = torch.tensor([-2.0, 5.0, 10.0, 20.0, 30.0], dtype=torch.float64)
    with undisturbed(network):
        found = single(Reference(sited, values), INPUTS, range(5))
    expected = [
        [[0 - 2, 4 + 3], [0 - 2, 4 + 4]],  # g0 = -2, so h = (0, 2, g1)
        [[3, 5], [1, 5]],
        [[10, 3], [10, 4]],
        [[3 - 20, 40 + 3], [1 - 20, 40 + 4]],
        [[3, 30], [1, 30]],
    ]
    assert found.tolist() == expected


def test_points_may_be_any_and_leave_out_the_ends() -> None:
    network = two_layers()
    sited = located(network, None, INPUTS)
    reference = Reference(sited, torch.zeros(5, dtype=torch.float64))
    with undisturbed(network):
        assert cumulative(reference, INPUTS, torch.tensor([2, 0, 1, 3, 4]), [1]).tolist() == [[[0, 3], [0, 4]]]


def test_a_feature_map_is_clamped_at_every_position() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Flatten()).double()
    inputs = torch.arange(1.0, 9.0, dtype=torch.float64).view(1, 2, 2, 2)
    sited = located(network, ["0"], inputs)
    values = torch.tensor([-1.0, -2.0], dtype=torch.float64)
    with undisturbed(network):
        found = single(Reference(sited, values), inputs, [0, 1])
    assert found[:, 0].tolist() == [[-1, -1, -1, -1, 5, 6, 7, 8], [1, 2, 3, 4, -2, -2, -2, -2]]
