"""Folders of class folders, <root>/<part>/<class>/*.jpg, and the image files in them."""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from single_directions.errors import BadInput


class ImageFiles(NamedTuple):
    """The image files of a folder, sorted, and the class of each as its place among the sorted class names."""

    files: tuple[str, ...]
    targets: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def labels(self) -> Tensor:
        """The targets as int64 (n,)."""
        return torch.tensor(self.targets)


def train_and_test(root: str | Path, train_folder: str, test_folder: str) -> tuple[ImageFiles, ImageFiles]:
    """The image files of both parts; raises `BadInput` where a folder is missing or empty or their classes differ."""
    folder = Path(root).expanduser().resolve()
    train = class_folders(folder / train_folder, "data.train_folder")
    test = class_folders(folder / test_folder, "data.test_folder")
    odd = sorted(set(train.classes) ^ set(test.classes))
    if odd:
        raise BadInput(
            f"{folder}: {train_folder} and {test_folder} must hold the same classes, {odd[0]} is in one only"
        )
    return train, test


def class_folders(folder: Path, key: str) -> ImageFiles:
    """The image files below each class folder in `folder`; `key` is where the configuration names it."""
    wanted = f"put one folder of images a class there, or name another with data.root or {key}"
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: {wanted}")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise BadInput(f"{folder} holds {len(classes)} class folders, at least 2 are needed: {wanted}")
    files: list[str] = []
    targets: list[int] = []
    for target, name in enumerate(classes):
        found = sorted(_images_below(folder / name))
        if not found:
            raise BadInput(
                f"{folder / name} holds no images ({' '.join(IMG_EXTENSIONS)}): add some or remove the folder"
            )
        files += found
        targets += [target] * len(found)
    return ImageFiles(tuple(files), tuple(targets), tuple(classes))


def _images_below(folder: Path) -> list[str]:
    """All image files at any depth (Tiny ImageNet has a folder more than most)."""
    return [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(IMG_EXTENSIONS) and not name.startswith(".")
    ]


def open_image(file: str) -> Image.Image:
    """The image in a file as RGB; raises `BadInput`, which names the file, if it cannot be read."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except Exception as error:  # each format's decoder has its own kinds
        raise BadInput(f"{file} cannot be read as an image ({error}): replace or remove it") from error
