"""Which images a training trains on: the indices that its loader's sampler draws. The loader itself is not iterated."""

import operator
from collections.abc import Iterable, Sequence, Sized
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from math import isfinite, nan
from typing import Any

import torch
from lightning_fabric.utilities.data import sized_len
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
)

from single_directions.ablation.adapting import described
from single_directions.errors import BadInput

GIVE_BATCHES = "give the images to measure on: batches=[(inputs, targets), ...] or a DataLoader"


@dataclass(frozen=True)
class Pool:
    """What a training trains on.

    Attributes:
        indices: int64, (images,), in the loader's data set.
        epoch: how many images an epoch trains on.
        note: what a user should know about them, "" if nothing.
    """

    indices: Tensor
    epoch: int
    note: str = ""


def trained_on(loader: Any, batches: float) -> Pool:
    """The images that all processes together train on, if an epoch of each has `batches` batches.

    If each epoch shuffles all images, these are all images, even if an epoch is too short to use them all. Otherwise
    they are what a copy of the sampler draws in one epoch; an image that is drawn twice occurs twice. The caller seeds
    the global generators, since samplers may draw from them. All processes must call this at the same time.

    Raises:
        BadInput: images cannot be read by index.
    """
    check(loader)
    images = len(loader.dataset)
    indices = _shuffled(loader)
    if indices is not None:
        size = loader.batch_size or 1
        epoch = min(len(indices), batches * size * getattr(loader.sampler, "num_replicas", 1))
        note = f"an epoch trains on {int(epoch)} of these {len(indices)}, different ones each time"
        return Pool(indices, int(epoch), note if epoch <= len(indices) - size else "")
    note = ""
    sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    try:
        # A copy, so that the sampler's own generator does not advance. The data set is not copied.
        sampler = deepcopy(sampler, {id(loader.dataset): loader.dataset})
    except Exception as error:  # an open file, a lock or a generator cannot be copied
        note = f"drawn from all images of the data set, as {type(sampler).__name__} cannot be copied ({error})"
        indices = torch.arange(images)
    else:
        indices = _epoch(sampler, batches, images)
    return _of_all_processes(indices, note)


def images_of(loaders: Sequence[Any], batches: float) -> int:
    """How many images this process trains on in an epoch of `batches` batches, if they cannot be read by index.

    0 if that is not known. Of a loader that starts again within an epoch each image counts once.
    """
    number = 0.0
    for loader in loaders:
        length = sized_len(loader)
        number += (getattr(loader, "batch_size", None) or nan) * (batches if length is None else min(batches, length))
    return int(number) if isfinite(number) else 0


def check(loader: Any) -> None:
    """Raises `BadInput` unless `loader` is a `DataLoader` whose data set can be read by index."""
    if not isinstance(loader, DataLoader):
        raise BadInput(f"train data: {described(loader)}, not one DataLoader; {GIVE_BATCHES}")
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized) or not len(dataset):
        raise BadInput(f"train data: {type(dataset).__name__} has no images to take by index; {GIVE_BATCHES}")


def _shuffled(loader: DataLoader[Any]) -> Tensor | None:
    """The indices, if each epoch is known to shuffle them and to draw without replacement; else None."""
    if type(loader.batch_sampler) is not BatchSampler:
        return None
    sampler: Any = loader.sampler
    if type(sampler) is DistributedSampler and sampler.shuffle:
        return torch.arange(len(sampler.dataset))  # type: ignore[arg-type]
    # With several processes Lightning wraps the user's sampler.
    sampler = getattr(getattr(sampler, "dataset", None), "_sampler", sampler)
    if type(sampler) is SubsetRandomSampler and len(sampler.indices):
        return torch.tensor(_whole(sampler.indices))
    if type(sampler) is RandomSampler and not sampler.replacement:
        return torch.arange(len(sampler.data_source))
    return None


def _epoch(sampler: Iterable[Any], batches: float, images: int) -> Tensor:
    """What a sampler draws in one epoch of this process; about `images` if the epoch is endless."""
    drawn: list[int] = []
    for batch in islice(sampler, None if batches == float("inf") else int(batches)):
        if not isinstance(batch, Sequence | Tensor):
            raise BadInput(f"train data: the DataLoader makes no batches (batch_size=None); {GIVE_BATCHES}")
        drawn.extend(_whole(batch))
        if batches == float("inf") and len(drawn) >= images:
            break
    if not drawn:
        raise BadInput(f"train data: the sampler draws no image; {GIVE_BATCHES}")
    return torch.tensor(drawn)


def _whole(indices: Iterable[Any]) -> list[int]:
    """Indices as whole numbers. Raises `BadInput` if they are something else, such as names."""
    whole = []
    for one in indices:
        try:
            whole.append(operator.index(one))
        except TypeError:
            raise BadInput(f"train data: the sampler draws no indices, but {described(one)}; {GIVE_BATCHES}") from None
    return whole


def _of_all_processes(indices: Tensor, note: str) -> Pool:
    """The sorted indices of all processes, without repeats unless a process itself drew an index twice."""
    parts = [indices]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [indices] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, indices)
    together = torch.cat(parts)
    once = all(len(part.unique()) == len(part) for part in parts)
    return Pool(together.unique() if once else together.sort().values, len(together), note)
