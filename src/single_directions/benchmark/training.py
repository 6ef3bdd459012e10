"""An epoch of training: this package's, a bare PyTorch loop, and Lightning over per-sample transforms."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from single_directions.benchmark.clock import Record, timed, train
from single_directions.data import DataSet, Images
from single_directions.networks import MLP
from single_directions.training import Classifier, Loaders, quiet

IMAGES, BATCH, SHAPE, CLASSES = 60_000, 128, (1, 28, 28), 10
_sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def training(repeats: int = 5, images: int = IMAGES, device: str = "cpu") -> Iterator[list[Record]]:
    """Time an epoch of the MLP (2 x 512) on MNIST-shaped noise, batches of 128, in each way, in turns.

    All train alike: SGD with momentum, shuffled anew each epoch, nothing measured.
    """
    pixels = torch.randint(256, (images, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(CLASSES, (images,), generator=torch.Generator().manual_seed(1))
    held = Images(pixels, labels, [0.1307], [0.3081])
    data = DataSet("noise", held, held, held, CLASSES, SHAPE, "", 0)
    network = MLP(SHAPE, CLASSES).to(device)
    samples = _Samples(pixels.squeeze(1).numpy(), labels.tolist())
    ways: dict[str, Callable[[], float]] = {
        "bare loop": _bare_loop(network, held, device),
        "single-directions": lambda: _fit_epoch(network, device, datamodule=Loaders(data, BATCH, seed=0)),
        "per-sample transforms": lambda: _fit_epoch(
            network, device, train_dataloaders=DataLoader(samples, batch_size=BATCH, shuffle=True)
        ),
    }
    rounds = [{name: way() for name, way in ways.items()} for _ in range(1 + repeats)]
    medians = {name: statistics.median(seconds[name] for seconds in rounds[1:]) for name in ways}  # the first warms up
    yield [
        {
            "case": "training",
            "method": name,
            "seconds": median,
            "ratio_to_bare_loop": median / medians["bare loop"],
            "ratio_to_single_directions": median / medians["single-directions"],
            "images": images,
            "batch": BATCH,
        }
        for name, median in medians.items()
    ]


def _bare_loop(network: nn.Module, held: Images, device: str) -> Callable[[], float]:
    inputs = held.__getitems__(torch.arange(len(held)))[0].to(device)
    labels, optimizer = held.labels.to(device), _sgd(network.parameters())

    def epoch() -> None:
        order = torch.randperm(len(labels), device=device)
        train(network, optimizer, ((inputs[chosen], labels[chosen]) for chosen in order.split(BATCH)))

    return lambda: timed(epoch, device)


class _EpochSeconds(pl.Callback):
    """How long the last epoch's training took."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.start


def _fit_epoch(network: nn.Module, device: str, **loaders: Any) -> float:
    """Seconds of an epoch by Lightning."""
    clock = _EpochSeconds()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on few workers: what is being timed
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="gpu" if device == "cuda" else device,
            devices=1,
            callbacks=[clock],
            logger=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(network, _sgd), **loaders)
    return clock.seconds


class _Samples(Dataset[tuple[Tensor, int]]):
    """One image at a time through PIL and torchvision's transforms, as its data sets do."""

    def __init__(self, pixels: np.ndarray, labels: list[int]) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]
