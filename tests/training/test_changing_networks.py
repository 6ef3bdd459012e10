"""A training whose network is measured in another way in some epochs goes on."""

import math
import warnings

import pytest
import torch
from own_training import Augmented, Own, fit
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn.functional import dropout, relu
from torch.utils.data import DataLoader

from single_directions import AblationAUC


class Scheduled(Own):
    """Its dropout is on in eval mode too, where its schedule says so."""

    rates = (0.0, 0.5, 0.5, 0.0)

    def __init__(self):
        super().__init__()
        self.register_buffer("rate", torch.zeros(()))

    def on_train_epoch_start(self):
        self.rate.fill_(self.rates[self.current_epoch])

    def forward(self, images):
        hidden = relu(self.norm(self.first(images.flatten(1))))
        return self.head(dropout(hidden + relu(self.second(hidden)), float(self.rate), training=True))


def trained(callbacks, kind=Scheduled, batch=16, **settings):
    """The module, and what it warned of."""
    torch.manual_seed(0)
    module = kind()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(module, callbacks, epochs=4, train=DataLoader(Augmented(noise=0), batch), **settings)
    return module, [str(one.message) for one in caught if "no longer measured" in str(one.message)]


@pytest.mark.parametrize("batch", [16, 96])  # in one batch of 96 images each would have too few masks for all points
@pytest.mark.parametrize("rates", [(0.0, 0.5, 0.5, 0.0), (0.5, 0.0, 0.0, 0.5)], ids=["up and down", "down and up"])
def test_a_training_goes_on_where_images_begin_or_cease_to_influence_each_other(rates, batch, monkeypatch):
    monkeypatch.setattr(Scheduled, "rates", rates)
    measured = AblationAUC(signal="auc")
    watched, told = trained([measured], batch=batch)
    plain, _ = trained([], batch=batch)
    assert all(value.equal(plain.state_dict()[name]) for name, value in watched.state_dict().items())
    assert len(told) == 1
    assert "ablation/fall starts anew" in told[0]
    assert list(measured.values) == [0, 1, 2, 3]
    assert all(math.isfinite(value) for values in measured.values.values() for value in values.values())
    assert measured.values[1]["fall"] == measured.values[3]["fall"] == 0
    assert measured._best is measured.latest
    assert (measured.latest.classes is None) == (rates[-1] > 0)
    assert measured.latest.masks == measured.form["masks"] >= 1000
    assert len(measured.latest.points.unique()) == 23


def test_a_training_is_resumed_although_images_influence_each_other_only_since(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    trained([AblationAUC(), saver])
    for epoch in range(3):
        measured = AblationAUC()
        trained([measured], checkpoint=tmp_path / f"epoch={epoch}.ckpt")
        assert list(measured.values) == [0, 1, 2, 3]


class Growing(Own):
    """It gets further units in its third epoch."""

    def __init__(self):
        super().__init__()
        self.more = None

    def on_train_epoch_start(self):
        if self.current_epoch == 2:
            self.more = nn.Linear(12, 8)
            self.last = nn.Linear(8, 12)

    def forward(self, images):
        hidden = relu(self.norm(self.first(images.flatten(1))))
        if self.more is not None:
            hidden = hidden + self.last(relu(self.more(hidden)))
        return self.head(hidden)


def test_a_network_that_grows_has_curves_of_all_its_units(tmp_path):
    measured = AblationAUC(signal="auc")
    _, told = trained([measured], Growing)
    assert len(told) == 1
    frame = measured.to_frame()
    for epoch, units in {1: 12, 2: 12, 3: 20, 4: 20}.items():
        own = frame[frame["epoch"] == epoch]
        assert own["units_ablated"].tolist() == list(range(units + 1))
        assert own["fraction_ablated"].tolist() == pytest.approx([k / units for k in range(units + 1)])
        assert own["accuracy"].tolist() == measured.curves[epoch - 1][:, 0].tolist()


class Grown(Growing):
    """It has its further units from the start, as a network must whose weights are loaded."""

    def __init__(self):
        super().__init__()
        self.more, self.last = nn.Linear(12, 8), nn.Linear(8, 12)

    def on_train_epoch_start(self):
        pass

    def configure_optimizers(self):
        [group] = super().configure_optimizers().param_groups  # that of `Growing` began without the further units
        further = [*self.more.parameters(), *self.last.parameters()]
        own = [one for one in group["params"] if all(one is not other for other in further)]
        return torch.optim.SGD(own, group["lr"])


def test_a_training_of_a_network_that_has_grown_is_resumed(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    trained([AblationAUC(), saver], Growing)
    measured = AblationAUC()
    trained([measured], Grown, checkpoint=tmp_path / "epoch=2.ckpt")
    assert list(measured.values) == [0, 1, 2, 3]
    assert measured.latest.units == 20
