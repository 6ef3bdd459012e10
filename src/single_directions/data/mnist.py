"""MNIST, as torchvision reads it."""

from pathlib import Path
from typing import Any

from torchvision.datasets import MNIST

from single_directions.data.downloads import read
from single_directions.data.images import DataSet
from single_directions.data.selection import Selection, in_memory


def mnist(root: str | Path = "data", download: bool = False, **keys: Any) -> DataSet:
    """60,000 training and 10,000 test images of 1 x 28 x 28, from the files in `root`/MNIST/raw.

    Downloads them only if `download` is set. `keys` are those of `Selection`. Raises `BadInput` if files are missing or
    broken.
    """
    selection, place = Selection(**keys), Path(root).expanduser().resolve()
    decoded = read(MNIST, "MNIST", place, "MNIST/raw", "its four idx files", download)
    return in_memory("mnist", decoded, 10, selection)
