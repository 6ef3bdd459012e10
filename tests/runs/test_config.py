"""Keys are checked before anything is built."""

import pytest
from omegaconf import OmegaConf

from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.config import _check_early_stopping, check, resolved
from single_directions.training.signal import LOGGED


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed=-1", "seed must be a whole number of at least 0, not -1"),
        ("seed=one", "seed must be a whole number of at least 0, not 'one'"),
        ("batch_size=0", "batch_size must be a whole number of at least 1, not 0"),
        ("batch_size=2.5", "batch_size must be a whole number of at least 1, not 2.5"),
        ("batch_size=null", "batch_size must be a whole number of at least 1, not None"),
        ("batch_size=true", "batch_size must be a whole number of at least 1, not True"),
        ("threads=0", "threads must be a whole number of at least 1 or null, not 0"),
        ("trainer.max_epochs=-5", "trainer.max_epochs must be a whole number"),
        ("checkpoint.every_n_epochs=0", "checkpoint.every_n_epochs must be a whole number"),
        ("ablation.orderings=0", "ablation.orderings must be a whole number"),
        ("ablation.top_k=0", "ablation.top_k must be a whole number"),
        ("ablation.samples=0", "ablation.samples must be a whole number of at least 1 or null"),
        ("ablation.points=most", "ablation.points must be a number, a list, all or null, not 'most'"),
        ("ablation.clamp=median", "ablation.clamp must be zero, mean or a number, not 'median'"),
        ("ablation.clamp=nan", "ablation.clamp must be zero, mean or a number, not nan"),
        ("data.train_samples=0", "data.train_samples must be a whole number of at least 1 or null"),
        ("data.corruption=1.1", "data.corruption must be a number from 0 to 1, not 1.1"),
        ("data.held_out=1.5", "data.held_out must be a number from 0 to 1, not 1.5"),
        ("data.held_out=true", "data.held_out must be a number from 0 to 1, not True"),
        ("data.corruption=half", "data.corruption must be a number from 0 to 1, not 'half'"),
        ("trainer.check_val_every_n_epoch=null", "trainer.check_val_every_n_epoch must be a whole number"),
        ("trainer.check_val_every_n_epoch=7", "trainer.max_epochs=2 must be a multiple of trainer.check_val_every_n_"),
        ("trainer.check_val_every_n_epoch=2 +trainer.max_steps=35", "trainer.max_steps may end training in an epoch"),
        ("trainer.check_val_every_n_epoch=7 early_stopping=auc", "trainer.check_val_every_n_epoch must be 1, not 7"),
        ("trainer.check_val_every_n_epoch=7 ablation.every_epoch={}", "trainer.check_val_every_n_epoch must be 1, not"),
        ("+trainer.limit_val_batches=0", "trainer.limit_val_batches must be a number above 0, not 0"),
        ("+trainer.limit_val_batches=0.0", "trainer.limit_val_batches must be a number above 0, not 0.0"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches must be a number above 0, not 0"),
        ("+trainer.limit_train_batches=few", "trainer.limit_train_batches must be a number above 0, not 'few'"),
        ("compile=nonsense", "compile must be null or a backend of torch.compile ("),
        ("compile=true", "compile must be null or a backend of torch.compile ("),
        ("progress=loud", "progress must be true or false, not 'loud'"),
        ("progress=null", "progress must be true or false, not None"),
        ("channels_last=1", "channels_last must be true or false, not 1"),
        ("stop_at_train_accuracy=99", "stop_at_train_accuracy must be a number from 0 to 1, not 99"),
    ],
)
def test_value_that_cannot_be_is_named(settings, override, told):
    with pytest.raises(BadInput, match=r"^[^\n]*$") as caught:
        check(settings(*override.split()))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "override",
    [
        "ablation.clamp=0.5",
        "ablation.clamp=mean",
        "ablation.points=all",
        "threads=null",
        "+trainer.limit_val_batches=0.5",
        "trainer.check_val_every_n_epoch=2 trainer.max_epochs=6",
        "+trainer.limit_train_batches=3",
        "compile=inductor",
        "channels_last=true",
    ],
)
def test_value_that_can_be_passes(settings, override):
    check(settings(*override.split()))


def test_at_scale_takes_the_value_of_the_scale():
    config = OmegaConf.create({"scale": "demo", "hidden": "${at_scale:[4,2],[512]}", "stop": "${at_scale:1.0,null}"})
    assert resolved(config) == {"scale": "demo", "hidden": [4, 2], "stop": 1.0}
    config.scale = "paper"
    assert resolved(config) == {"scale": "paper", "hidden": [512], "stop": None}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["early_stopping=auc"], "ablation/auc_corrected is measured only during training: add ablation.every_epoch"),
        (["early_stopping=test_loss", "early_stopping.monitor=test/los"], "early_stopping.monitor must be one of"),
        (["early_stopping=test_loss", "early_stopping.mode=most"], "early_stopping.mode must be min or max"),
        (["early_stopping=test_loss", "early_stopping.patience=-1"], "early_stopping.patience must be a whole number"),
        (["early_stopping=test_loss", "+early_stopping.foo=1"], "^early_stopping: .*'foo'"),
        (["early_stopping=test_loss", "+early_stopping.min_delta=x"], "early_stopping.min_delta must be a number"),
        (["ablation.every_epoch={cost: 0}"], "ablation.every_epoch: cost=0"),
        (["early_stopping=held_out_loss"], "held_out/loss needs held-out training images: add data.held_out=0.1"),
        (["ablation.every_epoch={ordering: 3}"], "ablation.every_epoch: .*ordering"),
        (["ablation.every_epoch={name: x}"], "ablation.every_epoch: .*name"),
    ],
)
def test_what_cannot_be_stopped_by_is_refused(settings, overrides, told):
    with pytest.raises(BadInput, match=told):
        build(settings(*overrides))


def test_everything_that_the_callback_logs_can_stop_a_training():
    """The names are written in the configuration too, as looking them up would import torch."""
    for name in LOGGED:
        keys = {"monitor": f"ablation/{name}", "mode": "max", "patience": 1}
        _check_early_stopping(keys, measured=True, held_out=False)
