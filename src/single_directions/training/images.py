"""The images that `AblationAUC` measures: drawn from the train data, or given."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import Dataset

from single_directions.ablation.measurement import Batches
from single_directions.ablation.sites import undisturbed
from single_directions.ablation.unchanged import unchanged
from single_directions.data.images import Batch, labels_of
from single_directions.errors import BadInput
from single_directions.training.pool import GIVE_BATCHES, images_of, trained_on
from single_directions.training.reading import Share, by_index, generators_kept, in_worker, of_process, pair, some_of
from single_directions.training.seeds import derived_seed

_PROBED = 8
"""Images that are read twice, to see whether augmentation changes them."""
_MOST_CLASSES = 100_000
"""Targets from this on are no classes, but identifiers."""
_ENDLESS = 2**40
"""Stands for the number of images in a stream whose length is not known."""


@dataclass(frozen=True)
class Images:
    """The images that are measured after every epoch.

    Attributes:
        batches: this process's share, on the CPU.
        number: how many all processes have together.
        indices: their indices in the train data, int64, (number,); None if `batches=` gave the images.
        population: how many images they were drawn from; of each class, int64 (classes,), if that is known.
        epoch: how many images an epoch trains on, 0 if that is not known.
        source: for the user: where they come from, and how they differ from what is trained on.
        random: whether reading them with another seed gives other images.
        unsteady: whether reading them again with the same seed does, in this process.
        first: up to 256 values of the first image, float32, to recognize the images in a resumed training.
    """

    batches: list[Batch]
    number: int
    indices: Tensor | None
    population: int | Tensor
    epoch: int
    source: str
    random: bool
    first: Tensor
    unsteady: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which images to measure.

    Attributes:
        enough: the number wanted, a function of some inputs (images, ...), the most there can be, and `Images.epoch`.
        samples: the most to measure, or None.
        seed: decides which images, and their augmentation.
        batches: their source, or None for the train data.
        batch_to_xy: turns a batch into (inputs, targets).
        memory: the most bytes for the images of one process.
        indices, population: as in `Images`, if a checkpoint says them.
    """

    enough: Callable[[Tensor, int, int], int]
    samples: int | None
    seed: int
    batches: Batches | None
    batch_to_xy: Callable[[Any], Any] | None
    memory: int
    indices: Tensor | None = None
    population: int | Tensor | None = None


def read(trainer: Any, wanted: Wanted, share: Share) -> Images:
    """Reads this process's share. All processes must call it at the same time. It seeds the global generators.

    Calls the hooks of the module or data module before and after a batch's transfer to the device: in the training
    stage for the train data, in the validation stage for `batches`.

    Raises:
        BadInput: there are too few images, or a batch is no pair of tensors.
    """
    torch.manual_seed(derived_seed(wanted.seed, "sampler"))
    with generators_kept(trainer.train_dataloader, wanted.batches) as restore:
        if wanted.batches is None:
            return _from_train_data(trainer, wanted, share, restore)
        return _given(trainer, wanted, share)


