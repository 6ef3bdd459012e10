"""What stock callbacks do with the values that are logged, and which of it is warned of."""

from pathlib import Path

import pytest
import torch
from own_training import Augmented, Own, fit
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationAUC, AblationCurve
from single_directions.training.ablation_auc import logged

PLAIN = DataLoader(Augmented(noise=0), 16)
SAVERS = [
    # every_n_epochs of the callback, the saver's settings, the trainer's, whether stale values may be saved
    (1, {"save_top_k": 3}, {}, False),
    (2, {"save_top_k": 1}, {}, False),
    (2, {"save_top_k": 0}, {}, False),
    (2, {"save_top_k": 3}, {}, True),
    (2, {"save_top_k": -1}, {}, True),
    (2, {"save_top_k": 3, "every_n_epochs": 4}, {}, False),
    (4, {"save_top_k": 1, "every_n_epochs": 2}, {}, True),
    (2, {"save_top_k": 3}, {"validation": True, "check_val_every_n_epoch": 2}, False),
    (4, {"save_top_k": 3}, {"validation": True, "check_val_every_n_epoch": 2}, True),
    (2, {"save_top_k": 1, "every_n_train_steps": 9}, {}, True),
]


class Watched(ModelCheckpoint):
    """Notes under which value each epoch was saved."""

    def _save_checkpoint(self, trainer, filepath):
        auc = trainer.callback_metrics["ablation/auc"].item()
        self.saved = {**getattr(self, "saved", {}), trainer.current_epoch: auc}
        super()._save_checkpoint(trainer, filepath)


@pytest.mark.parametrize(("every", "settings", "loop", "stale"), SAVERS)
def test_a_checkpoint_under_a_value_of_an_earlier_epoch_is_warned_of(every, settings, loop, stale, tmp_path):
    saver = Watched(tmp_path, monitor="ablation/auc", mode="max", **settings)
    ablation = AblationAUC(every_n_epochs=every, orderings=2, points=5)
    training = {"epochs": 8, "train": PLAIN, **loop}
    if stale:
        with pytest.warns(
            UserWarning, match=rf"Watched: it saves epochs under .* set Watched\(every_n_epochs={every}\)"
        ):
            fit(Own(), [ablation, saver], **training)
    else:
        fit(Own(), [ablation, saver], **training)  # a warning would be an error
    fresh = {epoch: curve.auc.mean().item() for epoch, curve in ablation.curves.items()}
    kept = getattr(saver, "saved", {})
    assert stale != (kept.items() <= {e: pytest.approx(fresh.get(e, -1), rel=1e-5) for e in kept}.items()) or not kept


class AtFirstNothing(Own):
    """Its answer is one class for all images in the first two epochs."""

    def forward(self, images):
        logits = super().forward(images)
        if self._trainer is not None and self.trainer.current_epoch < 2:
            logits = 1e-9 * logits + nn.functional.one_hot(torch.tensor(0), 10)
        return logits


@pytest.mark.parametrize("signal", ["auc_corrected", "auc_normalized"])
def test_a_network_with_nothing_to_lose_neither_stops_a_training_nor_is_its_best(signal, tmp_path):
    labels = torch.cat([torch.zeros(10), 1 + torch.arange(86) % 9]).long()[torch.randperm(96)]
    inputs = nn.functional.one_hot(labels, 64).view(-1, 1, 8, 8) + 0.0
    if signal == "auc_normalized":  # then nothing is right in the first epochs
        labels, inputs = labels[labels > 0], inputs[labels > 0]
    train = DataLoader(TensorDataset(inputs, labels), 16)
    stopper = EarlyStopping(f"ablation/{signal}", mode="max", patience=3)
    saver = ModelCheckpoint(tmp_path, monitor=f"ablation/{signal}", mode="max", filename="{epoch}")
    ablation = AblationAUC(orderings=2, points=5, batches=[(inputs, labels)])
    trainer = fit(AtFirstNothing(lr=0.5), [ablation, stopper, saver], epochs=6, train=train)
    assert getattr(ablation.curves[0], signal).isnan().all()
    assert trainer.current_epoch > 2
    assert stopper.best_score > 0
    assert not Path(saver.best_model_path).stem.startswith(("epoch=0", "epoch=1"))


def curve(accuracy, images):
    return AblationCurve(torch.tensor([accuracy], dtype=torch.float64), torch.arange(3), units=2, images=images)


def test_a_ratio_of_noise_counts_as_nothing():
    """0.11 of 100 images are no more than the floor of 0.1, but of 100,000 images they are."""
    assert curve([0.11, 0.2, 0.1], 100).auc_corrected.item() == pytest.approx(5.25)
    assert logged(curve([0.11, 0.2, 0.1], 100))["auc_corrected"] == 0
    assert logged(curve([0.11, 0.2, 0.1], 100_000))["auc_corrected"] == pytest.approx(5.25)
    values = logged(curve([0.5, 0.3, 0.1], 100))
    assert values["auc_corrected"] == pytest.approx(0.5)
    assert values["auc_normalized"] == pytest.approx(0.6)
    diverged = logged(curve([float("nan")] * 3, 100))
    assert all(value != value for value in diverged.values())
