"""Callbacks that end a training before its last epoch."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason


class StayStopped(EarlyStopping):
    """Lightning's `EarlyStopping`, but a training that it stopped stays stopped when resumed from a checkpoint."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops at once if the training was stopped before."""
        trainer.should_stop = trainer.should_stop or self.stopping_reason != EarlyStoppingReason.NOT_STOPPED


class StopAtAccuracy(StayStopped):
    """Ends training after the first epoch whose training accuracy, 0 to 1, is at least `accuracy`."""

    def __init__(self, accuracy: float) -> None:
        # `EarlyStopping` stops only above the threshold, and also when patience runs out.
        super().__init__("train/accuracy", mode="max", stopping_threshold=accuracy - 1e-7, patience=2**62)
