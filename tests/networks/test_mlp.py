import pytest
import torch
from torch import nn

from single_directions.errors import BadInput
from single_directions.networks import MLP


def test_computes_what_can_be_computed_by_hand() -> None:
    network = MLP((1, 1, 2), 2, hidden=(2,))
    network.load_state_dict(
        {
            "fc1.weight": torch.tensor([[1.0, 0.0], [0.0, -1.0]]),
            "fc1.bias": torch.tensor([0.0, 1.0]),
            "head.weight": torch.tensor([[1.0, 1.0], [1.0, -1.0]]),
            "head.bias": torch.tensor([0.5, 0.0]),
        }
    )
    inputs = torch.tensor([[3.0, 2.0], [1.0, -4.0], [-1.0, 0.0]]).view(3, 1, 1, 2)
    # Hidden units: (3, 0), (1, 5), (0, 1).
    assert torch.equal(network(inputs), torch.tensor([[3.5, 3.0], [6.5, -4.0], [1.5, -1.0]]))


def test_every_layer_is_a_module_of_its_own_name() -> None:
    names = [name for name, _ in MLP((1, 2, 3), 4, hidden=(7, 5), dropout=0.1).named_children()]
    assert names == ["flatten", "fc1", "relu1", "dropout1", "fc2", "relu2", "dropout2", "head"]


def test_widths_follow_from_the_image_and_hidden() -> None:
    network = MLP((3, 4, 5), 6, hidden=[7, 8, 9])
    shapes = [(layer.in_features, layer.out_features) for layer in network.children() if isinstance(layer, nn.Linear)]
    assert shapes == [(60, 7), (7, 8), (8, 9), (9, 6)]
    assert network.default_sites == ("relu1", "relu2", "relu3")


def test_dropout_follows_every_hidden_layer_in_training_only() -> None:
    network = MLP((1, 10, 10), 2, hidden=(1000, 10), dropout=0.25)
    assert [layer.p for layer in network.children() if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    ones = torch.ones(1, 1000)
    assert (network.dropout1(ones) == 0).float().mean() == pytest.approx(0.25, abs=0.06)
    assert torch.equal(network.eval().dropout1(ones), ones)


def test_without_dropout_there_are_no_dropout_modules() -> None:
    assert not any(isinstance(layer, nn.Dropout) for layer in MLP((1, 8, 8), 10).children())


@pytest.mark.parametrize("hidden", [(), (0,), (8, -1), (2.5,), ("8",), (True,), 8, None, "88"])
def test_impossible_widths_are_refused(hidden: object) -> None:
    with pytest.raises(BadInput, match=r"network\.hidden"):
        MLP((1, 8, 8), 10, hidden=hidden)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan"), "half"])
def test_impossible_dropout_is_refused(dropout: object) -> None:
    with pytest.raises(BadInput, match=r"network\.dropout"):
        MLP((1, 8, 8), 10, dropout=dropout)
