"""CIFAR-10, as torchvision reads it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from single_directions.data.downloads import read
from single_directions.data.images import DataSet
from single_directions.data.selection import Decoded, Selection, in_memory


def cifar10(root: str | Path = "data", download: bool = False, **keys: Any) -> DataSet:
    """50,000 training and 10,000 test images of 3 x 32 x 32, from the files in `root`/cifar-10-batches-py.

    Downloads them only if `download` is set. `keys` are those of `Selection`. Raises `BadInput` if files are missing or
    broken.
    """
    selection = Selection(**keys)
    return in_memory("cifar10", _decode(Path(root).expanduser().resolve(), download), 10, selection)


@lru_cache(maxsize=1)
def _decode(root: Path, download: bool) -> Decoded:
    def part(train: bool) -> tuple[Tensor, Tensor]:
        source = datasets.CIFAR10(root, train=train, download=download)
        return torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(source.targets)

    folder = root / datasets.CIFAR10.base_folder
    return read("CIFAR-10", folder, "the files of cifar-10-python.tar.gz", download, part)
