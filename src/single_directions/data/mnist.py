"""MNIST, as torchvision reads it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision import datasets

from single_directions.data.downloads import read
from single_directions.data.images import DataSet
from single_directions.data.selection import Decoded, Selection, in_memory


def mnist(root: str | Path = "data", download: bool = False, **keys: Any) -> DataSet:
    """60,000 training and 10,000 test images of 1 x 28 x 28, from the files in `root`/MNIST/raw.

    Downloads them only if `download` is set. `keys` are those of `Selection`. Raises `BadInput` if files are missing or
    broken.
    """
    selection = Selection(**keys)
    return in_memory("mnist", _decode(Path(root).expanduser().resolve(), download), 10, selection)


@lru_cache(maxsize=1)
def _decode(root: Path, download: bool) -> Decoded:
    def part(train: bool) -> tuple[Tensor, Tensor]:
        source = datasets.MNIST(root, train=train, download=download)
        return source.data.unsqueeze(1), source.targets

    return read("MNIST", root / "MNIST" / "raw", "its four idx files", download, part)
