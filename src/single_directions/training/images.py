"""The images that `AblationAUC` measures on: drawn from the train data, or given."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from single_directions.ablation.measurement import Batches
from single_directions.ablation.sites import undisturbed
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.training.pool import trained_on
from single_directions.training.reading import Share, by_index, of_process, pair, some_of, without_handles
from single_directions.training.seeds import derived_seed

_PROBED = 8
"""Images that are read twice, to see whether they are the same."""


@dataclass(frozen=True)
class Images:
    """What is measured after every epoch.

    Attributes:
        batches: this process's share of them, on the CPU.
        number: how many all processes have together.
        indices: int64, (number,), those in the train data; None where `batches=` gave them.
        source: where they come from, and what differs from what is trained on, for a reader.
        random: whether a second reading with another seed gives other images.
        first: float32, up to 256 values of the first image, by which to know the images again.
    """

    batches: list[Batch]
    number: int
    indices: Tensor | None
    source: str
    random: bool
    first: Tensor


@dataclass(frozen=True)
class Wanted:
    """Which images to measure on.

    Attributes:
        samples: how many at most.
        seed: which ones, and what their augmentation draws.
        batches: where from, or None for the train data.
        batch_to_xy: turns a batch into (inputs, targets).
        memory: bytes that the images of one process may take.
        indices: those in the train data, where a checkpoint tells them.
    """

    samples: int | None
    seed: int
    batches: Batches | None
    batch_to_xy: Callable[[Any], Any] | None
    memory: int
    indices: Tensor | None = None


def read(trainer: Any, wanted: Wanted, share: Share) -> Images:
    """Reads this process's share; all processes call it together. The caller keeps the random states.

    What the module or data module does to a batch before and after its transfer to the device is done: to the train
    data as in training, to `batches` as in validation.

    Raises:
        BadInput: there are no such images, or a batch is no pair of tensors.
    """
    torch.manual_seed(derived_seed(wanted.seed, "sampler"))
    return (_from_train_data if wanted.batches is None else _given)(trainer, wanted, share)


def _from_train_data(trainer: Any, wanted: Wanted, share: Share) -> Images:
    loader = trainer.train_dataloader
    pool, note = trained_on(loader, trainer.num_training_batches)
    generator = torch.Generator().manual_seed(derived_seed(wanted.seed, "measured images"))
    chosen = pool[torch.randperm(len(pool), generator=generator)][: wanted.samples]
    notes = [note] if note else []

    def pairs(indices: Tensor, seed: int) -> Iterator[Batch]:
        return _pairs(trainer, by_index(loader, indices, seed), wanted, seed, as_trained=True)

    if len(chosen) < share[1]:
        raise BadInput(f"train data: {len(chosen)} images to measure on are fewer than the {share[1]} processes")

    def of_this_process() -> Tensor:
        return chosen[share[0] :: share[1]]

    probe = next(pairs(of_this_process()[:_PROBED], wanted.seed + 1))
    room = share[1] * max(1, wanted.memory // _bytes(probe))
    if room < len(chosen):
        chosen = chosen[:room]
        notes.append(f"no more, as one process keeps {wanted.memory / 2**30:.3g} GiB of images at most")
    before = wanted.indices
    if before is not None and len(before) == len(chosen) and int(before.max()) < len(loader.dataset):
        chosen = before  # a sampler that draws at random may have drawn others now
        probe = next(pairs(of_this_process()[:_PROBED], wanted.seed + 1))
    if trainer.reload_dataloaders_every_n_epochs:
        notes.append("those of the training's first loader")
    batches = list(pairs(of_this_process(), wanted.seed))
    alike = all(a.equal(b[: len(a)]) for a, b in zip(probe, batches[0], strict=True))
    source = f"of the {len(pool)} that are trained on" + "".join(f"; {note}" for note in notes)
    return Images(batches, len(chosen), chosen, source, not alike, _values(batches[0][0]))


def _given(trainer: Any, wanted: Wanted, share: Share) -> Images:
    if isinstance(wanted.batches, Dataset):
        raise BadInput(f"batches: {type(wanted.batches).__name__} gives single images; give a DataLoader of it")
    batches = without_handles(wanted.batches, trainer.train_dataloader)  # type: ignore[arg-type]
    pairs = _pairs(trainer, batches, wanted, wanted.seed, as_trained=False)
    first = next(pairs, None)
    if first is None:
        raise BadInput("batches: there are no images to measure on")
    room = max(1, wanted.memory // _bytes(first))
    drawn = list(some_of(chain([first], pairs), min(room, wanted.samples or room), wanted.seed))
    number = sum(len(targets) for _, targets in drawn)
    if number < share[1]:
        raise BadInput(f"batches: {number} images to measure on are fewer than the {share[1]} processes")
    note = f"; no more, as {wanted.memory / 2**30:.3g} GiB of them are kept at most" if number == room else ""
    return Images(list(of_process(drawn, share)), number, None, f"given by batches={note}", False, _values(drawn[0][0]))


def _pairs(trainer: Any, batches: Iterable[Any], wanted: Wanted, seed: int, as_trained: bool) -> Iterator[Batch]:
    """(inputs, targets), on the CPU, as the network gets them."""
    convert = trainer.precision_plugin.convert_input
    for number, batch in enumerate(batches):
        with _stage(trainer, as_trained):
            torch.manual_seed(derived_seed(seed, "batch", number))
            batch = trainer.lightning_module._on_before_batch_transfer(convert(batch), dataloader_idx=0)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            inputs, targets = pair(batch, wanted.batch_to_xy)
        yield convert(inputs), targets


@contextmanager
def _stage(trainer: Any, as_trained: bool) -> Iterator[None]:
    """Within it hooks see a training, or a validation."""
    stage = trainer.state.stage
    with torch.no_grad(), nullcontext() if as_trained else undisturbed(trainer.lightning_module):
        try:
            if not as_trained:
                trainer.state.stage = type(stage).VALIDATING
            yield
        finally:
            trainer.state.stage = stage


def _bytes(batch: Batch) -> int:
    """What an image takes."""
    return batch[0][0].nbytes + batch[1][0].nbytes


def _values(inputs: Tensor) -> Tensor:
    values = inputs[0].flatten().float()
    return values[:: -(-len(values) // 256)].clone()
