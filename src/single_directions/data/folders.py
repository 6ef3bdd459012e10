"""The image files in folders of class folders, <root>/<part>/<class>/*.jpg."""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension, make_dataset

from single_directions.errors import BadInput


class ImageFiles(NamedTuple):
    """The image files of a folder, sorted. The target of a file is the index of its class in the sorted `classes`."""

    files: tuple[str, ...]
    targets: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def labels(self) -> Tensor:
        """The targets as int64 (n,)."""
        return torch.tensor(self.targets)


def train_and_test(root: str | Path, train_folder: str, test_folder: str) -> tuple[ImageFiles, ImageFiles]:
    """The image files of both parts. Raises `BadInput` if a folder is missing or empty, or if their classes differ."""
    folder = Path(root).expanduser().resolve()
    train = class_folders(folder / train_folder, "data.train_folder")
    test = class_folders(folder / test_folder, "data.test_folder")
    if odd := sorted(set(train.classes) ^ set(test.classes)):
        raise BadInput(
            f"{folder}: {train_folder} and {test_folder} must hold the same classes, but {odd[0]} is in one only"
        )
    return train, test


def class_folders(folder: Path, key: str) -> ImageFiles:
    """The image files below each class folder in `folder`, which the configuration names with `key`."""
    wanted = f"put one folder of images for each class there, or name another folder with data.root or {key}"
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: {wanted}")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise BadInput(f"{folder} holds {len(classes)} class folders, but at least 2 are needed: {wanted}")
    target_of = {name: target for target, name in enumerate(classes)}
    # At any depth: Tiny ImageNet has one more level of folders.
    found = make_dataset(folder, target_of, is_valid_file=_is_image, allow_empty=True)
    if empty := sorted(set(range(len(classes))) - {target for _, target in found}):
        endings = " ".join(IMG_EXTENSIONS)
        raise BadInput(f"{folder / classes[empty[0]]} holds no images ({endings}): add some or remove the folder")
    targets, files = zip(*sorted((target, file) for file, target in found), strict=True)
    return ImageFiles(files, targets, tuple(classes))


def _is_image(file: str) -> bool:
    return has_file_allowed_extension(file, IMG_EXTENSIONS) and not os.path.basename(file).startswith(".")


def open_image(file: str) -> Image.Image:
    """The image in a file, as RGB. Raises `BadInput` with the file's name if it cannot be read."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except Exception as error:  # each format's decoder raises its own kinds of errors
        raise BadInput(f"{file} cannot be read as an image ({error}): replace or remove it") from error
