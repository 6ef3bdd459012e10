"""Settings that make a training faster change neither its results nor the names in its checkpoint."""

import pandas as pd
import pytest
import torch

from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute


@pytest.mark.parametrize("faster", ["channels_last=true", "compile=eager"])
def test_faster_training_gives_the_same(settings, tmp_path, faster):
    base = ["network=convnet", "network.width=0.1", "data.train_samples=60", "data.test_samples=50", "tracking=off"]
    base += ["progress=false", "trainer.max_epochs=1", "ablation.orderings=2", "trainer.accelerator=cpu"]
    plain, other = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "faster")
    one, two = execute(settings(*base, quick=False), plain), execute(settings(*base, faster, quick=False), other)
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
    assert two["method"] == one["method"]
    first, second = (torch.load(folder.checkpoint, weights_only=True)["state_dict"] for folder in (plain, other))
    assert list(first) == list(second)
    assert len(pd.read_csv(other.curves)) == len(pd.read_csv(plain.curves))


def test_mixed_precision_trains(settings, tmp_path):
    summary = execute(settings("+trainer.precision=bf16-mixed", "trainer.accelerator=cpu"), RunFolder(tmp_path / "one"))
    assert 0 < summary["train_loss"] < 3


def test_data_near_a_device_are_the_same_data(settings):
    parts = build(settings("ablation.samples=50"))
    near = parts.near(torch.device("meta"))
    assert near.data.train.images.device.type == near.measured.dataset.images.device.type == "meta"
    assert near.data.train_plain is near.data.train
    assert near.measured.indices == parts.measured.indices
    assert parts.near(torch.device("cpu")) is parts


def test_checkpoint_knows_the_best_of_its_own_epoch(settings, place):
    """Else a run that is resumed from it takes a later, worse epoch for the best."""
    every = ["ablation.every_epoch={samples: 50}", "early_stopping=auc", "checkpoint.every_n_epochs=1"]
    execute(settings(*every, "trainer.max_epochs=3", "checkpoint.keep=all"), folder := RunFolder(place))
    callbacks = torch.load(folder.checkpoint, weights_only=True)["callbacks"]
    [score] = [
        state["best_model_score"]
        for key, state in callbacks.items()
        if "'ablation/auc_corrected'" in key and "best_model_score" in state
    ]
    assert score.item() == pytest.approx(pd.read_csv(folder.metrics)["ablation/auc_corrected"].max())


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("+trainer.limit_train_batches=0.001", "trainer: .*increase the `limit_train_batches`"),
        ("+trainer.max_steps=0", "trainer: its settings leave no epoch to train"),
    ],
)
def test_trainer_that_trains_nothing_is_told_in_one_line(settings, place, override, told):
    with pytest.raises(BadInput, match=told) as caught:
        execute(settings(override), RunFolder(place))
    assert "\n" not in str(caught.value)
