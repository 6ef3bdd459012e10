"""With callbacks that average weights the callback measures the weights that are trained."""

import pytest
import pytorch_lightning as pl
import torch
from own_training import Augmented, Own, fit
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from torch.utils.data import DataLoader

from single_directions import AblationAUC

PLAIN = DataLoader(Augmented(noise=0), 16)
LOOPS = {
    "no validation": {},
    "validation": {"validation": True},
    "validation in some epochs": {"validation": True, "check_val_every_n_epoch": 2},
}


class Raw(pl.Callback):
    """The AUC's network after the last batch of each epoch: nothing has been exchanged for averages yet."""

    def __init__(self):
        self.states = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.states[trainer.current_epoch] = {name: value.clone() for name, value in pl_module.state_dict().items()}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("averaging", [WeightAveraging, EMAWeightAveraging])
def test_weights_that_are_trained_are_measured(loop, first, averaging):
    ablation = AblationAUC()
    averages = averaging()
    order = [ablation, averages] if first else [averages, ablation]
    raw = Raw()
    fit(Own(), [raw, *order], epochs=4, train=PLAIN, **loop)
    assert list(ablation.curves) == [0, 1, 2, 3]
    for epoch, state in raw.states.items():
        alone = Own()
        alone.load_state_dict(state)
        again = AblationAUC(batches=PLAIN)
        fit(Still(alone), [again], epochs=1, train=PLAIN)
        assert again.values[0]["accuracy"] == ablation.values[epoch]["accuracy"]


class Still(Own):
    """Trains nothing."""

    def __init__(self, own):
        super().__init__(lr=0.0)
        self.load_state_dict(own.state_dict())

    def on_train_batch_start(self, batch, batch_idx):
        return -1


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_epoch_in_which_swa_updates_its_averages_is_not_measured(batch_norm):
    """It comes last, where the network has batch norm: the weights that were trained are gone by then."""

    class Network(Own):
        def __init__(self):
            super().__init__()
            if not batch_norm:
                self.norm = torch.nn.Identity()

    ablation, epochs = AblationAUC(), Raw()
    swa = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=2)
    fit(Network(), [epochs, ablation, swa], epochs=3, train=PLAIN)
    assert list(epochs.states) == [0, 1, 2, 3] if batch_norm else [0, 1, 2]
    assert list(ablation.curves) == [0, 1, 2]
