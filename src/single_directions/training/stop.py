"""Training until the training set is known by heart."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason


class StopAtAccuracy(EarlyStopping):
    """Ends training after the first epoch whose training accuracy, 0 to 1, is at least `accuracy`."""

    def __init__(self, accuracy: float) -> None:
        # Stock early stopping wants the threshold to be exceeded, and stops besides when patience runs out.
        super().__init__("train/accuracy", mode="max", stopping_threshold=accuracy - 1e-7, patience=2**62)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that had stopped before it was resumed stays so."""
        trainer.should_stop = self.stopping_reason != EarlyStoppingReason.NOT_STOPPED
