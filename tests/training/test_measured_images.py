"""Which images the callback measures on: those trained on, or those given."""

import logging
import random
import re
import warnings
import zipfile
from io import BytesIO

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from own_training import IMAGES, Augmented, Own, Stop, Stopped, fit, warned
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from single_directions import AblationAUC, BadInput, ablation_auc
from single_directions.ablation.estimate import RepeatedEstimate
from single_directions.training.images import _Population
from single_directions.training.pool import images_of, trained_on
from single_directions.training.reading import of_process, some_of


class Plain(Augmented):
    """The same at each reading; notes what is read."""

    def __init__(self, images=IMAGES):
        super().__init__(images, noise=0)
        self.read = []

    def __getitem__(self, i):
        self.read.append(i)
        return self.inputs[i].float(), self.labels[i]


class Lists(Plain):
    """It takes whole batches of indices."""

    def __getitem__(self, i):
        assert isinstance(i, list)
        return super().__getitem__(i)


def measured_indices(loader, samples=None, **settings):
    """What the callback draws from a training's data, before the first epoch."""
    measured = AblationAUC(samples=samples)
    with pytest.raises(Stopped):
        fit(Own(), [measured, Stop()], train=loader, **settings)
    return measured._images


class Odd(Sampler):
    """A sampler of somebody's own, which draws from the global generator and counts how often it has been asked."""

    asked = 0

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        self.asked += 1
        odd = torch.arange(1, len(self.data), 2)
        return iter(odd[torch.randperm(len(odd))].tolist())

    def __len__(self):
        return len(self.data) // 2


class Uncopied(Odd):
    """It holds something that cannot be copied."""

    def __init__(self, data):
        super().__init__(data)
        self.generator = (i for i in range(3))


