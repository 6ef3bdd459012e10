"""Reads the images that are measured, without any effect on the training."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from single_directions.ablation import adapting
from single_directions.ablation.adapting import BatchToXY
from single_directions.ablation.unchanged import state_keeper
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.training.seeds import derived_seed

Share = tuple[int, int]
"""(Number of this process, number of processes): each process reads its share of the images."""
Keyed = tuple[Tensor, Tensor, Tensor]
"""Images with a random key each: keys (images,), inputs (images, ...), targets (images,)."""
_LONG, _SEARCHED = 1000, 10_000
"""Random generators are looked for in containers with at most so many elements, and in so many things in all."""


class Seeded(Dataset):
    """A data set that seeds the global generators by `seed` and the image, so that augmentation repeats.

    Attributes are read from `dataset` and set on it, since a `worker_init_fn` may use them.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.__dict__.update(dataset=dataset, seed=seed)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in self.__dict__:  # as while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)

    def __getitem__(self, index: Any) -> Any:
        self._draw_from(index)
        return self.dataset[index]

    def __getitems__(self, indices: list[int]) -> Any:
        many = getattr(self.dataset, "__getitems__", None)
        if many is None or isinstance(self.dataset, Subset):
            return [self[index] for index in indices]
        self._draw_from(indices)
        return many(indices)

    def _draw_from(self, index: Any) -> None:
        first = index[0] if isinstance(index, Sequence) else index
        seed = derived_seed(self.seed, "augmentation", int(first))
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 data sets draw from it


def by_index(loader: DataLoader[Any], indices: Tensor, seed: int) -> DataLoader[Any]:
    """The images of a training's loader at `indices` (images,), in batches of the loader's kind.

    If the training reads in worker processes, so does this. A data set that opens its file at the first read then opens
    it in a worker. Otherwise this process would hold the open file, and the training's workers would share it.
    """
    dataset = Seeded(loader.dataset, seed)
    at_once = loader.batch_size or 128  # None if the loader has its own batch sampler
    reading: dict[str, Any] = {"collate_fn": loader.collate_fn}
    if loader.num_workers:
        reading["num_workers"] = min(loader.num_workers, len(indices))
        reading["multiprocessing_context"] = loader.multiprocessing_context
        reading["worker_init_fn"] = loader.worker_init_fn
    if loader.batch_sampler is None:  # the sampler gives lists of indices, the data set whole batches
        lists = [part.tolist() for part in indices.split(at_once)]
        return DataLoader(dataset, batch_size=None, sampler=lists, **reading)
    return DataLoader(dataset, batch_size=at_once, sampler=indices.tolist(), **reading)


@contextmanager
def generators_kept(*sources: Any) -> Iterator[Callable[[], None]]:
    """After it random generators in attributes of `sources`, and of what these hold, are in the states as before.

    So are those of a data set below a loader or a `Subset`, and of its transforms. Yields what restores them earlier.
    """
    waiting, seen, keepers = list(sources), set[int](), list[Callable[[], Any]]()
    for thing in waiting:  # it grows
        if len(seen) >= _SEARCHED:
            break
        if id(thing) in seen or isinstance(thing, Tensor | ModuleType):
            continue
        seen.add(id(thing))
        if (keeper := state_keeper(thing)) is not None:
            keepers.append(keeper)
        elif isinstance(thing, list | tuple | dict):
            if len(thing) <= _LONG:
                waiting += thing.values() if isinstance(thing, dict) else thing
        elif isinstance(own := getattr(thing, "__dict__", None), dict):
            waiting += own.values()

    def restore() -> None:
        for keeper in keepers:
            keeper()

    try:
        yield restore
    finally:
        restore()


def in_worker(batches: Iterable[Any], loaders: Iterable[Any]) -> Iterable[Any]:
    """`batches`, read in a worker process if workers of one of the training's `loaders` read the same data set.

    It may open a file at the first read, see `by_index`. Data sets of one class count as the same, since the class may
    hold the file; those of PyTorch hold none.
    """
    if not isinstance(batches, DataLoader) or batches.num_workers:
        return batches
    own = _sources(batches)
    for loader in loaders:
        if isinstance(loader, DataLoader) and loader.num_workers and _share(own, _sources(loader)):
            reader = copy(batches)
            reader.num_workers, reader.prefetch_factor = 1, 2
            reader.multiprocessing_context = loader.multiprocessing_context
            reader.worker_init_fn = loader.worker_init_fn
            return reader
    return batches


def _sources(data: Any) -> list[Any]:
    """The data sets below a loader, `Subset`, `ConcatDataset` and the like."""
    below = [data.dataset] if hasattr(data, "dataset") else getattr(data, "datasets", None)
    return [source for one in below for source in _sources(one)] if isinstance(below, list | tuple) else [data]


def _share(ones: list[Any], others: list[Any]) -> bool:
    def kind(source: Any) -> Any:
        return id(source) if type(source).__module__.startswith("torch.") else type(source)

    return not {*map(kind, ones)}.isdisjoint(map(kind, others))


def some_of(pairs: Iterable[Batch], samples: int, seed: int) -> Iterator[Batch]:
    """`samples` images drawn without replacement from `pairs`, in their order; all if there are fewer.

    Reads `pairs` once and holds at most 2 x `samples` images and a batch.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "measured images"))
    kept: list[Keyed] = []
    held = 0
    for inputs, targets in pairs:
        kept.append((torch.rand(len(targets), dtype=torch.float64, generator=generator), inputs, targets))
        held += len(targets)
        if held > 2 * samples:
            kept, held = _lowest(kept, samples), samples
    if held > samples:
        kept = _lowest(kept, samples)
    yield from ((inputs, targets) for _, inputs, targets in kept if len(targets))


def of_process(pairs: Iterable[Batch], share: Share) -> Iterator[Batch]:
    """This process's images of each batch. Together the processes have each image once."""
    number, processes = share
    seen = 0
    for inputs, targets in pairs:
        own = slice((number - seen) % processes, None, processes)
        seen += len(targets)
        if len(targets[own]):
            yield inputs[own], targets[own]


def _lowest(kept: list[Keyed], samples: int) -> list[Keyed]:
    """The images with the `samples` lowest keys."""
    highest = torch.cat([keys for keys, _, _ in kept]).kthvalue(samples).values
    return [(keys[keys <= highest], x[keys <= highest], y[keys <= highest]) for keys, x, y in kept]


def pair(batch: Any, batch_to_xy: BatchToXY | None = None) -> Batch:
    """The (inputs, targets) of a batch, on the CPU. Raises `BadInput` if the batch is no such pair."""
    if batch_to_xy is not None:
        inputs, targets = adapting.pair(batch, batch_to_xy)
    elif isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        inputs, targets = batch
    else:
        raise BadInput(
            f"batch: a pair of tensors (inputs, targets) is needed, not {adapting.described(batch)}; "
            "say how to get it: batch_to_xy=lambda batch: (inputs, targets)"
        )
    if targets.dim() == 0:
        raise BadInput("batches: they hold single images; give a DataLoader of them")
    return inputs.detach().cpu(), targets.detach().cpu()
