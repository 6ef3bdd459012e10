"""A training in two processes; each writes what its callbacks measured. A test runs it; Lightning starts it twice."""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from own_training import Augmented, Own, fit
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from single_directions import AblationAUC

SAMPLES = 41  # the processes' shares differ


class Plain(Own):
    """Without batch norm, whose running statistics each process has its own of."""

    def __init__(self) -> None:
        super().__init__(lr=0.05)
        self.norm = nn.Identity()


class Saved(pl.Callback):
    """Writes down what this process knows when training ends."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measured = [one for one in trainer.callbacks if isinstance(one, AblationAUC)]
        known = {
            "indices": {one.name: one._images.indices for one in measured},
            "batches": {one.name: one._images.batches for one in measured},
            "curves": {one.name: one.curves for one in measured},
            "values": {one.name: one.values for one in measured},
            "form": {one.name: one.form for one in measured},
            "logged": dict(trainer.callback_metrics),
            "epochs": trainer.current_epoch,
            "weights": pl_module.state_dict(),
        }
        torch.save(known, Path(sys.argv[1]) / f"{trainer.global_rank}.pt")


def train() -> None:
    """Stops by AUC after the first epoch that does not raise it."""
    settings = {"samples": SAMPLES}
    callbacks = [
        EarlyStopping("ablation/auc", mode="max", patience=1),
        AblationAUC(**settings),
        AblationAUC(**settings, clamp="mean", name="mean"),
        AblationAUC(batches=DataLoader(Augmented(noise=0), batch_size=7), name="given"),
        Saved(),
    ]
    loader = DataLoader(Augmented(noise=0), batch_size=8, shuffle=True)
    fit(Plain(), callbacks, epochs=12, train=loader, devices=2, strategy="ddp")


if __name__ == "__main__":
    torch.manual_seed(0)
    train()
