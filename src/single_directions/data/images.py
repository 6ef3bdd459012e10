"""Images and labels: images held in memory, and the training and test images of an experiment."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, default_collate

Batch = tuple[Tensor, Tensor]


class LabelledImages(Dataset[Batch]):
    """A data set that knows its labels, int64 (n,), without reading an image."""

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Images(LabelledImages):
    """Images held in memory and normalized when they are read: (image / 255 - mean) / std.

    `images` is uint8 (n, C, H, W), `labels` int64 (n,); `mean` and `std` have a number for each channel. With
    this module's `collate` a `DataLoader` reads a whole batch at once, (B, C, H, W) float32 and (B,), about as fast as
    indexing.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(f"images must be uint8 (n, C, H, W) and labels (n,): {images.shape}, {labels.shape}")
        if not len(mean) == len(std) == images.shape[1]:
            raise ValueError(f"mean and std need one number for each of {images.shape[1]} channels")
        self.images, self.labels = images, labels
        self.mean, self.std = tuple(mean), tuple(std)
        # One multiplication and one addition a pixel.
        scale = torch.tensor([1 / (255 * s) for s in std])
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
        self._scale, self._shift = (x.view(-1, 1, 1).to(images.device) for x in (scale, shift))

    def __getitem__(self, index: int) -> Batch:
        return self._normalized(self.images[index]), self.labels[index]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """The batch of these images. A `DataLoader` calls this with all indices of a batch at once."""
        at = torch.as_tensor(indices)
        if self.images.is_cuda:  # an ordinary copy would wait until the device has finished its work
            at = at.pin_memory().to(self.images.device, non_blocking=True)
        # Several times faster than self.images[at], which copies single bytes.
        return self._normalized(self.images.index_select(0, at)), self.labels.index_select(0, at)

    def _normalized(self, pixels: Tensor) -> Tensor:
        return pixels.float().mul_(self._scale).add_(self._shift)

    def to(self, device: torch.device | str) -> "Images":
        """The same images and labels on another device."""
        return Images(self.images.to(device), self.labels.to(device), self.mean, self.std)


def labels_of(dataset: Any) -> Tensor | None:
    """The labels that a data set holds in memory, int64 (n,), found without reading an image; None if there are none.

    Looks for an attribute `labels` or `targets` with a whole number for each image, and through `Subset` and
    `ConcatDataset`. No method or property is called: a data set may open a file there. What `__getitem__` makes of the
    labels is not seen.
    """
    if isinstance(dataset, Subset):
        labels = labels_of(dataset.dataset)
        with suppress(Exception):  # indices of somebody's own
            return None if labels is None else labels[np.ascontiguousarray(dataset.indices, dtype=np.int64)]
        return None
    if isinstance(dataset, ConcatDataset):
        parts = [labels_of(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    held = getattr(dataset, "__dict__", {})
    last = dataset.tensors[-1] if isinstance(dataset, TensorDataset) else None
    for values in (last, held.get("labels"), held.get("targets")):
        if isinstance(values, Tensor | np.ndarray | list | tuple):
            with suppress(Exception):  # anything of somebody's own
                array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
                if array.shape == (len(dataset),) and array.dtype.kind in "iub":
                    return torch.from_numpy(array.astype(np.int64))
    return None


def collate(batch: Any) -> Any:
    """For a `DataLoader`: returns a batch that `Images` made as it is, and stacks a list of samples."""
    return default_collate(batch) if isinstance(batch, list) else batch


@dataclass(frozen=True)
class DataSet:
    """The training and test images of an experiment, and the labels trained with.

    Attributes:
        name: of the data set.
        train: the images to train on.
        train_plain: the same images and labels without augmentation, for measuring; `train` itself if it has none.
        test: the images to test on.
        classes: how many classes there are.
        input_shape: (channels, height, width) of an image.
        label_hash: identifies the training subset and its labels.
        corrupted: how many training labels differ from the true ones.
        workers: how many processes a `DataLoader` should read with.
        held_out: images kept out of training, without augmentation, their labels corrupted like the rest; or None.
    """

    name: str
    train: LabelledImages
    train_plain: LabelledImages
    test: LabelledImages
    classes: int
    input_shape: tuple[int, int, int]
    label_hash: str
    corrupted: int
    workers: int = 0
    held_out: LabelledImages | None = None

    def to(self, device: torch.device | str) -> "DataSet":
        """The same data set with its in-memory images on another device."""

        @cache  # parts that are one object stay one
        def moved(images: Any) -> Any:
            return images.to(device) if isinstance(images, Images) else images

        parts = {name: moved(getattr(self, name)) for name in ("train", "train_plain", "test", "held_out")}
        return replace(self, **parts)
