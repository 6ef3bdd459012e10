"""Which images a training trains on: the indices that its loader's sampler draws. The loader is never iterated."""

from collections.abc import Iterable, Sequence, Sized
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
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
        note: what a reader should know of them, "" if nothing.
    """

    indices: Tensor
    epoch: int
    note: str = ""


def trained_on(loader: Any, batches: float) -> Pool:
    """The images that an epoch of `batches` batches trains on, in all processes together.

    Where each epoch shuffles all images anew, these are all images, even if an epoch ends before it has seen them all.
    Else they are what a copy of the sampler draws in one epoch; an image drawn twice is there twice. The caller seeds
    the global generators, which samplers may draw from, and all processes call this together.

    Raises:
        BadInput: images cannot be taken by index.
    """
    check(loader)
    images = len(loader.dataset)
    indices = _shuffled(loader)
    if indices is not None:
        size = loader.batch_size or 1
        epoch = min(len(indices), batches * size * getattr(loader.sampler, "num_replicas", 1))
        note = f"an epoch trains on {int(epoch)} of these {len(indices)}, others each time"
        return Pool(indices, int(epoch), note if epoch <= len(indices) - size else "")
    note = ""
    try:
        indices = _epoch(loader, batches, images)
    except (TypeError, RecursionError) as error:  # what copy and pickle raise of open files, locks, generators
        sampler = type(loader.batch_sampler or loader.sampler).__name__
        note = f"drawn from all images of the data set, as {sampler} cannot be copied ({error})"
        indices = torch.arange(images)
    return _of_all_processes(indices, note)


def check(loader: Any) -> None:
    """Raises `BadInput` unless images can be taken by index from the data set of a training's `DataLoader`."""
    if not isinstance(loader, DataLoader):
        raise BadInput(f"train data: they are {described(loader)}, not one DataLoader; {GIVE_BATCHES}")
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized) or not len(dataset):
        raise BadInput(f"train data: {type(dataset).__name__} has no images to take by index; {GIVE_BATCHES}")


def _shuffled(loader: DataLoader[Any]) -> Tensor | None:
    """The indices that each epoch draws from anew without replacement, or None where it is not known to."""
    if type(loader.batch_sampler) is not BatchSampler:
        return None
    sampler: Any = loader.sampler
    if type(sampler) is DistributedSampler and sampler.shuffle:
        return torch.arange(len(sampler.dataset))  # type: ignore[arg-type]
    # Lightning's sampler for several processes wraps the user's own.
    sampler = getattr(getattr(sampler, "dataset", None), "_sampler", sampler)
    if type(sampler) is SubsetRandomSampler and len(sampler.indices):
        return torch.as_tensor(sampler.indices, dtype=torch.int64)
    if type(sampler) is RandomSampler and not sampler.replacement:
        return torch.arange(len(sampler.data_source))
    return None


def _epoch(loader: DataLoader[Any], batches: float, images: int) -> Tensor:
    """What a copy of the sampler draws in one epoch of this process; `images` at most where the epoch has no end."""
    sampler: Iterable[Any] = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    # The copy leaves the sampler's own generator as it is; a sampler that knows its data set does not copy that.
    stream = iter(deepcopy(sampler, {id(loader.dataset): loader.dataset}))
    drawn: list[int] = []
    for batch in islice(stream, None if batches == float("inf") else int(batches)):
        if not isinstance(batch, Sequence | Tensor):
            raise BadInput(f"train data: their DataLoader does not make batches (batch_size=None); {GIVE_BATCHES}")
        drawn.extend(map(int, batch))
        if batches == float("inf") and len(drawn) >= images:
            break
    if not drawn:
        raise BadInput(f"train data: their sampler draws no image; {GIVE_BATCHES}")
    return torch.tensor(drawn)


def _of_all_processes(indices: Tensor, note: str) -> Pool:
    """The same on each process: once each index that no process draws twice, else all that are drawn; sorted."""
    parts = [indices]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [indices] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, indices)
    together = torch.cat(parts)
    once = all(len(part.unique()) == len(part) for part in parts)
    return Pool(together.unique() if once else together.sort().values, len(together), note)
