"""CIFAR-10, as torchvision reads it."""

from pathlib import Path
from typing import Any

from torchvision.datasets import CIFAR10

from single_directions.data.downloads import read
from single_directions.data.images import DataSet
from single_directions.data.selection import Selection, in_memory


def cifar10(root: str | Path = "data", download: bool = False, **keys: Any) -> DataSet:
    """50,000 training and 10,000 test images of 3 x 32 x 32, from the files in `root`/cifar-10-batches-py.

    Downloads them only if `download` is set. `keys` are those of `Selection`. Raises `BadInput` if files are missing or
    broken.
    """
    selection, place = Selection(**keys), Path(root).expanduser().resolve()
    decoded = read(CIFAR10, "CIFAR-10", place, CIFAR10.base_folder, "the files of cifar-10-python.tar.gz", download)
    return in_memory("cifar10", decoded, 10, selection)
