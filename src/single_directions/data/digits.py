"""scikit-learn's handwritten digits, which come with the package and need no download."""

from functools import lru_cache
from typing import Any

import torch

from single_directions.data.images import DataSet
from single_directions.data.labels import class_balanced_subset
from single_directions.data.selection import Decoded, Selection, decoded, in_memory


def digits(**keys: Any) -> DataSet:
    """1,297 training and 500 test images (50 of each digit) of 1 x 8 x 8; the split is the same for every seed.

    `keys` are those of `Selection`.
    """
    selection = Selection(**keys)
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
