"""Data sets that torchvision reads, and downloads only if asked to: one way to say what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from single_directions.data.selection import Decoded, decoded
from single_directions.errors import BadInput

Part = tuple[Tensor, Tensor]


def read(name: str, folder: Path, contents: str, download: bool, part: Callable[[bool], Part]) -> Decoded:
    """Both parts of a data set whose files (`contents`) torchvision looks for in `folder`.

    `part` reads the training (True) or test (False) images, uint8 (n, C, H, W), and labels, int64 (n,). Raises
    `BadInput` where files are missing, broken, or cannot be downloaded.
    """
    advice = f"put {contents} there, name another data.root, or download it with data.download=true"
    if not download and not folder.is_dir():
        raise BadInput(f"{name} is not in {folder}: {advice}")
    try:
        return decoded(*_checked(*part(True)), *_checked(*part(False)))
    except Exception as error:  # torchvision, unpickling and downloads raise nearly every kind
        reason = " ".join(str(error).split()) or type(error).__name__
        trouble = "cannot be downloaded or read" if download else "is incomplete or broken"
        raise BadInput(f"{name} in {folder} {trouble} ({reason}): remove that folder, then {advice}") from error


def _checked(images: Tensor, labels: Tensor) -> Part:
    if not 0 < len(images) == len(labels) or not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{len(images)} images, {len(labels)} labels, which should be equally many and in 0..9")
    return images, labels