def _from_train_data(trainer: Any, wanted: Wanted, share: Share, restore: Callable[[], None]) -> Images:
    """`restore` gives random generators of the data set the states that they had before the first reading."""
    loader = trainer.train_dataloader
    pool = trained_on(loader, trainer.num_training_batches)
    number = len(pool.indices)
    generator = torch.Generator().manual_seed(derived_seed(wanted.seed, "measured images"))
    chosen = pool.indices[torch.randperm(number, generator=generator)][: wanted.samples]
    notes = [pool.note] if pool.note else []
    if len(chosen) < share[1]:
        raise BadInput(f"train data: {len(chosen)} images to measure are fewer than the {share[1]} processes")

    def pairs(seed: int, images: int | None = None) -> Iterator[Batch]:
        loaded = _by_index(loader, chosen[share[0] :: share[1]][:images], seed)
        return _pairs(trainer, loaded, wanted, seed, as_trained=True)

    probe = next(pairs(wanted.seed + 1, _PROBED))
    chosen = chosen[: max(share[1], wanted.enough(probe[0], len(chosen), pool.epoch))]
    room = share[1] * max(1, wanted.memory // _bytes(probe))
    if room < len(chosen):
        chosen = chosen[:room]
        notes.append(_full(wanted))
    before = wanted.indices
    population: int | Tensor | None = None
    if before is not None and len(before) == len(chosen) and int(before.max()) < len(loader.dataset):
        # A random sampler may draw others now. A checkpoint of an earlier version knows no classes.
        chosen, population = before, number if wanted.population is None else wanted.population
        probe = next(pairs(wanted.seed + 1, _PROBED))
    if trainer.reload_dataloaders_every_n_epochs:
        notes.append("those of the training's first loader")
    batches = list(pairs(wanted.seed))
    alike = all(a[: len(b)].equal(b[: len(a)]) for a, b in zip(probe, batches[0], strict=True))
    unsteady = False
    if not alike:  # perhaps only since images are padded to their batch: in a batch of the same images they are not
        restore()
        again = next(pairs(wanted.seed, _PROBED))
        restore()
        probes = [next(pairs(seed, _PROBED)) for seed in (wanted.seed, wanted.seed + 1)]
        alike = all(map(torch.equal, *probes))
        unsteady = not loader.num_workers and not all(map(torch.equal, again, probes[0]))
    if population is None:
        population = _population(loader.dataset, pool.indices, chosen[share[0] :: share[1]], batches)
    source = "; ".join([f"of the {number:,} that are trained on", *notes])
    first = _values(batches[0][0])
    return Images(batches, len(chosen), chosen, population, pool.epoch, source, not alike, first, unsteady)


def _by_index(loader: Any, indices: Tensor, seed: int) -> Iterator[Any]:
    """The batches of `by_index`. Raises `BadInput` if the data set cannot read them."""
    try:
        yield from by_index(loader, indices, seed)
    except Exception as error:  # somebody's own data set
        kind = type(loader.dataset).__name__
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]  # of a worker, all lines of its traceback
        raise BadInput(f"train data: {kind} cannot be read by index ({why[0]}); {GIVE_BATCHES}") from error


def _population(dataset: Any, indices: Tensor, measured: Tensor, batches: list[Batch]) -> int | Tensor:
    """`Images.population`: by class if the images `measured`, which `batches` hold, have the data set's labels."""
    labels, targets = labels_of(dataset), [targets.double() for _, targets in batches]
    if labels is None or any(part.dim() != 1 for part in targets):
        return len(indices)
    if not torch.equal(labels[measured].double(), torch.cat(targets)):
        return len(indices)
    counted = _Population()
    counted.add(labels[indices])
    return counted.known


class _Population:
    """Counts images as they are read, and those of each class as long as all targets are classes.

    Attributes:
        images: how many.
        classes: int64, (classes,), how many of each.
    """

    def __init__(self) -> None:
        self.images, self.classes = 0, torch.zeros(0, dtype=torch.int64)
        self.sound = True

    def add(self, targets: Tensor) -> None:
        """Count some images."""
        self.images += len(targets)
        self.sound = self.sound and targets.dim() == 1 and not targets.is_floating_point()
        if self.sound and len(targets):
            targets = targets.long()  # not every dtype can be counted
            self.sound = 0 <= int(targets.min()) <= int(targets.max()) < _MOST_CLASSES
        if self.sound and len(targets):
            before, self.classes = self.classes, torch.bincount(targets, minlength=len(self.classes))
            self.classes[: len(before)] += before

    @property
    def known(self) -> int | Tensor:
        """`Images.population`."""
        return self.classes if self.sound else self.images


