"""ImageNet, or any other folder of class folders that is too large for memory. Workers read it during training."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

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
    corruption: float = 0.0,
    corruption_kind: str = "shuffle",
    train_samples: int | None = None,
    test_samples: int | None = None,
    seed: int = 0,
    normalize: bool = True,
    held_out: float = 0.0,
) -> DataSet:
    """The images of `root`/`train_folder`/<class> and `root`/`test_folder`/<class>, read by `workers` processes.

    `augment` trains on random crops and mirror images. Leave it off in a corruption sweep, so that its levels differ
    only in their labels. Raises `BadInput` for missing folders at once, and for a broken file when it is read.
    """
    selection = Selection(corruption, corruption_kind, train_samples, test_samples, seed, normalize, held_out)
    if not isinstance(image_size, int) or image_size < 1:
        raise BadInput(f"data.image_size must be at least 1 pixel, not {image_size}")
    if not isinstance(workers, int) or workers < 0:
        raise BadInput(f"data.workers must be a whole number of processes, 0 or more, not {workers}")
    train, test = _files(Path(root).expanduser().resolve(), train_folder, test_folder)
    chosen = selection.train(train.labels)
    train_files = [train.files[i] for i in chosen.indices.tolist()]
    train_plain = StreamedImages(train_files, chosen.labels, _plain(image_size, normalize))
    held_out_files = [train.files[i] for i in chosen.held_out_indices.tolist()]
    kept_out = StreamedImages(held_out_files, chosen.held_out_labels, _plain(image_size, normalize))
    test_indices = selection.test(test.labels)
    test_files = [test.files[i] for i in test_indices.tolist()]
    return DataSet(
        name="imagenet",
        train=StreamedImages(train_files, chosen.labels, _augmented(image_size, normalize)) if augment else train_plain,
        train_plain=train_plain,
        test=StreamedImages(test_files, test.labels[test_indices], _plain(image_size, normalize)),
        classes=len(train.classes),
        input_shape=(3, image_size, image_size),
        label_hash=chosen.hash,
        corrupted=chosen.corrupted,
        workers=workers,
        held_out=kept_out if held_out_files else None,
    )


@lru_cache(maxsize=1)
def _files(root: Path, train_folder: str, test_folder: str) -> tuple[ImageFiles, ImageFiles]:
    """The file names, listed once in each process: ImageNet has over a million."""
    return train_and_test(root, train_folder, test_folder)


def _augmented(image_size: int, normalize: bool) -> v2.Compose:
    return v2.Compose([v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip(), *_scaled(normalize)])


def _plain(image_size: int, normalize: bool) -> v2.Compose:
    return v2.Compose([v2.Resize(round(image_size * 256 / 224)), v2.CenterCrop(image_size), *_scaled(normalize)])


def _scaled(normalize: bool) -> list[v2.Transform]:
    scaled = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    return [*scaled, v2.Normalize(MEAN, STD)] if normalize else scaled
