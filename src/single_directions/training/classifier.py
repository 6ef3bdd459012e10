"""How networks are trained: on cross entropy, and measured on training and test images after every epoch."""

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
"""What the validation loaders hold, in this order. The last exists only if training images are held out."""
CHANGED = "train/changed_predictions"


class NonFiniteLoss(ArithmeticError):
    """The measured training loss is infinite or NaN: the training has diverged."""


class Classifier(pl.LightningModule):
    """Trains `network` to classify, and logs after each epoch what it measured in eval mode.

    It logs `train/loss`, `train/accuracy`, `test/loss`, `test/accuracy`, and `epoch`, the number of epochs trained.
    With `top_k=5` it also logs `train/accuracy_top5` and `test/accuracy_top5`. It needs two validation loaders:
    training images, then test images. A third one, of held-out training images, gives `held_out/loss` and so on.

    `train/changed_predictions` is the fraction of training images whose predicted class differs from the epoch before
    (after "prediction changes" in Yuan et al. 2024, arXiv:2502.07551). It is logged if the epoch before was measured
    too. Checkpoints hold the predictions of one process; a resumed training of several processes lacks it at first.

    Raises `NonFiniteLoss` at the end of an epoch whose training loss is infinite or NaN.

    Args:
        network: any module that turns a batch of images into logits (images, classes).
        optimizer: a function from the parameters to the optimizer.
        scheduler: a function from the optimizer to its learning-rate schedule, which steps once per epoch; or None.
        top_k: also measure how often the label is among the `top_k` largest logits.
        seed: decides what dropout draws in each epoch.
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
        # Not torchmetrics' accuracy: `correct` breaks ties as the measurement does. NaN is checked once per epoch.
        self.measured = nn.ModuleDict(
            {
                f"{split}/{name}": MeanMetric(nan_strategy="disable")
                for split in SPLITS
                for name in ("loss", *self.top_k)
            }
        )
        self.changed = MeanMetric()
        self._predictions: list[Tensor] = []
        # The training images' predicted classes after the last two epochs, by epoch from 0, if these were measured.
        self._classes: dict[int, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (images, classes)."""
        return self.network(images)

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule if there is one."""
        optimizer = self.optimizer(self.network.parameters())
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])

    def on_train_epoch_start(self) -> None:
        """Seeds the global generators, so that a resumed training draws the same as an uninterrupted one."""
        torch.manual_seed(derived_seed(self.seed, "dropout", self.current_epoch))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The mean cross entropy of a batch. It logs nothing: that would take longer than a small network's step."""
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
        # Without it loggers get Lightning's count, which starts from 0.
        self.log_dict({"epoch": float(self.current_epoch + 1), **means})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves the predictions, unless each process has its own."""
        if self._classes and self.trainer.world_size == 1:
            epoch = max(self._classes)
            checkpoint["predictions"] = {"epoch": epoch, "classes": self._classes[epoch].cpu()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads the predictions."""
        saved = checkpoint.get("predictions")
        self._classes = {saved["epoch"]: saved["classes"]} if saved else {}

    def _changed_predictions(self) -> dict[str, Tensor]:
        """The fraction of predictions that changed since the epoch before, if that was measured."""
        predictions, self._predictions = torch.cat(self._predictions), []
        if self.trainer.sanity_checking:
            return {}
        before = self._classes.get(self.current_epoch - 1)
        self._classes = {self.current_epoch: predictions}
        if before is None or len(before) != len(predictions):
            return {}
        self._classes[self.current_epoch - 1] = before  # validation may run several times in an epoch
        self.changed.reset()
        self.changed.update((before.to(predictions.device) != predictions).float())
        return {CHANGED: self.changed.compute()}
