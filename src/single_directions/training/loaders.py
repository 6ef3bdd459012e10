"""The loaders of a training: training images in an order that depends on the epoch alone, and images to measure."""

from collections.abc import Iterator
from math import ceil, prod
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from single_directions.data import DataSet, collate
from single_directions.data.images import Batch
from single_directions.training.reading import Share
from single_directions.training.seeds import derived_seed

MEASURED_AT_ONCE = 2**21
"""Pixels x channels in a batch that is only measured: enough to use a device fully, few enough for its memory."""


class EpochOrder(Sampler[int]):
    """All images in a random order that depends on (seed, epoch) alone. Lightning calls `set_epoch`.

    Each process takes its `share` of the one order. All shares have the same length, so a few images come twice: up to
    one fewer than there are processes. The `DataLoader` draws the seeds of its workers from `generator`.
    """

    def __init__(self, images: int, seed: int, share: Share = (0, 1)) -> None:
        self.images, self.seed, self.share = images, seed, share
        self.generator = torch.Generator()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0, whose order the next iteration gives."""
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
    """Shuffled training images to train on; plain training, test and held-out images to measure.

    `batch_size` is the number of images in a batch, of each process if there are several. `seed` decides their order.
    """

    def __init__(self, data: DataSet, batch_size: int, seed: int) -> None:
        super().__init__()
        self.data, self.batch_size = data, batch_size
        self.order = EpochOrder(len(data.train), seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training images in the order of the trainer's epoch."""
        if self.trainer is not None:
            # In a resumed training, workers start to read before Lightning sets the epoch.
            self.order.share = self._share()
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            self.order.set_epoch(progress.processed)
        images = len(self.order)
        return DataLoader(
            self.data.train,
            batch_size=self.batch_size,
            sampler=self.order,
            # Batch norm cannot train on one image.
            drop_last=images > self.batch_size and images % self.batch_size == 1,
            generator=self.order.generator,
            **_reading(self.data),
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Plain training images, test images, and held-out training images if there are any."""
        parts = (self.data.train_plain, self.data.test, self.data.held_out)
        return [measuring_loader(self.data, images, self._share()) for images in parts if images is not None]

    def _share(self) -> Share:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def measuring_loader(data: DataSet, images: Dataset[Batch], share: Share = (0, 1)) -> DataLoader[Batch]:
    """Batches of `images`, which are some of `data`'s, in their own order. Each process reads its share."""
    batch = min(2048, max(128, MEASURED_AT_ONCE // prod(data.input_shape)))
    number, processes = share
    indices = range(number, len(images), processes)  # type: ignore[arg-type]
    return DataLoader(images, batch_size=batch, sampler=indices, **_reading(data))


def _reading(data: DataSet) -> dict[str, Any]:
    return {
        # Not persistent: the epoch's seed reaches only workers that start in that epoch.
        "num_workers": data.workers,
        "collate_fn": collate,
        "pin_memory": data.workers > 0 and torch.cuda.is_available(),
    }
