"""A LightningModule as a user might write it, and its training, for tests in one process and in several."""

import random
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.utils.data import DataLoader, Dataset

from single_directions.data import digits
from single_directions.training import quiet

IMAGES = 96


class Augmented(Dataset):
    """Some digits; every read draws from all three global generators and changes the image by what was drawn."""

    def __init__(self, images: int = IMAGES, noise: float = 0.1) -> None:
        train = digits(train_samples=images, test_samples=50).train
        self.inputs = torch.stack([train[i][0] for i in range(images)])
        self.labels, self.noise = train.labels, noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        drawn = torch.rand(()) + random.random() + np.random.random()  # noqa: NPY002 as people do
        return (self.inputs[i] + self.noise * drawn).float(), self.labels[i]


class Own(pl.LightningModule):
    """Functional ReLUs, a residual connection, batch norm, dropout."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 12), nn.Linear(12, 12)
        self.norm, self.dropout, self.head = nn.BatchNorm1d(12), nn.Dropout(0.3), nn.Linear(12, 10)
        self.lr = lr

    def forward(self, images: Tensor) -> Tensor:
        hidden = relu(self.norm(self.first(images.flatten(1))))
        return self.head(self.dropout(hidden + relu(self.second(hidden))))

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Stopped(Exception):
    pass


class Stop(pl.Callback):
    """Ends a training before its first epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise Stopped


def fit(
    module: pl.LightningModule,
    callbacks: Any,
    epochs: int = 3,
    train: Any = None,
    validation: bool = False,
    checkpoint: Any = None,
    **settings: Any,
) -> pl.Trainer:
    """Train, and return the trainer."""
    pl.seed_everything(0, verbose=False)
    loader = train if train is not None else DataLoader(Augmented(), batch_size=16, shuffle=True)
    settings = {"accelerator": "cpu", "devices": 1, "logger": False, **settings}
    with quiet():
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        )
        held_out = DataLoader(Augmented(), batch_size=48) if validation else None
        trainer.fit(module, loader, held_out, ckpt_path=checkpoint, weights_only=True)
    return trainer


def warned(says: str | None) -> AbstractContextManager:
    """What is inside warns of that; with None of nothing, as a warning would be an error."""
    return nullcontext() if says is None else pytest.warns(UserWarning, match=says)
