"""Batches: a data set's training images in an order that depends on the epoch alone, and all images for measuring."""

from collections.abc import Iterator
from math import ceil, prod
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from single_directions.data import DataSet, collate
from single_directions.data.images import Batch
from single_directions.training.seeds import derived_seed

MEASURED_AT_ONCE = 2**21
"""Pixels, times channels, of a batch that is only measured: it fills a device, and bounds the memory that it takes."""


Share = tuple[int, int]


class EpochOrder(Sampler[int]):
    """A random order of all images that follows from (seed, epoch) alone; Lightning calls `set_epoch`.

    `share` is (number of this process, processes): of the one order each process takes its part. All parts are of one
    length, for which up to one image less than there are processes comes twice. `generator` is for the `DataLoader`,
    which draws from it the seeds of its workers' augmentation.
    """

    def __init__(self, images: int, seed: int, share: Share = (0, 1)) -> None:
        self.images, self.seed, self.share = images, seed, share
        self.generator = torch.Generator()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of this epoch, counted from 0."""
        self.epoch = epoch
        self.generator.manual_seed(derived_seed(self.seed, "workers", epoch))

    def __len__(self) -> int:
        return ceil(self.images / self.share[1])

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.images, generator=generator)
        number, processes = self.share
        yield from order.repeat(2)[number : len(self) * processes : processes].tolist()


class Loaders(pl.LightningDataModule):
    """The batches of a training: shuffled ones to train with; plain training, test and held-out images to measure.

    `batch_size` counts images, in each process where there are several; `seed` decides their order.
    """

    def __init__(self, data: DataSet, batch_size: int, seed: int) -> None:
        super().__init__()
        self.data, self.batch_size = data, batch_size
        self.order = EpochOrder(len(data.train), seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training images in the order of the epoch that the trainer is at."""
        if self.trainer is not None:
            # Workers start to read before Lightning sets the epoch, which matters where a training is resumed.
            self.order.share = self._share()
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
        """Plain training images, then test images, then those held out of training if there are any."""
        parts = (self.data.train_plain, self.data.test, self.data.held_out)
        return [measuring_loader(self.data, images, self._share()) for images in parts if images is not None]

    def _share(self) -> Share:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def measuring_loader(data: DataSet, images: Dataset[Batch], share: Share = (0, 1)) -> DataLoader[Batch]:
    """Batches of `images`, all or some of `data`'s, in their own order; of several processes each reads its share."""
    batch = min(2048, max(128, MEASURED_AT_ONCE // prod(data.input_shape)))
    number, processes = share
    indices = range(number, len(images), processes)  # type: ignore[arg-type]
    return DataLoader(images, batch_size=batch, sampler=indices, **_reading(data))


def _reading(data: DataSet) -> dict[str, Any]:
    return {
        # Not persistent: only workers that start anew in each epoch draw what follows from the epoch's seed.
        "num_workers": data.workers,
        "collate_fn": collate,
        "pin_memory": data.workers > 0 and torch.cuda.is_available(),
    }
