"""A folder of class folders, decoded once into memory."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from single_directions.data.folders import ImageFiles, open_image, train_and_test
from single_directions.data.images import DataSet
from single_directions.data.selection import Decoded, Selection, decoded, in_memory
from single_directions.errors import BadInput


def image_folder(
    root: str | Path,
    train_folder: str = "train",
    test_folder: str = "test",
    image_size: int | None = None,
    **keys: Any,
) -> DataSet:
    """The RGB images of `root`/`train_folder`/<class> and `root`/`test_folder`/<class>; classes are sorted by name.

    `image_size`, in pixels, resizes the shorter side of each image and crops its centre. None keeps the images as they
    are; all must then have one size. `keys` are those of `Selection`. Raises `BadInput` for missing folders, broken
    files and different sizes.
    """
    selection = Selection(**keys)
    if image_size is not None and (not isinstance(image_size, int) or image_size < 1):
        raise BadInput(f"data.image_size must be at least 1 pixel, or null for the images' own size: not {image_size}")
    train, test = train_and_test(root, train_folder, test_folder)
    # Raises before anything is decoded if there are too few images.
    selection.train(train.labels)
    selection.test(test.labels)
    return in_memory("image_folder", _decode(train, test, image_size), len(train.classes), selection)


@lru_cache(maxsize=1)
def _decode(train: ImageFiles, test: ImageFiles, image_size: int | None) -> Decoded:
    images = _pixels(train.files + test.files, image_size)
    train_images, test_images = images.split([len(train.files), len(test.files)])
    return decoded(train_images, train.labels, test_images, test.labels)


def _pixels(files: tuple[str, ...], image_size: int | None) -> Tensor:
    """The images in the files as uint8 (n, 3, H, W)."""
    first = open_image(files[0])
    width, height = _sized(first, image_size).size
    pixels = np.empty((len(files), 3, height, width), np.uint8)

    def decode(start: int) -> None:
        images = []
        for file in files[start : start + 256]:
            image = _sized(open_image(file), image_size)
            if image.size != (width, height):
                raise BadInput(
                    f"{file} has {image.height} x {image.width} pixels, but the images before it have "
                    f"{height} x {width}: set data.image_size to bring all images to one size"
                )
            images.append(np.asarray(image))
        pixels[start : start + 256] = np.stack(images).transpose(0, 3, 1, 2)

    # With small images the threads mostly wait for Python's lock; one alone is faster.
    threads = 1 if max(first.size) <= 128 else os.cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, range(0, len(files), 256)))  # raises the first error in the files' order
    return torch.from_numpy(pixels)


def _sized(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None or image.size == (image_size, image_size):
        return image
    return v2.functional.center_crop(v2.functional.resize(image, [image_size]), [image_size, image_size])
