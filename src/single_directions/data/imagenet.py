"""ImageNet, or any other folder of class folders that is too large for memory. Workers read it during training."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from single_directions.data.folders import ImageFiles, open_image, train_and_test
from single_directions.data.images import Batch, DataSet, LabelledImages
from single_directions.data.selection import Selection
from single_directions.errors import BadInput

# ImageNet's own, in RGB.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_listed = lru_cache(maxsize=1)(train_and_test)  # once in each process: ImageNet has over a million files


class StreamedImages(LabelledImages):
    """Images that are decoded from their files each time they are read: (float32 (3, H, W), label)."""

    def __init__(self, files: Sequence[str], labels: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.files, self.labels, self.transform = files, labels, transform

    def __getitem__(self, index: int) -> Batch:
        return self.transform(open_image(self.files[index])), self.labels[index]


def imagenet(
    root: str | Path,
    augment: bool = True,
    image_size: int = 224,
    workers: int = 8,
    train_folder: str = "train",
    test_folder: str = "val",
    **keys: Any,
) -> DataSet:
    """The images of `root`/`train_folder`/<class> and `root`/`test_folder`/<class>, read by `workers` processes.

    `augment` trains on random crops and mirror images. Leave it off in a corruption sweep, so that its levels differ
    only in their labels. `keys` are those of `Selection`. Raises `BadInput` for missing folders at once, and for a
    broken file when it is read.
    """
    selection = Selection(**keys)
    if not isinstance(image_size, int) or image_size < 1:
        raise BadInput(f"data.image_size must be at least 1 pixel, not {image_size}")
    if not isinstance(workers, int) or workers < 0:
        raise BadInput(f"data.workers must be a whole number of processes, 0 or more, not {workers}")
    train, test = _listed(Path(root).expanduser().resolve(), train_folder, test_folder)
    scaled: list[v2.Transform] = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    if selection.normalize:
        scaled.append(v2.Normalize(MEAN, STD))
    plain = v2.Compose([v2.Resize(round(image_size * 256 / 224)), v2.CenterCrop(image_size), *scaled])
    augmented = v2.Compose([v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip(), *scaled])

    def images(source: ImageFiles, indices: Tensor, labels: Tensor, transform: v2.Compose = plain) -> StreamedImages:
        return StreamedImages([source.files[i] for i in indices.tolist()], labels, transform)

    chosen, test_indices = selection.train(train.labels), selection.test(test.labels)
    train_plain = images(train, chosen.indices, chosen.labels)
    held_out = images(train, chosen.held_out_indices, chosen.held_out_labels)
    return DataSet(
        name="imagenet",
        train=images(train, chosen.indices, chosen.labels, augmented) if augment else train_plain,
        train_plain=train_plain,
        test=images(test, test_indices, test.labels[test_indices]),
        classes=len(train.classes),
        input_shape=(3, image_size, image_size),
        label_hash=chosen.hash,
        corrupted=chosen.corrupted,
        workers=workers,
        held_out=held_out if len(held_out) else None,
    )
