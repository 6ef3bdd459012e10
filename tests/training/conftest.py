"""Small trainings of small networks on digits."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from single_directions.data import DataSet, digits
from single_directions.networks import MLP
from single_directions.training import Classifier, Loaders, quiet


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data() -> DataSet:
    """130 training and 50 test digits."""
    return digits(train_samples=130, test_samples=50)


@pytest.fixture
def network() -> MLP:
    """A narrow MLP with dropout."""
    torch.manual_seed(0)
    return MLP((1, 8, 8), 10, hidden=(16,), dropout=0.5)


@pytest.fixture
def trained() -> Callable[..., pl.Trainer]:
    """Trains a network and returns the trainer."""

    def train(
        network: nn.Module,
        data: DataSet,
        epochs: int = 2,
        callbacks: Any = (),
        checkpoint: Any = None,
        lr: float = 0.1,
        check_val_every_n_epoch: int = 1,
        **settings: Any,
    ) -> pl.Trainer:
        classifier = Classifier(network, partial(torch.optim.SGD, lr=lr, momentum=0.9), **settings)
        with quiet():
            trainer = pl.Trainer(
                max_epochs=epochs,
                check_val_every_n_epoch=check_val_every_n_epoch,
                callbacks=list(callbacks),
                accelerator="cpu",
                logger=False,
                enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            trainer.fit(classifier, datamodule=Loaders(data, 32, 0), ckpt_path=checkpoint, weights_only=True)
        return trainer

    return train
