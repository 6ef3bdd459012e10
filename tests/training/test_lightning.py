"""`import lightning as L` and `import pytorch_lightning as pl`: the same callback in both."""

import re
import subprocess
import sys
from importlib import import_module

import pytest
import pytorch_lightning as pl
import torch
from own_training import Augmented
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from single_directions import AblationAUC, BadInput
from single_directions.training import quiet

L = pytest.importorskip("lightning.pytorch", reason="needs lightning: pip install -e '.[dev]'")
PLAIN = DataLoader(Augmented(noise=0), 16)
both = pytest.mark.parametrize("framework", [pl, L], ids=["pytorch_lightning", "lightning"])


def module(framework, forward=True):
    """A LightningModule of either framework."""

    class Own(framework.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

        def training_step(self, batch, batch_index):
            return cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_index):
            self.log("val_loss", self.training_step(batch, batch_index))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Forward(Own):
        def forward(self, images):
            return self.net(images)

    torch.manual_seed(0)
    return Forward() if forward else Own()


def fit(framework, callbacks, own=None, epochs=2, validation=False, checkpoint=None, saving=False):
    """Train, with the callbacks as they are given."""
    with quiet():
        trainer = framework.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=saving,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(own or module(framework), PLAIN, PLAIN if validation else None, ckpt_path=checkpoint)
    return trainer


pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


@both
@pytest.mark.parametrize("validation", [False, True])
def test_one_callback_alone_is_taken_by_its_trainer(framework, validation):
    measured = AblationAUC()
    assert isinstance(measured, framework.Callback)
    trainer = fit(framework, measured, validation=validation)
    assert list(measured.curves) == [0, 1]
    assert trainer.callback_metrics["ablation/auc"] == pytest.approx(measured.values[1]["auc"])


@both
def test_stock_callbacks_stop_and_are_warned_of(framework):
    stopper = framework.callbacks.EarlyStopping("ablation/auc", mode="max", patience=1, min_delta=2)
    fit(framework, [AblationAUC(), stopper], epochs=9)
    assert stopper.stopped_epoch == 1
    stopper = framework.callbacks.EarlyStopping("ablation/auc", mode="min", patience=3)
    with pytest.warns(UserWarning) as caught:  # noqa: PT030 two of them
        fit(framework, [AblationAUC(every_n_epochs=2), stopper])
    told = "\n".join(str(warning.message) for warning in caught)
    assert 'EarlyStopping: mode="min" takes the lowest' in told
    assert "patience=3 counts checks" in told


@both
def test_a_saver_of_stale_values_is_warned_of(framework, tmp_path):
    saver = framework.callbacks.ModelCheckpoint(tmp_path, monitor="ablation/auc", mode="max", save_top_k=2)
    with pytest.warns(UserWarning, match=r"set ModelCheckpoint\(every_n_epochs=2\)"):
        fit(framework, [AblationAUC(every_n_epochs=2), saver], epochs=1, saving=True)


@both
def test_a_module_without_forward_asks_for_its_network(framework):
    with pytest.raises(BadInput, match=r"Own has no forward\(\) to measure.*There are: net"):
        fit(framework, AblationAUC(), module(framework, forward=False))
    measured = AblationAUC(network="net")
    fit(framework, measured, module(framework, forward=False))
    assert list(measured.curves) == [0, 1]
    assert [site.name for site in measured.latest.sites] == ["2"]


@both
def test_averaged_weights_are_not_measured(framework):
    plain, averaged = AblationAUC(), AblationAUC()
    fit(framework, [plain], validation=True)
    fit(framework, [averaged, framework.callbacks.EMAWeightAveraging()], validation=True)
    assert averaged.curves[1].equal(plain.curves[1])


def test_a_training_goes_on_in_the_other_framework(tmp_path):
    """The state of the callback is stored under one name."""
    first, second = AblationAUC(), AblationAUC()
    trainer = fit(pl, [first], epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt", weights_only=False)
    fit(L, [second], epochs=2, checkpoint=tmp_path / "one.ckpt")
    assert second.curves[0].equal(first.curves[0])
    assert list(second.curves) == [0, 1]


class OnCommand:
    """Made for each framework below: a module that `LightningCLI` builds."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_index):
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return PLAIN


class OnCommandOfOne(OnCommand, pl.LightningModule):
    pass


class OnCommandOfOther(OnCommand, L.LightningModule):
    pass


YAML = """
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  default_root_dir: {folder}
  callbacks:
    - class_path: single_directions.AblationAUC
      init_args:
        seed: 3
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LightningCLI with the newest jsonargparse
@pytest.mark.parametrize("own", [OnCommandOfOne, OnCommandOfOther], ids=["pytorch_lightning", "lightning"])
def test_command_line_with_a_yaml_file_and_the_one_that_it_saves(own, tmp_path, monkeypatch):
    """`LightningCLI` saves the configuration with all defaults; from it the same training follows."""
    pytest.importorskip("jsonargparse")
    cli = import_module(f"{'pytorch_lightning' if issubclass(own, pl.LightningModule) else 'lightning.pytorch'}.cli")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train"])
    (tmp_path / "train.yaml").write_text(YAML.format(folder=tmp_path))

    def auc(config):
        with quiet():
            done = cli.LightningCLI(
                own, args=["fit", "--config", config], save_config_kwargs={"overwrite": True}, seed_everything_default=0
            )
        return done.trainer.callback_metrics["ablation/auc"].item()

    first = auc("train.yaml")
    saved = (tmp_path / "config.yaml").read_text()
    assert "class_path: single_directions" in saved
    assert "seed: 3" in saved
    assert "!!python" not in saved
    assert auc("config.yaml") == first


def test_an_old_version_is_named():
    """Before 2.6 there was no averaging of weights, and the callback would be no `Callback` of a trainer."""
    code = "import lightning.pytorch as L; del L.callbacks.WeightAveraging; import single_directions.training"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search(r"ImportError: lightning.pytorch 2\.\S+ is too old: AblationAUC needs 2.6 or newer", done.stderr)
