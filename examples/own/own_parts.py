"""A network and a data set of your own. Files in conf/ make them choices of the command line; README.md says how."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from single_directions.data import DataSet
from single_directions.data.selection import Selection, decoded, in_memory


class Residual(nn.Module):
    """A network gets the shape of an image and the number of classes; the other arguments are keys of its file."""

    def __init__(self, input_shape: Sequence[int], classes: int, width: int = 32) -> None:
        super().__init__()
        channels, rows, columns = input_shape
        self.first = nn.Linear(channels * rows * columns, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = relu(self.first(images.flatten(1)))
        return self.head(hidden + relu(self.second(hidden)))


def stripes(amount: int = 400, **keys: Any) -> DataSet:
    """Noisy images of 8 x 8 with one bright column, which is the class; `keys` are those that every data set has."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2 * amount) % 8
    images = torch.randint(0, 160, (2 * amount, 1, 8, 8), generator=generator)
    images[torch.arange(2 * amount), 0, :, labels] += 90
    images = images.to(torch.uint8)
    parts = images[:amount], labels[:amount], images[amount:], labels[amount:]
    return in_memory("stripes", decoded(*parts), classes=8, selection=Selection(**keys))
