"""What stock callbacks do with the logged values, and what the user is warned of."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from own_training import Augmented, Own, fit, warned
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationAUC, AblationEstimate
from single_directions.training.signal import LOGGED, UNDEFINED, corrected, diverged, fall, is_better, logged

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
    ablation = AblationAUC(every_n_epochs=every)
    says = rf"Watched: it saves epochs under .* set Watched\(every_n_epochs={every}\)"
    with warned(says if stale else None):
        fit(Own(), [ablation, saver], epochs=8, train=PLAIN, **loop)
    fresh = {epoch: values["auc"] for epoch, values in ablation.values.items()}
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
    ablation = AblationAUC(batches=[(inputs, labels)])
    trainer = fit(AtFirstNothing(lr=0.5), [ablation, stopper, saver], epochs=6, train=train)
    assert ablation.values[0][signal] == ablation.values[1][signal] == UNDEFINED[signal]
    assert trainer.current_epoch > 2
    assert stopper.best_score > 0
    assert not Path(saver.best_model_path).stem.startswith(("epoch=0", "epoch=1"))


def estimate(accuracy, images, clear=0.0):
    """One of these accuracies at 0, 1 and 2 of 2 units ablated; `clear` moves those with a unit ablated."""
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(images)[:, None] < torch.tensor(accuracy) * images
    right[:, 1] = torch.rand(images, generator=generator) < accuracy[1] + clear
    points = torch.ones(images, 1, dtype=torch.int64)
    return AblationEstimate(
        right[:, 0], right[:, 2], right[:, 1:2], points, torch.arange(images), torch.arange(3), units=2
    )


class Told(AblationAUC):
    """Its estimates are those given."""

    def __init__(self, *estimates):
        super().__init__()
        self.estimates = estimates

    def _measure(self, trainer, network):
        return self.estimates[trainer.current_epoch]


@pytest.mark.parametrize("learned", [-0.25, -21])
def test_an_untrained_network_is_not_the_best_where_the_corrected_auc_is_below_zero(learned, tmp_path):
    """The area of (0.9, 0.3, 0.6) is 0.525, so 0.075 below the floor; that of (0.97, 0.1, 0.95) is far below."""
    accuracies = {-0.25: [0.9, 0.3, 0.6], -21: [0.97, 0.1, 0.95]}[learned]
    guessing, trained = estimate([0.1, 0.1, 0.1], 10_000), estimate(accuracies, 10_000)
    assert trained.auc_corrected == pytest.approx(learned, rel=0.1)
    stopper = EarlyStopping("ablation/auc_corrected", mode="max", patience=2, min_delta=0.1)
    saver = ModelCheckpoint(tmp_path, monitor="ablation/auc_corrected", mode="max", filename="{epoch}")
    told = Told(guessing, guessing, trained, trained, trained)
    fit(Own(), [told, stopper, saver], epochs=5, train=PLAIN)
    assert Path(saver.best_model_path).stem == "epoch=2"
    assert stopper.stopped_epoch == 4
    assert [values["auc_corrected"] for values in told.values.values()][1:3] == [-2, max(-1, trained.auc_corrected)]
    assert told._best is trained


def test_a_ratio_of_noise_counts_as_nothing():
    """0.11 of 100 images are no more than the floor of 0.1, but of 100,000 images they are."""
    few, many = estimate([0.11, 0.2, 0.1], 100), estimate([0.11, 0.2, 0.1], 100_000)
    assert few.auc_corrected > 2
    assert logged(few)["auc_corrected"] == UNDEFINED["auc_corrected"]
    assert logged(few)["auc_corrected_se"] == 0
    assert logged(many)["auc_corrected"] == many.auc_corrected > 2
    clear = estimate([0.5, 0.3, 0.1], 1000)
    assert logged(clear) == {name: getattr(clear, name) for name in LOGGED if name != "fall"}
    assert logged(clear)["auc_normalized"] == pytest.approx(0.6, abs=0.05)
    assert diverged().keys() == {*LOGGED}


@pytest.mark.parametrize("known", [True, False], ids=["all classes counted", "those measured"])
def test_naming_the_most_common_class_is_chance(known):
    """70 % of the images are of class 0. Clamped, the network names another class, so the floor is lower."""
    classes = (torch.arange(1000) >= 700).long()
    counts = {"classes": classes, "class_counts": torch.tensor([7000, 3000]) if known else None}
    common, learned = (replace(estimate([right, 0.5, 0.1], 1000), **counts) for right in (0.7, 0.8))
    assert common.auc_corrected > 0.5
    assert logged(common)["auc_corrected"] == UNDEFINED["auc_corrected"]
    assert not is_better(common, None, "auc_corrected")
    assert logged(learned)["auc_corrected"] == learned.auc_corrected > 0.5
    assert is_better(learned, None, "auc_corrected")


def test_fall_is_in_standard_errors_of_the_paired_change():
    best = estimate([0.9, 0.6, 0.1], 1000, clear=0.1)
    same = estimate([0.9, 0.6, 0.1], 1000, clear=0.1)
    lower = estimate([0.9, 0.6, 0.1], 1000)
    assert fall(best, None, "auc", 1) == fall(same, best, "auc", 2) == fall(best, lower, "auc", 2) == 0
    change = lower.change_from(best)["auc"]
    assert fall(lower, best, "auc", 2) == pytest.approx(-change.value / change.se)
    assert fall(lower, best, "auc", 2) > fall(lower, best, "auc", 50) > 0  # the best of 50 is so by luck too
    assert change.se < 0.7 * (lower.auc_se**2 + best.auc_se**2) ** 0.5  # the same draws: most of the noise is in both
    assert fall(lower, best, "auc", 2) > 3
    assert is_better(best, lower, "auc")
    assert not is_better(lower, best, "auc")


def test_a_network_that_guesses_is_not_the_best_although_its_normalized_auc_is_one():
    guessing, learned = estimate([0.1, 0.1, 0.1], 1000), estimate([0.9, 0.5, 0.1], 1000)
    assert guessing.auc_normalized > 0.9 > learned.auc_normalized
    assert not is_better(guessing, None, "auc_normalized")
    assert is_better(learned, None, "auc_normalized")
    assert fall(guessing, learned, "auc_normalized", 2) == 0


def test_fall_stops_a_training_that_falls_and_no_other():
    """From the third epoch on a part of the units is taken away, a bit more after each."""

    class Falls(Own):
        falling = True

        def on_train_epoch_start(self):
            if self.falling and self.current_epoch >= 2:
                with torch.no_grad():
                    self.head.weight[:, : self.current_epoch + 2] *= 3

    for falling in (True, False):
        module, ablation = Falls(lr=0.02), AblationAUC(seed=1, signal="auc")
        module.falling = falling
        stopper = EarlyStopping("ablation/fall", mode="min", divergence_threshold=3, patience=1000)
        trainer = fit(module, [ablation, stopper], epochs=12, train=PLAIN)
        falls = [values["fall"] for values in ablation.values.values()]
        assert (trainer.current_epoch < 12) == falling == (falls[-1] > 3)
        assert all(before <= 3 for before in falls[:-1])


def test_fall_goes_on_from_the_best_value_after_a_resume(tmp_path):
    class Falls(Own):
        def on_train_epoch_start(self):
            if self.current_epoch == 4:
                nn.init.constant_(self.second.weight, 0.0)
                nn.init.normal_(self.first.weight)

    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    torch.manual_seed(0)
    first, second = AblationAUC(signal="auc"), AblationAUC(signal="auc")
    fit(Falls(), [first, saver], epochs=4, train=PLAIN)
    fit(Falls(), [second], epochs=5, train=PLAIN, checkpoint=saver.best_model_path)
    assert second._best.auc == max(values["auc"] for values in first.values.values())
    change = second.latest.change_from(second._best)["auc"]
    assert second.values[4]["fall"] == pytest.approx(corrected(-change.value / change.se, measurements=5))
    assert second.values[4]["fall"] > 3


def test_fall_counts_each_measurement_of_an_epoch_with_several_validations(tmp_path):
    """The best of more measurements is so by luck more often, also after a resume."""

    class Falls(Own):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                nn.init.normal_(self.first.weight)

    first, second = AblationAUC(signal="auc"), AblationAUC(signal="auc")
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    part = {"train": PLAIN, "validation": True, "val_check_interval": 2}  # of 6 batches
    fit(Falls(lr=0.02), [first, saver], epochs=2, **part)
    fit(Falls(lr=0.02), [second], epochs=3, checkpoint=saver.best_model_path, **part)
    change = second.latest.change_from(second._best)["auc"]
    assert second.values[2]["fall"] == pytest.approx(corrected(-change.value / change.se, measurements=9))
    assert second.values[2]["fall"] > 0


def test_a_saver_of_the_lowest_fall_is_warned_of(tmp_path):
    """No fall is 0, in the first epoch too, whose checkpoint would stay the best."""
    for top_k, says in ((1, "0 whenever there is no fall.*monitor ablation/auc_corrected with mode"), (-1, None)):
        saver = ModelCheckpoint(tmp_path, monitor="ablation/fall", mode="min", save_top_k=top_k)
        with warned(says):
            fit(Own(), [AblationAUC(), saver], epochs=1, train=PLAIN)


FALL = {"mode": "min", "divergence_threshold": 3, "patience": 1000}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"mode": "max", "stopping_threshold": 3}, 'takes the highest ablation/fall for the best; set mode="min"'),
        ({"patience": 3}, "set divergence_threshold=3 and patience=1000000"),
        ({"divergence_threshold": None}, "set divergence_threshold=3 and patience=1000000"),
    ],
)
def test_a_stopper_that_would_stop_at_no_fall_is_warned_of(changed, says):
    callbacks = [AblationAUC(every_n_epochs=3), EarlyStopping("ablation/fall", **{**FALL, **changed})]
    with warned(says):
        fit(Own(), callbacks, epochs=4, train=PLAIN)


class Scheduled(Own):
    """Its learning rate follows the AUC."""

    def __init__(self, mode: str, **config) -> None:
        super().__init__()
        self.mode, self.config = mode, config

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, self.mode)
        return [optimizer], [{"scheduler": scheduler, "monitor": "ablation/auc", **self.config}]


@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau conditioned on metric:RuntimeWarning")  # Lightning's, by step
@pytest.mark.parametrize(
    ("every", "mode", "config", "says"),
    [
        (1, "max", {}, None),
        (2, "max", {"frequency": 4}, None),
        (2, "max", {}, 'ReduceLROnPlateau: it counts ablation/auc again .* set "interval": "epoch" and "frequency": 2'),
        (1, "max", {"interval": "step", "strict": False}, 'again .* set "interval": "epoch" and "frequency": 1'),
        (1, "min", {"monitor": "ablation/fall"}, "0 whenever there is no fall.* monitor ablation/auc_corrected"),
        (1, "min", {}, 'ReduceLROnPlateau: mode="min" takes the lowest ablation/auc for the best; set mode="max"'),
    ],
)
def test_a_schedule_that_counts_stale_or_wrong_values_is_warned_of(every, mode, config, says):
    module, ablation = Scheduled(mode, **config), AblationAUC(every_n_epochs=every)
    with warned(says):
        fit(module, [ablation], epochs=4, train=PLAIN)
    if says is None:
        values = [value["auc"] for epoch, value in ablation.values.items() if not config or epoch == 3]
        assert module.lr_schedulers().best == pytest.approx(max(values), rel=1e-5)
