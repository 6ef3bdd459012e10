"""scikit-learn's handwritten digits, which come with the package and need no download."""

from functools import lru_cache

import torch

from single_directions.data.images import DataSet
from single_directions.data.labels import class_balanced_subset
from single_directions.data.selection import Decoded, Selection, decoded, in_memory


def digits(
    corruption: float = 0.0,
    corruption_kind: str = "shuffle",
    train_samples: int | None = None,
    test_samples: int | None = None,
    seed: int = 0,
    normalize: bool = True,
    held_out: float = 0.0,
) -> DataSet:
    """1,297 training and 500 test images (50 of each digit) of 1 x 8 x 8; the split is the same for every seed."""
    selection = Selection(corruption, corruption_kind, train_samples, test_samples, seed, normalize, held_out)
    return in_memory("digits", _decode(), 10, selection)


@lru_cache(maxsize=1)
def _decode() -> Decoded:
    from sklearn.datasets import load_digits  # this import takes most of a second

    pixels, targets = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels * 15).to(torch.uint8).view(-1, 1, 8, 8)  # 0..16 in the source
    labels = torch.from_numpy(targets).long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[class_balanced_subset(labels, 500, seed=0)] = True
    return decoded(images[~test], labels[~test], images[test], labels[test])
