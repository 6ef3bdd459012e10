"""The callback in any Lightning training: what it measures and when, and that it does not change the training."""

import copy
import itertools
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from own_training import IMAGES, Augmented, Own, Stop, Stopped, fit, warned
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset

from single_directions import AblationAUC, BadInput, ablation_auc, ablation_curve
from single_directions.training import quiet
from single_directions.training.ablation_auc import is_due
from single_directions.training.signal import LOGGED

# The images of `Augmented` differ at each reading, which a test of its own looks at.
pytestmark = pytest.mark.filterwarnings("ignore:AblationAUC. the training images are augmented at random")


def callback(**settings):
    return AblationAUC(**{"samples": 40, **settings})


class Noted(pl.Callback):
    """What the trainer knows of the AUC when each epoch ends, and a copy of the module then."""

    def __init__(self):
        self.seen, self.modules = {}, {}

    def on_train_end(self, trainer, pl_module):
        self.last = trainer.callback_metrics["ablation/auc"].item()

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            self.seen[trainer.current_epoch - 1] = trainer.callback_metrics["ablation/auc"].item()

    def on_train_epoch_end(self, trainer, pl_module):
        self.modules[trainer.current_epoch] = copy.deepcopy(pl_module.state_dict())


def module(**settings):
    torch.manual_seed(0)
    return Own(**settings)


def same(curves, others):
    return curves.keys() == others.keys() and all(curve.equal(others[epoch]) for epoch, curve in curves.items())


