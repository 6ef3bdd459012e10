"""Reads data sets with torchvision, and says what is wrong with their files."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from single_directions.data.selection import Decoded, decoded
from single_directions.errors import BadInput


@lru_cache(maxsize=2)
def read(source: Any, name: str, root: Path, folder: str, contents: str, download: bool) -> Decoded:
    """The training and test part of one of torchvision's data sets, decoded once in each process.

    `source` is its class, which looks for files (`contents`) in `root`/`folder`. Raises `BadInput` if files are missing
    or broken, or cannot be downloaded.
    """
    place = root / folder
    advice = f"put {contents} there, name another data.root, or download it with data.download=true"
    if not download and not place.is_dir():
        raise BadInput(f"{name} is not in {place}: {advice}")
    try:
        train, test = (_part(source(root, train=train, download=download)) for train in (True, False))
        return decoded(*train, *test)
    except Exception as error:  # torchvision, unpickling and downloads raise many kinds of errors
        reason = " ".join(str(error).split()) or type(error).__name__
        trouble = "cannot be downloaded or read" if download else "is incomplete or broken"
        raise BadInput(f"{name} in {place} {trouble} ({reason}): remove that folder, then {advice}") from error


def _part(source: Any) -> tuple[Tensor, Tensor]:
    """Images, uint8 (n, C, H, W), and labels, int64 (n,)."""
    images, labels = torch.as_tensor(source.data), torch.as_tensor(source.targets)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    if not 0 < len(images) == len(labels) or not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{len(images)} images but {len(labels)} labels, or labels outside 0..9")
    return images, labels
