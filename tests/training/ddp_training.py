"""A training in two processes; each leaves what its callbacks measured. Run by a test, as Lightning starts it twice."""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from own_training import Augmented, Own, fit
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader

from single_directions import AblationAUC, AblationCurve
from single_directions.training import CurveCounts

SAMPLES = 41  # the processes' shares differ


class Plain(Own):
    """Without batch norm, whose running statistics each process has its own of."""

    def __init__(self) -> None:
        super().__init__(lr=0.05)
        self.norm = nn.Identity()


class Saved(pl.Callback):
    """Writes down what this process knows when training ends."""

    def summed(self, rank: int) -> tuple[Tensor, Tensor]:
        """Right are 2 and 1 of 2 images in the first process, 3 and 0 of 6 in the second."""
        counts = CurveCounts(1, 2)
        accuracy = torch.tensor([[[1.0, 0.5]], [[0.5, 0.0]]][rank], dtype=torch.float64)
        counts.update(AblationCurve(accuracy, torch.tensor([0, 3]), units=3, images=(2, 6)[rank]))
        return counts.compute()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        curves = {one.name: one.curves for one in trainer.callbacks if isinstance(one, AblationAUC)}
        known = {
            "indices": {one.name: one._images.indices for one in trainer.callbacks if isinstance(one, AblationAUC)},
            "accuracy": {name: {e: c.accuracy for e, c in of.items()} for name, of in curves.items()},
            "images": {name: {c.images for c in of.values()} for name, of in curves.items()},
            "logged": dict(trainer.callback_metrics),
            "epochs": trainer.current_epoch,
            "weights": pl_module.state_dict(),
            "summed": self.summed(trainer.global_rank),
        }
        torch.save(known, Path(sys.argv[1]) / f"{trainer.global_rank}.pt")


def train() -> None:
    """Stops by AUC after the first epoch that does not raise it."""
    settings = {"samples": SAMPLES, "orderings": 2, "points": 5}
    callbacks = [
        EarlyStopping("ablation/auc", mode="max", patience=1),
        AblationAUC(**settings),
        AblationAUC(**settings, clamp="mean", name="mean"),
        AblationAUC(batches=DataLoader(Augmented(noise=0), batch_size=7), orderings=2, points=5, name="given"),
        Saved(),
    ]
    loader = DataLoader(Augmented(noise=0), batch_size=8, shuffle=True)
    fit(Plain(), callbacks, epochs=12, train=loader, devices=2, strategy="ddp")


if __name__ == "__main__":
    torch.manual_seed(0)
    train()
