"""A fixed part of somebody's training images, taken by index: the training's own loader is never iterated."""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler
from torch.utils.data import Subset as Part

from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.training.seeds import derived_seed

GIVE_BATCHES = "give the images to measure on: batches=[(inputs, targets), ...] or a DataLoader"


class AtMost(int):
    """A number that means all where there are fewer."""


def drawn(loader: Any, samples: int | None, seed: int, share: tuple[int, int] = (0, 1)) -> DataLoader[Any]:
    """A loader of `samples` images drawn without replacement from the data set of `loader`, in a fixed order.

    Args:
        loader: the training's `DataLoader`; its `collate_fn` makes the batches, and where it draws only from some
            indices (`SubsetRandomSampler`), so does this.
        samples: how many images; ``None`` for all; `AtMost` for all where there are fewer.
        seed: which ones.
        share: (number of this process, processes); of the images drawn each takes its part.

    Raises:
        BadInput: images cannot be taken by index, or there are not as many as `samples`.
    """
    indices = _indices(loader)
    if samples is None:
        samples = len(indices)
    if isinstance(samples, AtMost):
        samples = min(samples, len(indices))
    if samples > len(indices):
        raise BadInput(
            f"samples={samples}: the train data hold {len(indices)} images; set samples={len(indices)} or fewer"
        )
    generator = torch.Generator().manual_seed(derived_seed(seed, "measured images"))
    chosen = indices[torch.randperm(len(indices), generator=generator)[:samples].sort().values]
    first, processes = share
    return DataLoader(
        Part(loader.dataset, chosen[first::processes].tolist()),
        batch_size=loader.batch_size or 128,  # a loader with a batch sampler of its own does not know
        collate_fn=loader.collate_fn,
    )


def shared(pairs: Iterable[Batch], share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
    """Of each batch this process's images, so that processes together measure each image once."""
    number, processes = share
    seen = 0
    for inputs, targets in pairs:
        own = slice((number - seen) % processes, None, processes)
        seen += len(targets)
        if len(targets[own]):
            yield inputs[own], targets[own]


def pair(batch: Any, batch_to_xy: Callable[[Any], Any] | None = None) -> Batch:
    """The (inputs, targets) of a batch, copied to the CPU. Raises `BadInput` where it is no such pair."""
    try:
        xy = batch if batch_to_xy is None else batch_to_xy(batch)
    except Exception as error:  # somebody's own function
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"batch_to_xy: it cannot take a batch, which is {_described(batch)} ({cause})") from error
    if not (isinstance(xy, tuple | list) and len(xy) == 2 and all(isinstance(part, Tensor) for part in xy)):
        what = "batch" if batch_to_xy is None else "what batch_to_xy makes of a batch"
        raise BadInput(
            f"{what}: a pair of tensors (inputs, targets) is needed, not {_described(xy)}; "
            "say how to get it: batch_to_xy=lambda batch: (inputs, targets)"
        )
    inputs, targets = xy
    return inputs.detach().cpu(), targets.detach().cpu()


def _indices(loader: Any) -> Tensor:
    """int64, the indices that a loader draws from."""
    if not isinstance(loader, DataLoader):
        raise BadInput(f"train data: they are {_described(loader)}, not one DataLoader; {GIVE_BATCHES}")
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise BadInput(f"train data: {type(dataset).__name__} has no images to take by index; {GIVE_BATCHES}")
    if loader.batch_sampler is None:
        raise BadInput(f"train data: their DataLoader does not make batches (batch_size=None); {GIVE_BATCHES}")
    # Lightning's sampler for several processes wraps the user's own.
    sampler = getattr(getattr(loader.sampler, "dataset", None), "_sampler", loader.sampler)
    if isinstance(sampler, SubsetRandomSampler):
        return torch.as_tensor(sampler.indices, dtype=torch.int64)
    return torch.arange(len(dataset))


def _described(thing: Any) -> str:
    """What a value is, short: `dict of x, y`, `list of 3`, `NoneType`."""
    kind = type(thing).__name__
    if isinstance(thing, dict):
        return f"{kind} of {', '.join(map(str, thing))}"
    return f"{kind} of {len(thing)}" if isinstance(thing, tuple | list) else kind