def _given(trainer: Any, wanted: Wanted, share: Share) -> Images:
    if isinstance(wanted.batches, Dataset):
        raise BadInput(f"batches: {type(wanted.batches).__name__} gives single images; give a DataLoader of it")
    if not isinstance(wanted.batches, Iterable):
        raise BadInput(
            f"batches: a list or a DataLoader of pairs (inputs, targets) is needed, not {type(wanted.batches).__name__}"
        )
    train, val = (CombinedLoader(loaders).flattened for loaders in (trainer.train_dataloader, trainer.val_dataloaders))
    batches = in_worker(wanted.batches, [*train, *val])
    given = _Population()

    def pairs() -> Iterator[Batch]:
        for inputs, targets in _pairs(trainer, batches, wanted, wanted.seed, as_trained=False):
            given.add(targets)
            if len(targets):
                yield inputs, targets

    stream = pairs()
    first = next(stream, None)
    if first is None:
        raise BadInput("batches: there are no images to measure")
    try:
        epoch = trained_on(trainer.train_dataloader, trainer.num_training_batches).epoch
    except BadInput:  # the train data cannot be read by index, so the user gave batches
        epoch = images_of(train, trainer.num_training_batches) * trainer.world_size
    room = max(1, wanted.memory // _bytes(first))
    enough = max(share[1], wanted.enough(first[0][:_PROBED], wanted.samples or _ENDLESS, epoch))
    drawn = list(some_of(chain([first], stream), min(room, enough), wanted.seed))
    number = sum(len(targets) for _, targets in drawn)
    if number < share[1]:
        raise BadInput(f"batches: {number} images to measure are fewer than the {share[1]} processes")
    note = f"; {_full(wanted)}" if number == room < min(enough, given.images) else ""
    source = f"of the {given.images:,} given by batches={note}"
    own = list(of_process(drawn, share))
    return Images(own, number, None, given.known, epoch, source, False, _values(drawn[0][0]))


def _full(wanted: Wanted) -> str:
    return f"no more, as a process keeps at most {wanted.memory / 2**30:.3g} GiB of them (memory_budget)"


def _pairs(trainer: Any, batches: Iterable[Any], wanted: Wanted, seed: int, as_trained: bool) -> Iterator[Batch]:
    """(inputs, targets) on the CPU, prepared as for the network. What hooks change in the module is undone."""
    convert, module = trainer.precision_plugin.convert_input, trainer.lightning_module
    with unchanged(module) if as_trained else nullcontext():
        for number, batch in enumerate(batches):
            with _stage(trainer, as_trained):
                torch.manual_seed(derived_seed(seed, "batch", number))
                batch = module._on_before_batch_transfer(convert(batch), dataloader_idx=0)
                batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                inputs, targets = pair(batch, wanted.batch_to_xy)
            if as_trained and _is_mixed(targets):
                raise BadInput(
                    "train data: targets are shares of classes, as of mixed images; measure images that are not mixed: "
                    "batches=[(inputs, targets), ...] or a DataLoader"
                )
            yield convert(inputs), targets


def _is_mixed(targets: Tensor) -> bool:
    """Whether they are probabilities of classes, but not one-hot."""
    if targets.dim() != 2 or targets.shape[1] == 1 or not targets.is_floating_point():
        return False
    return bool(targets.frac().any()) and bool((targets.sum(1) - 1).abs().max() < 1e-2)


@contextmanager
def _stage(trainer: Any, as_trained: bool) -> Iterator[None]:
    """Within it hooks see the training stage, or the validation stage."""
    stage = trainer.state.stage
    with torch.no_grad(), nullcontext() if as_trained else undisturbed(trainer.lightning_module):
        try:
            if not as_trained:
                trainer.state.stage = type(stage).VALIDATING
            yield
        finally:
            trainer.state.stage = stage


def _bytes(batch: Batch) -> int:
    """The bytes of an image and its target."""
    return batch[0][0].nbytes + batch[1][0].nbytes


def _values(inputs: Tensor) -> Tensor:
    values = inputs[0].flatten().float()
    return values[:: -(-len(values) // 256)].clone()