def loaders(data):
    """(loader, trainer's settings, the indices trained on, what is said of them)."""
    odd, first = list(range(1, IMAGES, 2)), list(range(32))
    weights = torch.arange(IMAGES) < 3
    return {
        "shuffled": (DataLoader(data, 16, shuffle=True), {}, list(range(IMAGES)), ""),
        "in order": (DataLoader(data, 16), {}, list(range(IMAGES)), ""),
        "subset": (DataLoader(Subset(data, odd), 16, shuffle=True), {}, list(range(IMAGES // 2)), ""),
        "some indices": (DataLoader(data, 16, sampler=SubsetRandomSampler(odd)), {}, odd, ""),
        "weighted": (DataLoader(data, 16, sampler=WeightedRandomSampler(weights.double(), 48)), {}, [0, 1, 2], ""),
        "own sampler": (DataLoader(data, 16, sampler=Odd(data)), {}, odd, ""),
        "own batch sampler": (DataLoader(data, batch_sampler=BatchSampler(Odd(data), 8, False)), {}, odd, ""),
        "lists of indices": (DataLoader(Lists(), None, sampler=BatchSampler(range(32), 8, False)), {}, first, ""),
        "limited, in order": (DataLoader(data, 16), {"limit_train_batches": 2}, first, ""),
        "limited, last batch dropped": (DataLoader(data, 40, drop_last=True), {}, list(range(80)), ""),
        "overfit": (DataLoader(data, 16, shuffle=True), {"overfit_batches": 2}, first, ""),
        "limited, shuffled": (
            DataLoader(data, 16, shuffle=True), {"limit_train_batches": 2}, list(range(IMAGES)),
            "an epoch trains on 32 of these 96, different ones each time",
        ),
        "not copied": (
            DataLoader(data, 16, sampler=Uncopied(data)), {}, list(range(IMAGES)),
            "drawn from all images of the data set, as BatchSampler cannot be copied",
        ),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.parametrize("kind", loaders(Plain()))
def test_images_are_those_an_epoch_trains_on(kind):
    loader, settings, indices, said = loaders(Plain())[kind]
    images = measured_indices(loader, **settings)
    assert sorted(set(images.indices.tolist())) == indices
    assert said in images.source
    assert f"of the {images.number} that are trained on" in images.source
    if not said:
        assert ";" not in images.source
    # A weighted sampler's images are there as often as they are drawn.
    assert images.number == images.population.sum() == (48 if kind == "weighted" else len(indices))
    assert images.epoch == (32 if "limited, shuffled" in kind else images.number)
    data = loader.dataset.dataset if isinstance(loader.dataset, Subset) else loader.dataset
    at = torch.tensor(loader.dataset.indices)[images.indices] if isinstance(loader.dataset, Subset) else images.indices
    assert torch.cat([inputs for inputs, _ in images.batches]).equal(data.inputs[at].float())
    assert torch.cat([targets for _, targets in images.batches]).equal(data.labels[at])
    assert images.population.equal(torch.bincount(data.labels[at]))


class Relabelled(Plain):
    """It gives other labels than it holds."""

    def __getitem__(self, i):
        inputs, label = super().__getitem__(i)
        return inputs, 9 - label


def test_classes_of_the_population_are_known_where_the_data_set_holds_the_labels():
    data = Plain()
    images = measured_indices(DataLoader(data, 16, shuffle=True), samples=30)
    assert images.number == 30
    assert images.population.equal(torch.bincount(data.labels))
    assert len(data.read) == 8 + 30  # no others
    assert measured_indices(DataLoader(Relabelled(), 16), samples=30).population == IMAGES
    floats = [(inputs, label.float()) for inputs, label in (Plain()[i] for i in range(IMAGES))]
    assert measured_indices(DataLoader(floats, 16), samples=30).population == IMAGES


def test_classes_of_given_batches_are_counted_as_they_are_read():
    data = Plain()
    measured = AblationAUC(batches=DataLoader(data, batch_size=10), samples=25)
    fit(Own(), [measured, Kept()], epochs=1, train=DataLoader(data, 16))
    assert Kept.images.population.equal(torch.bincount(data.labels))
    assert measured.latest.class_counts.equal(torch.bincount(data.labels))
    assert measured.latest.population == IMAGES


def test_a_population_is_counted_by_class_until_a_target_is_none():
    for later in (torch.tensor([-1]), torch.tensor([10**9]), torch.tensor([0.5]), torch.zeros(1, 2, dtype=torch.int64)):
        population = _Population()
        population.add(torch.tensor([0, 3, 3]))
        population.add(torch.tensor([], dtype=torch.int64))
        population.add(torch.tensor([1], dtype=torch.uint8))
        assert population.known.tolist() == [1, 1, 0, 2]
        population.add(later)
        population.add(torch.tensor([0]))
        assert population.known == population.images == 6


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64])
def test_targets_of_any_whole_dtype_are_counted(dtype):
    counted = _Population()
    counted.add(torch.tensor([0, 1, 1], dtype=dtype))
    counted.add(torch.tensor([1], dtype=dtype))
    assert counted.known.tolist() == [1, 3]


def test_given_batches_may_have_truth_values_for_targets():
    inputs, truth = Plain().inputs.float(), Plain().labels > 4
    measured = AblationAUC(batches=DataLoader(TensorDataset(inputs, truth), 32))
    fit(Own(), [measured], epochs=1)
    assert measured.latest.class_counts.tolist()[:2] == torch.bincount(truth.long()).tolist()


class Keyed(Plain):
    """Its images have names, or are asked for with their size."""

    def __getitem__(self, key):
        return super().__getitem__(int(key[0]) if isinstance(key, tuple) else int(key.removeprefix("image ")))


NAMES, SIZED = [f"image {i}" for i in range(IMAGES)], [(i, 8) for i in range(IMAGES)]
KEYED = {
    "names": lambda: {"sampler": NAMES},
    "shuffled names": lambda: {"sampler": SubsetRandomSampler(NAMES)},
    "sizes": lambda: {"batch_sampler": BatchSampler(SIZED, 16, False)},
    "names, batch by batch": lambda: {"batch_size": None, "sampler": NAMES},
    "shuffled names that are numbers": lambda: {"sampler": SubsetRandomSampler([str(i) for i in range(IMAGES)])},
    "a sampler that cannot be copied": lambda: {"sampler": Uncopied(Plain())},
}


@pytest.mark.parametrize("kind", KEYED)
def test_images_that_are_not_asked_for_by_index_ask_for_batches(kind):
    class Named(Keyed):
        def __getitem__(self, key):
            if isinstance(key, int):
                raise KeyError(key)
            return super().__getitem__(key)

    settings = KEYED[kind]()
    loader = DataLoader(
        Named(),
        **{**({} if "batch_size" in settings or "batch_sampler" in settings else {"batch_size": 16}), **settings},
    )
    with pytest.raises(BadInput, match=r"train data: .*give the images to measure on: batches="):
        fit(Own(), [AblationAUC(), Stop()], train=loader)
    measured = AblationAUC(batches=DataLoader(Plain(), 16))
    with pytest.raises(Stopped):
        fit(Own(), [measured, Stop()], train=loader)
    assert measured.form["images"] == IMAGES


def test_a_sampler_is_left_as_it_was():
    data = Plain()
    generator = torch.Generator().manual_seed(5)
    for sampler in (Odd(data), WeightedRandomSampler(torch.ones(IMAGES), 20, generator=generator)):
        before = generator.get_state()
        trained_on(DataLoader(data, 8, sampler=sampler), 3)
        assert generator.get_state().equal(before)
    assert Odd.asked == 0
    assert data.read == []


def test_a_sampler_without_an_end_is_followed_for_as_many_draws_as_there_are_images():
    class Endless(Sampler):
        def __iter__(self):
            while True:
                yield 7

    indices = trained_on(DataLoader(Plain(), 10, sampler=Endless()), float("inf")).indices
    assert indices.tolist() == [7] * 100


def test_images_without_an_index_ask_for_batches():
    for loader in (DataLoader(Plain(), batch_size=None), DataLoader(Plain(), sampler=SubsetRandomSampler([]))):
        with pytest.raises(BadInput, match="give the images to measure on: batches="):
            trained_on(loader, 4)


def test_what_a_random_sampler_drew_first_is_measured_after_a_resume(tmp_path):
    """Its generator is not in the checkpoint: without it the resumed training would measure other images."""
    weights = torch.arange(1, IMAGES + 1).double()

    def drawn(seed, *callbacks, **settings):
        sampler = WeightedRandomSampler(weights, 40, generator=torch.Generator().manual_seed(seed))
        fit(
            Own(),
            [AblationAUC(), Kept(), *callbacks],
            train=DataLoader(Augmented(noise=0), 16, sampler=sampler),
            **settings,
        )
        seen.append(Kept.images.indices.tolist())
        populations.append(Kept.images.population)

    seen, populations = [], []
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    drawn(1, saver, epochs=1)
    drawn(2, epochs=2, checkpoint=saver.best_model_path)
    drawn(2, epochs=1)
    assert seen[0] == seen[1] != seen[2]
    assert populations[0].equal(populations[1])
    assert not populations[0].equal(populations[2])
    state = torch.load(saver.best_model_path, weights_only=True)  # as of a version that knew no classes
    for callback_state in state["callbacks"].values():
        callback_state.get("known", {}).pop("population", None)
        for name in ("classes", "class_counts"):
            (callback_state.get("best") or {}).pop(name, None)
    torch.save(state, tmp_path / "old.ckpt")
    drawn(1, epochs=2, checkpoint=tmp_path / "old.ckpt")
    assert seen[3] == seen[0]
    assert populations[3] == 40


class Mixing(Own):
    """An image's output depends on the others of its batch."""

    def __init__(self):
        super().__init__()
        self.norm.track_running_stats, self.norm.running_mean, self.norm.running_var = False, None, None


class Transfers(Own):
    """Batches are dicts of whole numbers until they are on the device."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return {"x": batch[0], "y": batch[1], "validation": self.trainer.validating}

    def on_after_batch_transfer(self, batch, dataloader_idx):
        assert self.training != batch["validation"]
        return batch["x"].float() / (2 if batch["validation"] else 10), batch["y"]


@pytest.mark.parametrize("where", ["module", "datamodule"])
def test_hooks_around_the_transfer_are_applied(where):
    data = Plain()
    if where == "module":
        fit(Transfers(), [AblationAUC(), Kept()], epochs=1, train=DataLoader(data, 16))
    else:

        class Data(pl.LightningDataModule):
            def train_dataloader(self):
                return DataLoader(data, 16)

            def on_after_batch_transfer(self, batch, dataloader_idx):
                return batch[0] / 10, batch[1]

        fit(Own(), [AblationAUC(), Kept()], epochs=1, train=Data())
    inputs, targets = Kept.images.batches[0]
    assert inputs.equal(data.inputs[Kept.images.indices[: len(inputs)]] / 10)
    assert targets.equal(data.labels[Kept.images.indices[: len(inputs)]])


class Normalizing(Own):
    """Its hook counts batches and keeps running statistics of the images."""

    def __init__(self):
        super().__init__()
        self.inputs, self.batches = torch.nn.BatchNorm2d(1, affine=False), 0

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.batches += 1
        return self.inputs(batch[0].float()) * min(1, self.batches / 20), batch[1]


def test_hooks_that_keep_state_see_the_training_alone():
    modules = []
    for callbacks in ([], [AblationAUC()]):
        torch.manual_seed(0)
        modules.append(Normalizing())
        fit(modules[-1], callbacks, epochs=2, train=DataLoader(Plain(), 16))
    assert modules[0].batches == modules[1].batches == 12
    states = [module.state_dict() for module in modules]
    assert all(value.equal(states[1][name]) for name, value in states[0].items())


class Mixup(Own):
    """It mixes images, and their labels, in training."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        shares = torch.nn.functional.one_hot(batch[1], 10).float()
        mixed = [0.7 * part + 0.3 * part.flip(0) for part in (batch[0].float(), shares)]
        return mixed if self.training else (batch[0].float(), batch[1])


def test_mixed_images_ask_for_others():
    with pytest.raises(BadInput, match=r"targets are shares of classes, as of mixed images; .*: batches="):
        fit(Mixup(), [AblationAUC(), Stop()], train=DataLoader(Plain(), 16))
    measured = AblationAUC(batches=DataLoader(Plain(), 16))
    fit(Mixup(), [measured], epochs=1, train=DataLoader(Plain(), 16))
    assert list(measured.values) == [0]


class Kept(pl.Callback):
    """Keeps what was read."""

    def on_train_start(self, trainer, pl_module):
        Kept.images = next(c for c in trainer.callbacks if isinstance(c, AblationAUC))._images


def test_given_batches_go_through_the_hooks_as_in_validation():
    data = Plain()
    module = Transfers()
    fit(module, [AblationAUC(batches=[(data.inputs, data.labels)]), Kept()], epochs=1,
        train=DataLoader(data, 16))  # fmt: skip
    assert Kept.images.batches[0][0].equal(data.inputs / 2)


def test_given_batches_without_an_image_are_passed_over():
    inputs, labels = Plain().inputs.float(), Plain().labels
    measured = AblationAUC(batches=[(inputs[:0], labels[:0]), (inputs, labels)])
    fit(Own(), [measured], epochs=1, train=DataLoader(Plain(), 16))
    assert measured.form["images"] == IMAGES


def test_samples_limits_given_batches():
    data = Plain()
    given = DataLoader(data, batch_size=10)
    parts = []
    for seed in (0, 0, 1):
        measured = AblationAUC(batches=given, samples=25, seed=seed)
        fit(Own(), [measured, Kept()], epochs=1, train=DataLoader(data, 16))
        assert measured.form["images"] == 25
        parts.append(torch.cat([inputs for inputs, _ in Kept.images.batches]))
    assert parts[0].equal(parts[1])
    assert not parts[0].equal(parts[2])


class Endless(IterableDataset):
    """A stream without an end."""

    def __iter__(self):
        while True:
            yield from zip(Plain().inputs.float(), Plain().labels, strict=True)


@pytest.mark.parametrize(
    ("loaders", "batches", "images"),
    [
        ([DataLoader(Endless(), 16)], 5, 80),
        ([DataLoader(Endless(), 16)], float("inf"), 0),
        ([DataLoader(Plain(), 16), DataLoader(Plain(40), 8)], 6, 6 * 16 + 5 * 8),  # the second ends after 5 batches
        ([[Plain().inputs]], 5, 0),
    ],
    ids=["limited", "endless", "two", "no DataLoader"],
)
def test_images_of_an_epoch_without_an_index_are_counted_by_the_loaders(loaders, batches, images):
    """Not by the batches that are measured, which may hold any number of images."""
    assert images_of(loaders, batches) == images


def test_a_stream_is_an_epoch_of_its_own_length():
    measured = AblationAUC(batches=[(Plain().inputs.float(), Plain().labels)])
    fit(Own(), [measured, Kept()], epochs=1, train=DataLoader(Endless(), 16), limit_train_batches=5)
    assert Kept.images.epoch == 80


def test_some_of_a_stream_is_drawn_uniformly_and_shared():
    pairs = [(torch.arange(i, i + 10), torch.arange(i, i + 10)) for i in range(0, 100, 10)]
    counts = torch.zeros(100)
    for seed in range(400):
        some = torch.cat([y for _, y in some_of(pairs, 20, seed)])
        assert len(some) == len(some.unique()) == 20
        counts[some] += 1
    assert (counts.view(10, 10).sum(1) - 800).abs().max() < 5 * (800 * 0.9) ** 0.5  # no part of the stream is preferred
    shares = [torch.cat([y for _, y in of_process(some_of(pairs, 20, 0), (n, 3))]) for n in range(3)]
    assert torch.cat(shares).sort().values.equal(torch.cat([y for _, y in some_of(pairs, 20, 0)]))


@pytest.mark.parametrize("images", [20, 5])
def test_images_take_no_more_memory_than_is_allowed(images):
    """An image is 64 float32 and a label of 8 bytes. Fewer than are read to look for augmentation are not augmented."""
    for given in ({}, {"batches": DataLoader(Plain(), 16)}):
        measured = AblationAUC(memory_budget=images * (64 * 4 + 8) + 5, **given)
        fit(Own(), [measured, Kept()], epochs=1, train=DataLoader(Plain(), 16))
        assert measured.form["images"] == images
        assert "GiB" in Kept.images.source


def augmented(noise):
    return DataLoader(Augmented(noise=noise), 16, shuffle=True)


@pytest.mark.filterwarnings("ignore:.*augmented at random")
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_follows_from_the_seed(workers):
    """The same whatever was drawn before, which `random`, NumPy and torch are asked for."""
    seen = []
    for seed, before in ((0, 1), (0, 2), (3, 1)):
        torch.manual_seed(before)
        random.seed(before)
        np.random.seed(before)  # noqa: NPY002
        loader = DataLoader(Augmented(noise=0.5), 16, shuffle=True, num_workers=workers)
        fit(Own(), [AblationAUC(samples=10, seed=seed), Kept()], epochs=1, train=loader)
        order = Kept.images.indices.argsort()
        seen.append(Kept.images.batches[0][0][order])
        plain = Augmented(noise=0).inputs[Kept.images.indices.sort().values]
        drawn = (seen[-1] - plain).flatten(1).mean(1)
        assert len(drawn.unique()) == 10  # each image has its own
    assert seen[0].equal(seen[1])
    assert not seen[0].equal(seen[2])


def test_random_augmentation_is_warned_of():
    with pytest.warns(UserWarning, match=r"augmented at random; each is measured as seed=0 draws it.*give batches="):
        fit(Own(), [AblationAUC()], epochs=1, train=augmented(0.1))
    fit(Own(), [AblationAUC()], epochs=1, train=augmented(0))  # a warning would be an error

    class Noise(Own):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch[0] + torch.rand_like(batch[0]), batch[1]

    with pytest.warns(UserWarning, match="augmented at random"):
        fit(Noise(), [AblationAUC()], epochs=1, train=augmented(0))


class Jitter:
    """A transform that draws from a generator of its own."""

    def __init__(self, generator):
        self.generator = generator

    def __call__(self, images):
        if isinstance(self.generator, torch.Generator):
            return images + torch.rand((), generator=self.generator)
        return images + self.generator.random()


class Transformed(Plain):
    def __init__(self, transform):
        super().__init__()
        self.transforms = [transform]

    def __getitem__(self, i):
        return self.transforms[0](self.inputs[i]).float(), self.labels[i]


class Fading(Jitter):
    """It changes images by how many have been read."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images / self.calls


class Late(Jitter):
    """Its generator is made at the first read."""

    def __call__(self, images):
        self.generator = self.generator or random.Random(0)
        return super().__call__(images)


@pytest.mark.filterwarnings("ignore:.*augmented at random")
@pytest.mark.parametrize(
    "draw",
    [torch.Generator, lambda: np.random.default_rng(0), lambda: np.random.RandomState(0), lambda: random.Random(0)],
    ids=["torch", "NumPy", "NumPy's old", "Python"],
)
@pytest.mark.parametrize("given", [False, True])
def test_generators_of_the_data_set_draw_as_without_the_callback(draw, given):
    weights = []
    for measures in (False, True):
        data = Transformed(Jitter(draw()))
        loader = DataLoader(ConcatDataset([Subset(data, range(40)), data]), 16)
        torch.manual_seed(0)
        module = Own()
        fit(module, [AblationAUC(batches=DataLoader(data, 16) if given else None)] * measures, epochs=2, train=loader)
        weights.append(module.first.weight)
    assert weights[0].equal(weights[1])


@pytest.mark.filterwarnings("ignore:.*augmented at random")
@pytest.mark.parametrize("transform", [Fading, lambda: Late(None)], ids=["counter", "generator made late"])
def test_a_data_set_that_measuring_advances_is_warned_of_unless_workers_read_it(transform):
    with pytest.warns(UserWarning, match=r"read twice .* is not the same.* \(num_workers\).*: batches="):
        fit(Own(), [AblationAUC()], epochs=1, train=DataLoader(Transformed(transform()), 16))
    fit(Own(), [AblationAUC()], epochs=1, train=DataLoader(Transformed(transform()), 16, num_workers=1))


def padded(batch):
    """Images as wide as the widest of the batch."""
    width = max(inputs.shape[-1] for inputs, _ in batch)
    inputs = torch.stack([torch.nn.functional.pad(inputs, (0, width - inputs.shape[-1])) for inputs, _ in batch])
    return inputs, torch.stack([label for _, label in batch])


class Ragged(Plain):
    """Each image has a width of its own; `random`: another at each reading."""

    random = False

    def __getitem__(self, i):
        inputs, label = super().__getitem__(i)
        return torch.nn.functional.pad(inputs, (0, int(torch.randint(IMAGES, ())) if self.random else i)), label


class Cropping(Own):
    def forward(self, images):
        return super().forward(images[..., :8])


@pytest.mark.parametrize("random", [False, True])
def test_images_padded_to_their_batch_are_no_augmentation(random, monkeypatch):
    monkeypatch.setattr(Ragged, "random", random)
    loader = DataLoader(Ragged(), 32, shuffle=True, collate_fn=padded)
    with warned("augmented at random" if random else None):
        fit(Cropping(), [AblationAUC()], epochs=1, train=loader)


@pytest.mark.filterwarnings("ignore:.*augmented at random")
def test_augmentation_that_is_not_the_same_after_a_resume_is_warned_of(tmp_path):
    class OwnGenerator(Plain):
        def __init__(self):
            super().__init__()
            self.generator = np.random.default_rng()

        def __getitem__(self, i):
            return (self.inputs[i] + self.generator.random()).float(), self.labels[i]

    for data in (OwnGenerator, lambda: Augmented(noise=0.5)):
        saver = ModelCheckpoint(tmp_path / str(data), filename="last", save_on_train_epoch_end=True)
        fit(Own(), [AblationAUC(), saver], epochs=1, train=DataLoader(data(), 16))
        resumed = AblationAUC()
        again = {"epochs": 2, "train": DataLoader(data(), 16), "checkpoint": saver.best_model_path}
        with warned("the images are not those measured before" if data is OwnGenerator else None):
            fit(Own(), [resumed], **again)


class Zipped(torch.utils.data.Dataset):
    """Images in a zip file that is opened at the first read, as is usual with workers; all processes are told apart."""

    def __init__(self, path, images):
        self.path, self.images, self.file = path, images, None

    def __len__(self):
        return self.images

    def __getitem__(self, i):
        if self.file is None:
            self.file = zipfile.ZipFile(self.path)
        image = torch.load(BytesIO(self.file.read(f"{i}.pt")), weights_only=True)
        assert image.flatten()[0] == i
        return image, i % 10


@pytest.fixture
def zipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for i in range(120):
            buffer = BytesIO()
            torch.save(torch.full((1, 8, 8), float(i)), buffer)
            file.writestr(f"{i}.pt", buffer.getvalue())
    return Zipped(tmp_path / "images.zip", 120)


@pytest.mark.parametrize("read", ["train", "part of train", "part of joined", "part of validation"])
def test_a_file_that_is_opened_at_the_first_read_is_not_opened_in_this_process(zipped, read):
    """Workers that are forked later would share its position: BadZipFile, or the wrong images."""

    class Validated(Own):
        def val_dataloader(self):
            return DataLoader(zipped, 40, num_workers=2)

    joined = {"part of joined": ConcatDataset([zipped, Subset(zipped, range(8))]), "part of validation": Plain()}
    loader = DataLoader(joined.get(read, zipped), 8, shuffle=True, num_workers=2 * (read != "part of validation"))
    batches = None if read == "train" else DataLoader(Subset(zipped, range(40)), 8)
    measured = AblationAUC(batches=batches)
    own = Validated if read == "part of validation" else Own
    fit(own(lr=1e-6), [measured], epochs=2, train=loader, num_sanity_val_steps=0)
    assert zipped.file is None
    assert measured.form["images"] == (120 if read == "train" else 40)


def test_batches_of_another_data_set_are_read_here():
    """Their loader may hold what no worker can take, as a function within a function."""

    def stacked(samples):
        return torch.stack([x.float() for x, _ in samples]), torch.tensor([y for _, y in samples])

    train = TensorDataset(torch.rand(16, 1, 8, 8), torch.arange(16) % 10)
    other = TensorDataset(Plain().inputs, Plain().labels)
    measured = AblationAUC(batches=DataLoader(other, 8, collate_fn=stacked))
    spawned = {"num_workers": 1, "multiprocessing_context": "spawn", "persistent_workers": True}
    fit(Own(), [measured], epochs=1, train=DataLoader(train, 8, **spawned))
    assert measured.form["images"] == len(other)


def test_a_stream_is_read_in_a_worker_too():
    class Stream(IterableDataset):
        def __iter__(self):
            assert torch.utils.data.get_worker_info() is not None
            return iter(zip(Plain().inputs.float(), Plain().labels, strict=True))

    measured = AblationAUC(batches=DataLoader(Stream(), 16), samples=30)
    fit(Own(), [measured], epochs=1, train=DataLoader(Stream(), 16, num_workers=1))
    assert measured.form["images"] == 30


def test_a_worker_prepares_its_data_set_as_in_training(zipped):
    class Opened(Zipped):
        def __getitem__(self, i):
            assert self.opened is self.file is not None
            return super().__getitem__(i)

    def open_file(worker):
        data = torch.utils.data.get_worker_info().dataset
        data.file = data.opened = zipfile.ZipFile(data.path)

    data = Opened(zipped.path, 120)
    measured = AblationAUC()
    fit(Own(lr=1e-6), [measured], epochs=1, train=DataLoader(data, 40, num_workers=1, worker_init_fn=open_file))
    assert measured.form["images"] == 120


@pytest.mark.parametrize(
    ("module", "classes", "told"),
    [
        (Own(), 2, "weighted by class; "),
        (Own(), 10, ""),  # four images of each class are too few
        (Mixing(), 2, ""),
    ],
    ids=["two classes", "ten classes", "images share masks"],
)
def test_start_line_says_what_is_measured(caplog, module, classes, told):
    data = Plain()
    data.labels = data.labels % classes
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[AblationAUC(samples=40), Stop()],
    )
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        with pytest.raises(Stopped):
            trainer.fit(module, DataLoader(data, 16, shuffle=True))
    [line] = [record.getMessage() for record in caplog.records if "AblationAUC:" in record.getMessage()]
    assert re.search(
        rf"2 sites, 24 units; 40 images of the 96 that are trained on; {told}[\d,]+ masks, which cost ", line
    )


def test_replacement_is_followed():
    sampler = RandomSampler(range(IMAGES), replacement=True, num_samples=500)
    torch.manual_seed(0)
    indices = trained_on(DataLoader(Plain(), 50, sampler=sampler), 10).indices
    assert len(indices) == 500
    assert len(indices.unique()) > 80


def test_a_process_whose_share_has_one_class_alone_measures_it():
    """Every second of the given images is of class 0: of two processes one has all of them."""
    data = Plain()
    data.labels = torch.arange(IMAGES) % 2
    measured = AblationAUC(batches=[(data.inputs.float(), data.labels)])
    with pytest.raises(Stopped):
        fit(Own(), [measured, Stop()], train=DataLoader(data, 16))
    share = list(of_process(measured._images.batches, (0, 2)))
    assert torch.cat([targets for _, targets in share]).unique().tolist() == [0]
    own = RepeatedEstimate(Own(), share, masks=240, masks_per_image=5, population=measured._images.population)()
    assert own.population == IMAGES
    with pytest.raises(BadInput, match="hardly any image of some classes"):
        ablation_auc(Own(), share, masks=240, masks_per_image=5, population=measured._images.population)
