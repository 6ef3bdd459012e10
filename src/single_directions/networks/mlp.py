"""The fully connected network of the paper's MNIST experiments."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from single_directions.errors import BadInput
from single_directions.networks.fit import check_fit, is_count


class MLP(nn.Sequential):
    """Dense layers with ReLU and a linear head: flatten fc1 relu1 (dropout1) fc2 relu2 (dropout2) ... head.

    Inputs are (N, C, H, W), outputs logits (N, classes). `hidden` is the width of each hidden layer. `dropout` is the
    fraction of each hidden layer that is dropped in training; with 0 there are no dropout modules. The default sites
    are all hidden layers (Figure 1a). Raises `BadInput` for arguments that do not fit.

    >>> import torch
    >>> network = MLP(input_shape=(1, 28, 28), classes=10, hidden=(512, 512))
    >>> network.default_sites, tuple(network(torch.zeros(2, 1, 28, 28)).shape)
    (('relu1', 'relu2'), (2, 10))
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (512, 512),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [prod(check_fit("MLP", input_shape, classes)), *_widths(hidden)]
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise BadInput(f"network.dropout must be at least 0 and below 1, not {dropout}")

        self.add_module("flatten", nn.Flatten())
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
            self.add_module(f"fc{layer}", nn.Linear(fan_in, fan_out))
            self.add_module(f"relu{layer}", nn.ReLU())
            if dropout:
                self.add_module(f"dropout{layer}", nn.Dropout(dropout))
        self.add_module("head", nn.Linear(widths[-1], classes))
        self.default_sites = tuple(f"relu{layer}" for layer in range(1, len(widths)))


def _widths(hidden: Sequence[int]) -> list[int]:
    """Checks the widths of the hidden layers and returns them as a list."""
    widths = list(hidden) if isinstance(hidden, Sequence) and not isinstance(hidden, str) else []
    if not widths or not all(map(is_count, widths)):
        raise BadInput(
            f"network.hidden must list a width of at least 1 for each hidden layer, such as [512, 512]: {hidden}"
        )
    return widths
