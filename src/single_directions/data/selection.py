"""The keys that all data sets share, and how they apply to decoded images."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from single_directions.data.images import DataSet, Images
from single_directions.data.labels import KINDS, class_balanced_subset, corrupt, label_hash
from single_directions.errors import BadInput


class Decoded(NamedTuple):
    """Every image of a data set, uint8 (n, C, H, W), with the true labels, int64 (n,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TrainingLabels(NamedTuple):
    """The labels trained with, int64 (samples,), the indices of their images, how many are wrong, and a hash.

    `held_out_labels` and `held_out_indices` belong to the images kept out of training.
    """

    labels: Tensor
    indices: Tensor
    corrupted: int
    hash: str
    held_out_labels: Tensor
    held_out_indices: Tensor


@dataclass(frozen=True)
class Selection:
    """Which images are used, how training labels are corrupted, and how pixels are scaled.

    Attributes:
        corruption: the fraction of the training labels that is corrupted.
        corruption_kind: ``"shuffle"`` or ``"uniform"``.
        train_samples, test_samples: sizes of class-balanced subsets; None for all images.
        seed: draws subsets and corruption. Which images are used does not depend on the corruption.
        normalize: whether each channel gets mean 0 and standard deviation 1 over all training images; otherwise pixels
            are 0 to 1.
        held_out: the fraction of the training images that is kept out of training, class-balanced, with labels
            corrupted like the rest.

    Raises:
        BadInput: a value is out of range; before anything is decoded.
    """

    corruption: float = 0.0
    corruption_kind: str = "shuffle"
    train_samples: int | None = None
    test_samples: int | None = None
    seed: int = 0
    normalize: bool = True
    held_out: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.corruption, (int, float)) or not 0 <= self.corruption <= 1:
            raise BadInput(f"data.corruption must lie between 0 and 1, not {self.corruption}")
        if self.corruption_kind not in KINDS:
            raise BadInput(f"data.corruption_kind must be one of {', '.join(KINDS)}, not {self.corruption_kind}")
        for key, samples in (("train_samples", self.train_samples), ("test_samples", self.test_samples)):
            if samples is not None and (not isinstance(samples, int) or samples < 1):
                raise BadInput(
                    f"data.{key} must be a whole number of at least 1, or null for all images: not {samples}"
                )
        if not isinstance(self.normalize, bool):
            raise BadInput(f"data.normalize must be true or false, not {self.normalize!r}")
        held_out = self.held_out
        if not isinstance(held_out, (int, float)) or isinstance(held_out, bool) or not 0 <= held_out < 1:
            raise BadInput(f"data.held_out must be a number of at least 0 and below 1, not {held_out!r}")

    def train(self, labels: Tensor) -> TrainingLabels:
        """The labels to train with, made from the true ones, int64 (n,)."""
        indices = _subset(labels, self.train_samples, self.seed, "data.train_samples")
        true = labels[indices]
        corrupted = corrupt(true, self.corruption, self.corruption_kind, self.seed)
        held_out = self._held_out(true)
        kept = torch.ones(len(true), dtype=torch.bool)
        kept[held_out] = False
        trained, used = corrupted[kept], indices[kept]
        # The hash covers the place of each label among all images: other images with the same labels have another hash.
        placed = torch.full_like(labels, -1).scatter(0, used, trained)
        untrue = int((trained != true[kept]).sum())
        return TrainingLabels(trained, used, untrue, label_hash(placed), corrupted[held_out], indices[held_out])

    def test(self, labels: Tensor) -> Tensor:
        """The indices of the images to test with, from the true labels, int64 (n,)."""
        return _subset(labels, self.test_samples, self.seed, "data.test_samples")

    def _held_out(self, labels: Tensor) -> Tensor:
        """The indices, within the training subset, of the images to keep out of training."""
        if self.held_out == 0:
            return torch.empty(0, dtype=torch.long)
        samples, classes = round(self.held_out * len(labels)), len(labels.unique())
        if samples < classes:
            raise BadInput(
                f"data.held_out={self.held_out} of {len(labels)} training images are {samples}: at least {classes} are "
                "needed, one for each class"
            )
        chosen = class_balanced_subset(labels, samples, self.seed, "data.held_out", "held out")
        counts, taken = (part.bincount(minlength=int(labels.max()) + 1) for part in (labels, labels[chosen]))
        if bool(((counts > 0) & (counts == taken)).any()):
            raise BadInput(f"data.held_out={self.held_out} leaves some class without a training image: hold out fewer")
        return chosen


def decoded(train_images: Tensor, train_labels: Tensor, test_images: Tensor, test_labels: Tensor) -> Decoded:
    """The images and labels, with the mean and standard deviation (0..1) of each channel over all training images."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    # Counting grey levels is exact and needs no floating-point copy of the images.
    counts = torch.stack([c.flatten().bincount(minlength=256) for c in train_images.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    std = (shares * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    std[std == 0] = 1  # a channel that is constant
    return Decoded(train_images, train_labels, test_images, test_labels, tuple(mean.tolist()), tuple(std.tolist()))


def in_memory(name: str, images: Decoded, classes: int, selection: Selection) -> DataSet:
    """The `DataSet` of decoded images. All training images, not only those selected, give the mean and deviation."""
    chosen, test = selection.train(images.train_labels), selection.test(images.test_labels)
    _, channels, height, width = images.train_images.shape
    scaling = (images.mean, images.std) if selection.normalize else ([0.0] * channels, [1.0] * channels)
    train = Images(_taken(images.train_images, chosen.indices), chosen.labels, *scaling)
    held_out = _taken(images.train_images, chosen.held_out_indices)
    return DataSet(
        name=name,
        train=train,
        train_plain=train,
        test=Images(_taken(images.test_images, test), images.test_labels[test], *scaling),
        classes=classes,
        input_shape=(channels, height, width),
        label_hash=chosen.hash,
        corrupted=chosen.corrupted,
        held_out=Images(held_out, chosen.held_out_labels, *scaling) if len(held_out) else None,
    )


def _subset(labels: Tensor, samples: int | None, seed: int, key: str) -> Tensor:
    return torch.arange(len(labels)) if samples is None else class_balanced_subset(labels, samples, seed, key)


def _taken(images: Tensor, indices: Tensor) -> Tensor:
    """The images at sorted indices. If these are all images, there is no copy: the runs of a process share them."""
    return images if len(indices) == len(images) else images.index_select(0, indices)
