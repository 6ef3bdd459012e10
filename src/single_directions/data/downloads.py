"""Reads data sets with torchvision, and says what is wrong with their files."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from single_directions.data.selection import Decoded, decoded
from single_directions.errors import BadInput

Part = tuple[Tensor, Tensor]


def read(name: str, folder: Path, contents: str, download: bool, part: Callable[[bool], Part]) -> Decoded:
    """The training and test part of a data set, whose files (`contents`) torchvision looks for in `folder`.

    `part` reads the training (True) or test (False) images, uint8 (n, C, H, W), and labels, int64 (n,). Raises
    `BadInput` if files are missing or broken, or cannot be downloaded.
    """
    advice = f"put {contents} there, name another data.root, or download it with data.download=true"
    if not download and not folder.is_dir():
        raise BadInput(f"{name} is not in {folder}: {advice}")
    try:
        return decoded(*_checked(*part(True)), *_checked(*part(False)))
    except Exception as error:  # torchvision, unpickling and downloads raise many kinds of errors
        reason = " ".join(str(error).split()) or type(error).__name__
        trouble = "cannot be downloaded or read" if download else "is incomplete or broken"
        raise BadInput(f"{name} in {folder} {trouble} ({reason}): remove that folder, then {advice}") from error


def _checked(images: Tensor, labels: Tensor) -> Part:
    if not 0 < len(images) == len(labels) or not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{len(images)} images but {len(labels)} labels, or labels outside 0..9")
    return images, labels
