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

SPLITS = ("train", "test", "held_out")
"""What the validation loaders hold, in their order; the last only where training images are held out."""
CHANGED = "train/changed_predictions"


class NonFiniteLoss(ArithmeticError):
    """The measured training loss is infinite or not a number: the training has diverged."""


class Classifier(pl.LightningModule):
    """Trains `network` to classify, and logs once an epoch what it measured in eval mode.

    Logged are `train/loss`, `train/accuracy`, `test/loss`, `test/accuracy`, with `top_k` above 1 also
    `train/accuracy_top5` and so on, and `epoch`, the number of epochs trained. It needs two validation loaders,
    training images, then test images; a third, of held-out training images, gives `held_out/loss` and so on.

    `train/changed_predictions` is the fraction of training images that are predicted otherwise than after the epoch
    before (Yuan et al. 2024, arXiv:2502.07551, "prediction changes"). It is logged where the epoch before was measured
    too. Predictions travel in checkpoints, but not those of several processes: the first epoch after these are resumed
    lacks it.

    Raises `NonFiniteLoss` at the end of an epoch that has diverged.

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
        self.changed = MeanMetric()
        self._predictions: list[Tensor] = []
        # The training images' classes after the two epochs, counted from 0, that were measured last.
        self._before: tuple[int, Tensor] | None = None
        self._now: tuple[int, Tensor] | None = None

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
        if dataloader_idx == 0:
            self._predictions.append(logits.argmax(1).to(torch.int16))

    def on_validation_epoch_end(self) -> None:
        """Logs the epoch's means."""
        measured = tuple(f"{split}/" for split in SPLITS[: len(self.trainer.num_val_batches)])
        metrics = {name: metric for name, metric in self.measured.items() if name.startswith(measured)}
        means = {name: metric.compute() for name, metric in metrics.items()}  # type: ignore[operator]
        for metric in metrics.values():
            metric.reset()  # type: ignore[operator]
        means |= self._changed_predictions()
        if not isfinite(loss := means["train/loss"].item()):
            raise NonFiniteLoss(
                f"the training loss is {loss} after epoch {self.current_epoch + 1}: try a lower learning rate"
            )
        # Lightning's own count, which loggers would get otherwise, starts from 0.
        self.log_dict({"epoch": float(self.current_epoch + 1), **means})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the predictions along, unless each process has its own."""
        if self._now is not None and self.trainer.world_size == 1:
            epoch, predictions = self._now
            checkpoint["predictions"] = {"epoch": epoch, "classes": predictions.cpu()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with them."""
        saved = checkpoint.get("predictions")
        self._now = None if saved is None else (saved["epoch"], saved["classes"])

    def _changed_predictions(self) -> dict[str, Tensor]:
        """The fraction of predictions that changed since the epoch before, if that is known."""
        predictions, self._predictions = torch.cat(self._predictions), []
        if self.trainer.sanity_checking:
            return {}
        if self._now is not None and self._now[0] < self.current_epoch:  # an epoch may be measured several times
            self._before = self._now
        self._now = self.current_epoch, predictions
        if (
            self._before is None
            or self._before[0] != self.current_epoch - 1
            or len(self._before[1]) != len(predictions)
        ):
            return {}
        self.changed.reset()
        self.changed.update((self._before[1].to(predictions.device) != predictions).float())
        return {CHANGED: self.changed.compute()}
