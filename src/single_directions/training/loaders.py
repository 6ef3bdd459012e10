"""Batches: a data set's training images in an order that depends on the epoch alone, and all images for measuring."""

from collections.abc import Iterator
from math import prod
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from single_directions.data import DataSet, collate
from single_directions.data.images import Batch
from single_directions.training.seeds import derived_seed

MEASURED_AT_ONCE = 2**21
"""Pixels, times channels, of a batch that is only measured: it fills a device, and bounds the memory that it takes."""


class EpochOrder(Sampler[int]):
    """A random order of all images that follows from (seed, epoch) alone; Lightning calls `set_epoch`.

    `generator` is for the `DataLoader`, which draws from it the seeds of its workers' augmentation.
    """

    def __init__(self, images: int, seed: int) -> None:
        self.images, self.seed = images, seed
        self.generator = torch.Generator()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of this epoch, counted from 0."""
        self.epoch = epoch
        self.generator.manual_seed(derived_seed(self.seed, "workers", epoch))

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", self.epoch))
        yield from torch.randperm(self.images, generator=generator).tolist()


class Loaders(pl.LightningDataModule):
    """The batches of a training: shuffled ones to train with; plain training and test images to validate with.

    `batch_size` counts images; `seed` decides their order.
    """

    def __init__(self, data: DataSet, batch_size: int, seed: int) -> None:
        super().__init__()
        self.data, self.batch_size = data, batch_size
        self.order = EpochOrder(len(data.train), seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training images in the order of the epoch that the trainer is at."""
        if self.trainer is not None:
            # Workers start to read before Lightning sets the epoch, which matters where a training is resumed.
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            self.order.set_epoch(progress.processed)
        images = len(self.order)
        return DataLoader(
            self.data.train,
            batch_size=self.batch_size,
            sampler=self.order,
            # Batch norm cannot train on a single image.
            drop_last=images > self.batch_size and images % self.batch_size == 1,
            generator=self.order.generator,
            **_reading(self.data),
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Plain training images, then test images."""
        return [measuring_loader(self.data, self.data.train_plain), measuring_loader(self.data, self.data.test)]


def measuring_loader(data: DataSet, images: Dataset[Batch]) -> DataLoader[Batch]:
    """Batches of `images`, all or some of `data`'s, in their own order."""
    batch = min(2048, max(128, MEASURED_AT_ONCE // prod(data.input_shape)))
    return DataLoader(images, batch_size=batch, **_reading(data))


def _reading(data: DataSet) -> dict[str, Any]:
    return {
        # Not persistent: only workers that start anew in each epoch draw what follows from the epoch's seed.
        "num_workers": data.workers,
        "collate_fn": collate,
        "pin_memory": data.workers > 0 and torch.cuda.is_available(),
    }