LOOPS = {
    "no validation": {},
    "validation": {"validation": True},
    "validation in some epochs": {"validation": True, "check_val_every_n_epoch": 2},
    "several validations an epoch": {"validation": True, "val_check_interval": 0.5},
    "accumulated gradients": {"accumulate_grad_batches": 4},
    "mixed precision": {"precision": "bf16-mixed"},
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_training_does_not_notice(loop):
    """Dropout, batch norm, shuffling and augmentation draw what they would have drawn."""
    plain, watched = module(), module()
    fit(plain, [], **loop)
    measured = callback()
    fit(watched, [measured], **loop)
    assert list(measured.curves) == [0, 1, 2]
    for name, value in plain.state_dict().items():
        assert value.equal(watched.state_dict()[name]), name


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_logs_the_curve_of_each_epoch(loop):
    inputs, labels = Augmented(noise=0).inputs, Augmented().labels
    measured, noted = callback(batches=[(inputs, labels)], samples=None, seed=3), Noted()
    own = module()
    trainer = fit(own, [measured, noted], **loop)
    for epoch, state in noted.modules.items():
        network = Own()
        network.load_state_dict(state)
        each = measured.form["masks"] // IMAGES
        again = ablation_auc(network, [(inputs, labels)], masks=measured.form["masks"], masks_per_image=each, seed=3)
        assert measured.curves[epoch].equal(torch.stack([again.curve, again.curve_se], dim=1))
        assert measured.form["images"] == again.images == IMAGES
        values = {name: getattr(again, name) for name in LOGGED if name != "fall"}
        assert {**measured.values[epoch], **values} == measured.values[epoch]
        assert values.keys() | {"fall"} == measured.values[epoch].keys()
        assert noted.seen.get(epoch, noted.last) == pytest.approx(again.auc, rel=1e-6)
    assert again.masks >= 1000
    logged = {name: trainer.callback_metrics[f"ablation/{name}"].item() for name in LOGGED}
    assert logged == pytest.approx(measured.values[2], rel=1e-6, abs=1e-9)
    whole = ablation_curve(network, [(inputs, labels)], orderings=100, points="all").auc
    assert abs(again.auc - whole.mean()) < 4 * (again.auc_se**2 + whole.var() / 100) ** 0.5


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_stock_callbacks_act_on_the_fresh_value(loop, first, tmp_path):
    measured = callback()
    stopper = EarlyStopping("ablation/auc", mode="max", patience=2)
    saver = ModelCheckpoint(tmp_path, monitor="ablation/auc", mode="max")
    order = [measured, stopper, saver] if first else [saver, stopper, measured]
    trainer = fit(module(lr=0.2), order, epochs=30, **loop)
    every = loop.get("check_val_every_n_epoch", 1)
    if "val_check_interval" not in loop:  # else the values within an epoch count too
        looked_at = {e: values["auc"] for e, values in measured.values.items() if (e + 1) % every == 0}
        best, wait = -1.0, 0
        for epoch, auc in looked_at.items():
            best, wait = (auc, 0) if auc > best + 1e-7 else (best, wait + 1)
            assert wait < 2 or epoch == list(looked_at)[-1]
        assert wait == 2
        assert stopper.best_score.item() == pytest.approx(best)
        assert stopper.stopped_epoch == trainer.current_epoch - 1 == max(measured.curves)
        assert saver.best_model_score.item() == pytest.approx(best)
    else:
        assert 0 < stopper.stopped_epoch < 29
    assert Path(saver.best_model_path).exists()


@pytest.mark.parametrize("loop", [LOOPS["no validation"], LOOPS["validation"]], ids=["no validation", "validation"])
@pytest.mark.parametrize("every_n_epochs", [1, 2])
def test_resumed_training_has_the_curves_of_an_uninterrupted_one(loop, every_n_epochs, tmp_path):
    """Also where the first epoch after the resume is not measured, and something monitors the AUC."""
    whole, part, rest = (callback(every_n_epochs=every_n_epochs) for _ in range(3))
    train = {"train": DataLoader(Augmented(noise=0), batch_size=16)}
    trainer = fit(module(), [whole], epochs=4, **train, **loop)
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(module(), [part, saver], epochs=2, **train, **loop)
    stopper = EarlyStopping("ablation/auc", mode="max", patience=100)
    resumed = fit(module(), [rest, stopper], epochs=4, checkpoint=saver.best_model_path, **train, **loop)
    # Dropout is not seeded by epoch here, so only the epochs before the resume have to be equal.
    assert list(part.curves) == [0, 1]
    epochs = [0, 1, 2, 3] if every_n_epochs == 1 else [0, 1, 3]
    assert list(rest.values) == list(rest.curves) == list(whole.curves) == epochs
    for epoch in (0, 1):
        assert rest.curves[epoch].equal(whole.curves[epoch])
        assert rest.values[epoch] == whole.values[epoch]
    assert {f"ablation/{name}" for name in LOGGED} <= resumed.callback_metrics.keys()
    frame = rest.to_frame()
    assert list(frame["epoch"].unique()) == [epoch + 1 for epoch in rest.curves]
    assert list(frame["accuracy_se"]) == torch.cat(list(rest.curves.values()))[:, 1].tolist()
    assert trainer.current_epoch == resumed.current_epoch == 4


def test_training_that_was_measured_otherwise_before_is_not_gone_on_with(tmp_path):
    """Other images or masks give another error: a stopper would take that for a change."""
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(module(), [callback(), saver], epochs=2)
    for changed in ({"samples": 10}, {"cost": 10.0}):
        with pytest.raises(BadInput, match=r"measured on 40 images with \d+ masks .*: set cost, samples and devices"):
            fit(module(), [callback(**changed)], epochs=4, checkpoint=saver.best_model_path)


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("seed", {"seed": 3}),
        ("clamp", {"clamp": 0.5}),
        ("top_k", {"top_k": 2}),
        ("signal", {"signal": "auc"}),
        ("sites", {"sites": ["relu_1", "relu"]}),
    ],
)
def test_other_settings_after_a_resume_are_told_before_its_first_epoch(key, changed, tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(module(), [callback(sites=["relu", "relu_1"]), saver], epochs=1)
    before = torch.load(saver.best_model_path, weights_only=True)["state_dict"]
    again = module()
    resumed = callback(**{"sites": ["relu", "relu_1"], **changed})
    with pytest.raises(BadInput, match=f"AblationAUC: {key} is not what it was before .*: set it as it was, or train"):
        fit(again, [resumed], epochs=2, checkpoint=saver.best_model_path)
    assert all(value.equal(before[name]) for name, value in again.state_dict().items())


class Talking(Own):
    """Logs and counts in `forward`, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("latest", None)

    def forward(self, images):
        logits = super().forward(images)
        self.calls += 1
        self.latest = logits.detach().mean()
        self.log("logits", self.latest, on_epoch=True, on_step=False)
        self.log_dict({"highest": logits.max()}, on_epoch=True, on_step=False)
        return logits


@pytest.mark.parametrize("validation", [False, True])
def test_a_forward_that_logs_and_counts_does_so_in_training_alone(validation):
    """Its buffers and its logged means are those of a training without the callback."""
    results = []
    for callbacks in ([], [callback()]):
        torch.manual_seed(0)
        talking = Talking()
        trainer = fit(talking, callbacks, epochs=2, validation=validation)
        logged = {name: value.item() for name, value in trainer.callback_metrics.items() if "ablation" not in name}
        results.append((logged, talking.calls.item(), talking.latest.item()))
        assert not {"log", "log_dict"} & vars(talking).keys()
    assert results[0] == results[1]
    assert results[0][1] >= 12
    assert results[0][0].keys() >= {"logits", "highest"}


def test_a_checkpoint_of_an_earlier_version_is_refused():
    with pytest.raises(BadInput, match=r"the checkpoint is of an earlier version, .* train again"):
        callback().load_state_dict({"curves": {}, "seconds": 0.0})


def test_a_checkpoint_that_knows_one_number_of_units_is_gone_on_with():
    first, second = callback(), callback()
    fit(module(), [first], epochs=2)
    second.load_state_dict({**first.state_dict(), "units": 24, "units_ablated": torch.arange(25)})
    pd.testing.assert_frame_equal(second.to_frame(), first.to_frame())


def test_a_new_training_forgets_the_curves_of_the_last():
    measured = callback()
    fit(module(), [measured], epochs=3)
    fit(module(), [measured], epochs=1)
    assert list(measured.curves) == [0]


def test_a_trainer_that_goes_on_with_another_network_begins_anew_unless_it_resumes(tmp_path):
    measured, saver = callback(), ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    own = module()
    trainer = fit(own, [measured, saver], epochs=1)
    train = DataLoader(Augmented(), batch_size=16)
    for other, checkpoint, epochs in ((own, None, [0, 1]), (module(), None, [2]), (module(), "last", [2, 3])):
        trainer.fit_loop.max_epochs += 1
        with quiet():
            trainer.fit(other, train, ckpt_path=checkpoint and tmp_path / "last.ckpt", weights_only=True)
        assert list(measured.values) == epochs
        assert measured.values[epochs[0]]["fall"] == 0


def test_loggers_get_each_measurement_once(tmp_path):
    logger = CSVLogger(tmp_path)
    measured = callback(every_n_epochs=2)
    fit(module(), [measured], epochs=6, logger=logger, validation=True, log_every_n_steps=1)
    rows = pd.read_csv(Path(logger.log_dir) / "metrics.csv").dropna(subset="ablation/auc")
    assert list(rows["epoch"]) == list(measured.curves) == [0, 1, 3, 5]
    aucs = [values["auc"] for values in measured.values.values()]
    assert list(rows["ablation/auc"]) == pytest.approx(aucs)


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 2, 5]), (10, [0])])
def test_epochs_that_are_due(every, epochs):
    measured = []
    for epoch in range(7):
        if is_due(epoch, every, measured):
            measured.append(epoch)
    assert measured == epochs
    assert is_due(0, every, [0])  # a second validation of the first epoch


def test_sanity_check_and_validate_do_not_measure():
    class Before(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.curves, self.logged = dict(measured.curves), dict(trainer.callback_metrics)

    measured, before = callback(), Before()
    own = module()
    trainer = fit(own, [measured, before], epochs=1, validation=True, num_sanity_val_steps=2)
    assert before.curves == {}
    assert "ablation/auc" not in before.logged
    with quiet():
        trainer.validate(own, DataLoader(Augmented(), batch_size=48), verbose=False)
    assert list(measured.curves) == [0]


def test_modes_and_hooks_are_left_as_they_were():
    own = module()
    own.norm.eval()  # somebody's frozen batch norm
    calls = []
    own.head.register_forward_hook(lambda *_: calls.append(1))
    hooks = {name: len(part._forward_hooks) for name, part in own.named_modules()}

    class Modes(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            modes.append([part.training for part in pl_module.modules()])

    modes = []
    fit(own, [callback(), Modes()], epochs=3)
    assert not own.norm.training
    assert own.dropout.training
    assert modes[0] == modes[1] == modes[2]
    assert hooks == {name: len(part._forward_hooks) for name, part in own.named_modules()}


def test_images_are_a_fixed_part_of_the_train_data():
    class Read(TensorDataset):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    read = []
    data = Read(Augmented().inputs, Augmented().labels)
    parts = []
    for seed in (0, 0, 1):
        read.clear()
        measured = callback(samples=10, seed=seed)
        with pytest.raises(Stopped):
            fit(module(), [measured, Stop()], train=DataLoader(data, batch_size=16, shuffle=True))
        parts.append(list(read))
        assert len(set(read)) == 10
    assert parts[0] == parts[1] != parts[2]


def test_images_are_those_the_sampler_draws_from():
    labels = torch.cat([torch.zeros(30), torch.full((30,), 11)]).long()  # 11 is no class: it must not be read
    data = TensorDataset(torch.rand(60, 64), labels)
    loader = DataLoader(data, batch_size=10, sampler=SubsetRandomSampler(range(30)))
    measured = callback(samples=None)
    fit(module(), [measured], epochs=1, train=loader)
    assert measured.form["images"] == 30


def test_batches_of_another_form():
    class Dicts(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return {"image": x, "label": y}

    class OfDicts(Own):
        def training_step(self, batch, batch_index):
            return super().training_step((batch["image"], batch["label"]), batch_index)

    loader = DataLoader(Dicts(Augmented().inputs, Augmented().labels), batch_size=16)
    measured = callback(batch_to_xy=lambda batch: (batch["image"], batch["label"]))
    fit(OfDicts(), [measured], epochs=1, train=loader)
    assert measured.form["images"] == 40
    with pytest.raises(BadInput, match="not dict of image, label; say how to get it: batch_to_xy="):
        fit(OfDicts(), [callback()], epochs=1, train=loader)


def test_default_numbers_shrink_to_what_there_is():
    measured = AblationAUC(network="small", sites=["2"])

    class Small(Own):
        def __init__(self):
            super().__init__()
            self.small = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 10))

        def forward(self, images):
            return self.small(images)

    fit(Small(), [measured], epochs=1)
    assert measured.form["images"] == IMAGES
    assert measured.to_frame()["units_ablated"].tolist() == list(range(8))


def test_seconds_are_those_of_measuring_and_survive_a_resume(tmp_path):
    class Clock(pl.Callback):
        """With `End`, around what the callbacks between them do at the end of an epoch."""

        def on_train_epoch_end(self, trainer, pl_module):
            self.start = perf_counter()

    class End(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            around.append(perf_counter() - clock.start)

    around, clock = [], Clock()
    first, second = callback(), callback()
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(module(), [clock, first, End(), saver], epochs=2)
    assert 0 < first.seconds < sum(around)
    before = first.seconds
    fit(module(), [second], epochs=2, checkpoint=saver.best_model_path)  # nothing is left to do
    assert second.seconds == before
    fit(module(), [clock, second, End()], epochs=3, checkpoint=saver.best_model_path)
    assert before < second.seconds < sum(around)


def test_several_callbacks_side_by_side(tmp_path):
    zero, mean = callback(), callback(clamp="mean", name="mean_ablation")
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    trainer = fit(module(), [zero, mean, saver], epochs=2)
    assert {"ablation/auc", "mean_ablation/auc"} <= trainer.callback_metrics.keys()
    again = callback(), callback(clamp="mean", name="mean_ablation")
    fit(module(), again, epochs=2, checkpoint=saver.best_model_path)
    assert same(zero.curves, again[0].curves)
    assert same(mean.curves, again[1].curves)
    assert not same(zero.curves, mean.curves)


def test_values_under_another_name_are_told_to_begin_anew(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(module(), [callback(name="early"), saver], epochs=1)
    late = callback(name="late")
    with pytest.warns(UserWarning, match="has no values of name='late', so they begin anew. It has those of .*early"):
        fit(module(), [late], epochs=2, checkpoint=saver.best_model_path)
    assert list(late.values) == [1]
    fit(module(), [callback(name="early"), callback(name="late")], epochs=1, checkpoint=saver.best_model_path)


def test_training_that_diverges_is_stopped_and_not_measured():
    class Diverges(Own):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                nn.init.constant_(self.head.weight, float("nan"))

    measured = callback()
    stopper = EarlyStopping("ablation/auc", mode="max", patience=50)
    trainer = fit(Diverges(), [stopper, measured], epochs=9)
    assert trainer.current_epoch == 3
    assert all(math.isnan(value) for value in measured.values[2].values())
    assert all(map(math.isfinite, measured.values[1].values()))
    assert measured.curves[2].isnan().all()
    assert len(measured.to_frame()) == 3 * 25


BAD = {
    "no ReLU": (lambda: callback(network="linear"), "no activation function"),
    "a part that takes no images": (lambda: callback(network="head"), r"Linear: it cannot take float32 \(8, 1, 8, 8\)"),
    "a part that takes more": (lambda: callback(network="loss"), r"CrossEntropyLoss: it cannot take .*'target'"),
    "a data set for batches": (
        lambda: callback(batches=Augmented()),
        "Augmented gives single images; give a DataLoader",
    ),
    "single images for batches": (
        lambda: callback(batches=DataLoader(Augmented(), batch_size=None)),
        "batches: they hold single images; give a DataLoader",
    ),
    "a number for batches": (lambda: callback(batches=5), "batches: a list or a DataLoader of pairs .* not int"),
    "unknown site": (lambda: callback(sites=["relu_7"]), "'relu_7'.*relu_1"),
    "unknown network": (lambda: callback(network="nett"), "network='nett'.*first, second"),
    "unknown signal": (lambda: callback(signal="accuracy"), "signal='accuracy': one of auc, auc_normalized"),
    "no cost": (lambda: callback(cost=0), "cost=0: a number above 0"),
    "cost as text": (lambda: callback(cost="5 %"), "cost='5 %': a number above 0"),
    "unknown clamp": (lambda: callback(clamp="median"), "clamp='median'"),
    "no batches": (lambda: callback(batches=[]), "batches: there are no images"),
    "batch_to_xy that fails": (
        lambda: callback(batch_to_xy=lambda batch: batch["x"]),
        r"batch_to_xy: the function fails on a batch, which is list of 2 \(TypeError: list indices must be",
    ),
    "a list of targets": (
        lambda: callback(batch_to_xy=lambda batch: (batch[0], batch[1].tolist())),
        r"batch_to_xy: the targets must be one tensor, not list of",
    ),
    "batches that are no pairs": (lambda: callback(batches=[torch.rand(4, 64)]), "pair of tensors"),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_told_before_the_first_epoch(make, says):
    own = module()
    own.loss = nn.CrossEntropyLoss()
    own.linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BadInput, match=says):
        fit(own, [make(), Stop()])


@pytest.mark.parametrize("source", ["train data", "batches"])
def test_a_target_that_is_no_class_is_told_before_the_first_epoch_wherever_it_is(source):
    """As of an image that nobody has labelled."""
    for place, wrong in ((0, -1), (50, 10), (95, -1)):
        data = Augmented(noise=0)
        data.labels = data.labels.clone()
        data.labels[place] = wrong
        given = DataLoader(data, 16)
        train = {"train": given} if source == "train data" else {}
        measured = callback(samples=None, batches=given if source == "batches" else None)
        with pytest.raises(BadInput, match=rf"targets from .*{wrong}.*, but the network's classes are 0 to 9"):
            fit(module(), [measured, Stop()], **train)


@pytest.mark.parametrize("key", ["every_n_epochs", "samples", "memory_budget"])
def test_numbers_below_one_are_refused(key):
    for number in (0, 1.5, "all"):
        with pytest.raises(BadInput, match=f"{key}={number!r}: a whole number of at least 1"):
            callback(**{key: number})


@pytest.mark.parametrize("seed", ["a", 1.5, None, -1, 2**63])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(BadInput, match=re.escape(f"seed={seed!r}: a whole number of at least 0 is needed")):
        callback(seed=seed)


def test_data_without_index_ask_for_batches():
    class Stream(IterableDataset):
        def __iter__(self):
            data = Augmented()
            return (data[i] for i in range(32))

    loader = DataLoader(Stream(), batch_size=16)
    with pytest.raises(BadInput, match=r"Stream has no images to take by index; .*batches="):
        fit(module(), [callback()], train=loader)
    with pytest.raises(BadInput, match=r"list of 2, not one DataLoader; .*batches="):
        fit(module(), [callback()], train=[DataLoader(Augmented(), 16) for _ in range(2)])
    measured = callback(batches=loader)
    fit(module(), [measured], train=loader, epochs=1)
    assert measured.form["images"] == 32


def test_monitor_that_takes_the_lowest_auc_is_warned_of(tmp_path):
    for monitor in (EarlyStopping("ablation/auc"), ModelCheckpoint(tmp_path, monitor="ablation/auc")):
        with pytest.warns(UserWarning, match=f'{type(monitor).__name__}: mode="min".*set mode="max"'):
            fit(module(), [callback(), monitor], epochs=1)


@pytest.mark.parametrize(
    # Epochs between measurements, between validations, and the patience to set, None where all is well.
    ("patience", "every", "validation", "advice"),
    [
        (3, 1, None, None),
        (3, 5, None, 15),
        (15, 5, None, None),
        (7, 5, None, 35),
        (3, 4, 4, None),
        (3, 4, 2, 6),
        (6, 4, 2, None),
    ],
)
def test_patience_that_counts_stale_values_is_warned_of(patience, every, validation, advice):
    loop = {} if validation is None else {"validation": True, "check_val_every_n_epoch": validation}
    callbacks = [callback(every_n_epochs=every), EarlyStopping("ablation/auc", mode="max", patience=patience)]
    says = f"patience={patience} counts checks.*set patience={advice}$"
    with warned(None if advice is None else says):
        fit(module(), callbacks, epochs=1, **loop)


@pytest.mark.parametrize(("monitor", "mode"), [("ablation/accuracy", "max"), ("ablation/auc_se", "min")])
def test_patience_is_warned_of_whatever_is_monitored(monitor, mode):
    """Warned of once: the least standard error may well be the best."""
    with pytest.warns(UserWarning, match="patience=2 counts checks") as caught:
        fit(module(), [callback(every_n_epochs=3), EarlyStopping(monitor, mode=mode, patience=2)], epochs=1)
    [warning] = [str(warning.message) for warning in caught if "EarlyStopping" in str(warning.message)]
    assert f"3 checks to a measurement of {monitor}; " in warning
    assert warning.endswith("set patience=6")


class Checked(EarlyStopping):
    """Notes what it looks at."""

    def _run_early_stopping_check(self, trainer):
        self.seen = [*getattr(self, "seen", []), trainer.callback_metrics[self.monitor].item()]
        super()._run_early_stopping_check(trainer)


def test_validation_within_the_epoch_measures_for_each_check_and_is_warned_of():
    """6 batches an epoch, validated after each 3: 2 checks an epoch."""
    part = {"validation": True, "val_check_interval": 0.5}
    stopper, measured = Checked("ablation/auc", mode="max", patience=4), callback()
    fit(module(), [measured, stopper], epochs=2, **part)  # a warning would be an error
    assert len(stopper.seen) == len(set(stopper.seen)) == 4
    assert [measured.values[epoch]["auc"] for epoch in (0, 1)] == pytest.approx(stopper.seen[1::2])
    stopper = Checked("ablation/auc", mode="max", patience=3)
    advice = (
        r"patience=3 counts checks, but with every_n_epochs=1 and val_check_interval=0.5 there are 2 checks to an "
        r"epoch with measurements of ablation/auc; to wait for 3 such epochs, set patience=6$"
    )
    with pytest.warns(UserWarning, match=advice):
        fit(module(), [callback(), stopper], epochs=1, **part)
    at_ends = Checked("ablation/auc", mode="max", patience=3, check_on_train_epoch_end=True)
    fit(module(), [callback(), at_ends], epochs=2, **part)
    assert len(at_ends.seen) == 2


def test_the_patience_advised_waits_for_so_many_measurements():
    # Nothing improves by 2 after the first.
    stopper = EarlyStopping("ablation/auc", mode="max", patience=6, min_delta=2)
    measured = callback(every_n_epochs=3)
    fit(module(), [measured, stopper], epochs=30)
    assert list(itertools.islice(measured.curves, 3)) == [0, 2, 5]
    assert stopper.stopped_epoch == 6


def test_own_network_example_trains_and_tells_the_auc_with_its_error():
    done = subprocess.run(
        [sys.executable, "examples/own_network.py"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    [start] = [line for line in done.stderr.splitlines() if line.startswith("AblationAUC:")]
    assert start in (Path(__file__).parents[2] / "docs" / "callback.md").read_text()
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert 1 < len(lines) <= 30
    accuracies = [float(line.split("accuracy ")[1]) for line in lines]
    assert accuracies[-1] > max(0.9, accuracies[0])
    assert all(0 < float(line.split("+- ")[1].split(",")[0]) < 0.05 for line in lines)


def test_package_does_not_import_lightning_until_asked():
    code = (
        "import sys, single_directions; assert 'pytorch_lightning' not in sys.modules; "
        "single_directions.AblationAUC; assert 'pytorch_lightning' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'Ablation'"):
        __import__("single_directions").Ablation  # noqa: B018


def test_stopper_that_never_looks_is_warned_of():
    """Stock `EarlyStopping` waits for the validation that there is not."""
    stopper = EarlyStopping("ablation/auc", mode="max", patience=3)
    with pytest.warns(UserWarning, match="without a validation loop it never looks.*check_on_train_epoch_end=True"):
        fit(module(), [callback(), stopper], epochs=1, check_val_every_n_epoch=3)


def test_a_module_that_borrows_the_forward_of_its_network_is_measured():
    class Borrows(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 10))
            self.forward = self.net.forward

        training_step, configure_optimizers, lr = Own.training_step, Own.configure_optimizers, 0.1

    borrows, measured = Borrows(), callback()
    fit(borrows, [measured], epochs=1)
    assert measured.latest.units == 7


@pytest.mark.parametrize(("network", "site"), [(None, "net.relu"), ("net", "relu")])
def test_compiled_part_is_measured_as_it_was_written(network, site):
    class Holder(pl.LightningModule):
        def __init__(self, compiled):
            super().__init__()
            self.net = torch.compile(module(), backend="eager") if compiled else module()

        def forward(self, images):
            return self.net(images)

        def training_step(self, batch, batch_index):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    measured, plain = callback(network=network), callback(network=network)
    holder = Holder(compiled=True)
    compiled = holder.net
    fit(holder, [measured], epochs=2)
    fit(Holder(compiled=False), [plain], epochs=2)
    assert same(measured.curves, plain.curves)
    assert measured.latest.method == plain.latest.method
    assert measured.latest.sites[0].name == site
    assert holder.net is compiled


def test_a_compiled_training_is_compiled_no_more_often_than_without_the_callback():
    """Code compiled for the measurement would take the place of the training's: the number of versions is limited."""

    def compiled(callbacks):
        versions = []

        def backend(graph, inputs):
            versions.append(graph)
            return graph.forward

        torch._dynamo.reset()
        fit(torch.compile(module(), backend=backend), callbacks, epochs=2)
        return len(versions)

    measured = callback()
    assert compiled([measured]) == compiled([]) > 0
    assert sorted(measured.curves) == [0, 1]
