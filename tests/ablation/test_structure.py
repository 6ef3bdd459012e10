from collections.abc import Callable

import pytest
import torch
from torch import nn

from single_directions.ablation.structure import structure


class Switched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 2)
        self.activation, self.skip, self.sizes, self._steps = torch.relu, False, (2, 3), 0


CHANGES: dict[str, Callable[[Switched], object]] = {
    "a module in the place of another": lambda network: setattr(network, "first", nn.Linear(2, 3)),
    "another module": lambda network: network.add_module("third", nn.ReLU()),
    "a plain attribute": lambda network: setattr(network, "skip", True),
    "a tuple": lambda network: setattr(network, "sizes", (2, 4)),
    "a function": lambda network: setattr(network, "activation", torch.tanh),
    "a hook": lambda network: network.first.register_forward_hook(lambda *_: None),
    "a dtype": lambda network: network.double(),
    "another forward": lambda network: setattr(network.first, "forward", torch.relu),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_structure_is_seen(change: Callable[[Switched], object]) -> None:
    network = Switched()
    before = structure(network)
    change(network)
    assert structure(network) != before


def test_weights_modes_and_private_attributes_do_not_count() -> None:
    network = Switched()
    before = structure(network)
    network.first.weight.data.add_(1)
    network.eval()
    network._steps += 1
    assert structure(network) == before
