"""Trainings whose AUC is measured after every epoch more finely than a callback would, and what measuring costs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from single_directions.ablation import ablation_curve
from single_directions.benchmark.precision import areas
from single_directions.data import collate
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.config import composed
from single_directions.runs.folder import replacing
from single_directions.training import Classifier, Loaders, quiet

Setting = tuple[int, int, int]
"""Orderings, points, images."""
FINEST = 41
POINTS = (11, 21, FINEST)
SETTINGS: tuple[Setting, ...] = (
    *product((1, 5, 10, 20, 40), (21,), (250, 500, 1000, 2000)),
    *product((10,), (11, FINEST), (1000,)),
    *product((5, 10), (21,), (5000,)),
)
ORDERINGS, IMAGES, PORTION = 40, 1000, 250
"""By which the AUC is known; images measured together, each such portion standing for as many drawn anew."""
TRAINING = "experiment=early_stopping_grid scale=paper network.hidden=[512,512]"
OF_THE_GRID = (
    "optimizer=adam data.train_samples=10000 seed=0 trainer.max_epochs=41",
    "optimizer=adam data.train_samples=10000 seed=1 trainer.max_epochs=43",
    "optimizer=adam data.train_samples=2000 seed=2 trainer.max_epochs=56",
    "optimizer=adam_slow data.train_samples=10000 seed=3 trainer.max_epochs=65",
)
"""Trainings of the grid in which the AUC turned down in 100 epochs, each to 25 epochs after its peak there."""
TIMED_AT = 40
"""The epoch after which all settings are timed."""


@dataclass(frozen=True)
class Watched:
    """One training.

    Attributes:
        training: what is overridden in its configuration.
        areas: for each number of points, the AUC (epochs, orderings, portions).
        costs: of each setting, on how many images could have been trained in the time it takes of the CPU.
    """

    training: str
    areas: Mapping[int, Tensor]
    costs: Mapping[Setting, float]

    @property
    def auc(self) -> Tensor:
        """(epochs,), by all orderings, points and images."""
        return self.areas[FINEST].mean((1, 2))


class Watch(pl.Callback):
    """Measures after each epoch, and times the settings."""

    def __init__(self, images: Batch, trained_on: int, orderings: int, portion: int) -> None:
        self.images, self.trained_on, self.orderings, self.portion = images, trained_on, orderings, portion
        self.areas: list[dict[int, Tensor]] = []
        self.costs: dict[Setting, float] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock, of the CPU: other programs do not count."""
        self._start = time.process_time()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures."""
        an_image = (time.process_time() - self._start) / self.trained_on
        network: Any = pl_module.network
        self.areas.append(areas(network, self.images, self.orderings, POINTS, self.portion))
        if trainer.current_epoch + 1 == TIMED_AT:
            self.costs = {setting: self._seconds(network, setting) / an_image for setting in SETTINGS}

    def _seconds(self, network: Any, setting: Setting) -> float:
        orderings, points, images = setting
        taken = torch.arange(images) % len(self.images[1])  # which ones makes no difference to the time
        batch = tuple(tensor[taken] for tensor in self.images)
        start = time.process_time()
        ablation_curve(network, [batch], orderings=orderings, points=points)
        return time.process_time() - start


def watch(training: str, orderings: int = ORDERINGS, images: int = IMAGES, portion: int = PORTION) -> Watched:
    """Train as the configuration with these overrides says, on the CPU, and watch it."""
    config = composed(training.split())
    parts = build(config)
    train = parts.data.train_plain
    taken = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:images]
    callback = Watch(collate([train[int(i)] for i in taken]), len(train), orderings, portion)
    with quiet():
        trainer = pl.Trainer(
            max_epochs=config["trainer"]["max_epochs"],
            accelerator="cpu",
            callbacks=[callback],
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        classifier = Classifier(parts.network, parts.optimizer, parts.scheduler, seed=config["seed"])
        trainer.fit(classifier, datamodule=Loaders(parts.data, config["batch_size"], config["seed"]))
    epochs = {points: torch.stack([epoch[points] for epoch in callback.areas]) for points in POINTS}
    return Watched(training, epochs, callback.costs)


def watched(training: str, folder: Path) -> Watched:
    """What was watched of a training, from its file in a folder, or after training now.

    Raises:
        BadInput: the file was made by another version, with other settings.
    """
    path = folder / f"{training.replace(' ', ',')}.pt"
    if path.exists():
        found = Watched(**torch.load(path))
        if found.areas[FINEST].shape[1:] != (ORDERINGS, IMAGES // PORTION) or set(found.costs) != set(SETTINGS):
            raise BadInput(f"{path}: was measured with other settings; remove it to measure again")
        return found
    found = watch(training)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        torch.save(vars(found), beside)
    return found
