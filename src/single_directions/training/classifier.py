"""How every network of the paper is trained: cross entropy, measured on training and test images after every epoch."""

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from single_directions.ablation.accuracy import correct
from single_directions.data.images import Batch
from single_directions.training.seeds import derived_seed

SPLITS = ("train", "test")
"""What the two validation loaders hold, in their order."""


class NonFiniteLoss(ArithmeticError):
    """The measured training loss is infinite or not a number: the training has diverged."""


class Classifier(pl.LightningModule):
    """Trains `network` to classify, and logs once an epoch what it measured in eval mode.

    Logged are `train/loss`, `train/accuracy`, `test/loss`, `test/accuracy`, with `top_k` above 1 also
    `train/accuracy_top5` and so on, and `epoch`, the number of epochs trained. It needs two validation loaders:
    training images, then test images. Raises `NonFiniteLoss` at the end of an epoch that has diverged.

    Args:
        network: any module that turns a batch of images into logits (images, classes).
        optimizer: takes the parameters, gives the optimizer.
        scheduler: takes the optimizer, gives the schedule of its learning rate, a step an epoch; or None.
        top_k: also measure how often the label is among the `top_k` largest logits.
        seed: what dropout and the like draw in each epoch follows from it.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        top_k: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer, self.scheduler, self.seed = optimizer, scheduler, seed
        self.top_k = {"accuracy": 1} if top_k == 1 else {"accuracy": 1, f"accuracy_top{top_k}": top_k}
        # Means are enough: which answers are correct follows the measurement's rule for ties, not torchmetrics'.
        # A mean that is not finite is noticed once an epoch, not batch by batch.
        self.measured = nn.ModuleDict(
            {
                f"{split}/{name}": MeanMetric(nan_strategy="disable")
                for split in SPLITS
                for name in ("loss", *self.top_k)
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (images, classes)."""
        return self.network(images)

    def configure_optimizers(self) -> Any:
        """The optimizer, and its schedule if there is one."""
        optimizer = self.optimizer(self.network.parameters())
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])

    def on_train_epoch_start(self) -> None:
        """Seeds the global generators by the epoch, so that a resumed training draws what an uninterrupted one does."""
        torch.manual_seed(derived_seed(self.seed, "dropout", self.current_epoch))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The mean cross entropy of a batch. Nothing is logged, which would cost more than a small network's step."""
        images, labels = batch
        return cross_entropy(self.network(images), labels)

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Adds a batch to the sums of its split."""
        images, labels = batch
        logits = self.network(images).float()  # bfloat16 would round the sums
        values = {"loss": cross_entropy(logits, labels, reduction="none")}
        values.update({name: correct(logits, labels, k).float() for name, k in self.top_k.items()})
        for name, value in values.items():
            self.measured[f"{SPLITS[dataloader_idx]}/{name}"].update(value)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Logs the epoch's means."""
        means = {name: metric.compute() for name, metric in self.measured.items()}  # type: ignore[operator]
        for metric in self.measured.values():
            metric.reset()  # type: ignore[operator]
        if not isfinite(loss := means["train/loss"].item()):
            raise NonFiniteLoss(
                f"the training loss is {loss} after epoch {self.current_epoch + 1}: try a lower learning rate"
            )
        # Lightning's own count, which loggers would get otherwise, starts from 0.
        self.log_dict({"epoch": float(self.current_epoch + 1), **means})
