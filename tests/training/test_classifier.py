"""What is measured after an epoch, and that training is as configured."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy

from single_directions.data import digits
from single_directions.networks import MLP
from single_directions.training import Classifier, History, Loaders, NonFiniteLoss


def test_measured_is_the_plain_evaluation_of_the_network(data, network, trained):
    logged = trained(network, data, top_k=5).callback_metrics
    network.eval()  # dropout would change each of these
    for split, images in (("train", data.train_plain), ("test", data.test)):
        inputs = torch.stack([images[i][0] for i in range(len(images))])
        with torch.no_grad():
            logits = network(inputs)
        right = logits.argmax(1) == images.labels
        among_five = (logits.topk(5).indices == images.labels[:, None]).any(1)
        assert logged[f"{split}/accuracy"].item() == pytest.approx(right.double().mean().item())
        assert logged[f"{split}/accuracy_top5"].item() == pytest.approx(among_five.double().mean().item())
        assert logged[f"{split}/loss"].item() == pytest.approx(cross_entropy(logits, images.labels).item(), rel=1e-5)


def test_names_that_are_logged(data, network, trained):
    names = {f"{split}/{name}" for split in ("train", "test") for name in ("loss", "accuracy")}
    logged = trained(network, data, epochs=3).callback_metrics
    assert set(logged) == {"epoch", "train/changed_predictions", *names}
    assert logged["epoch"] == 3


def test_held_out_images_are_measured_beside_the_others(network, trained):
    data = digits(train_samples=130, test_samples=50, corruption=0.5, held_out=0.2)
    logged = trained(network, data, top_k=5).callback_metrics
    network.eval()
    images, labels = data.held_out.__getitems__(range(26))
    with torch.no_grad():
        logits = network(images)
    assert logged["held_out/accuracy"].item() == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert logged["held_out/loss"].item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
    assert "held_out/accuracy_top5" in logged


class Predictions(pl.Callback):
    """The classes that the network gives the training images after each epoch."""

    def __init__(self, data):
        self.images, self.after = data.train_plain.__getitems__(range(len(data.train_plain)))[0], []

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.eval()
        with torch.no_grad():
            self.after.append(pl_module.network(self.images).argmax(1))
        pl_module.train()

    @property
    def changed(self):
        pairs = zip(self.after, self.after[1:], strict=False)
        return [(one != other).double().mean().item() for one, other in pairs]


def test_changed_predictions_are_those_that_differ_from_the_epoch_before(data, network, trained):
    history, predictions = History(), Predictions(data)
    trained(network, data, epochs=5, callbacks=[history, predictions])
    rows = history.to_frame()["train/changed_predictions"]
    assert rows.isna().tolist() == [True, False, False, False, False]
    assert rows[1:].tolist() == pytest.approx(predictions.changed)
    assert len(set(predictions.changed)) > 1


def test_changed_predictions_survive_a_checkpoint(data, network, trained, tmp_path):
    whole, cut, resumed = History(), History(), History()
    twin = copy.deepcopy(network)
    trained(network, data, epochs=4, callbacks=[whole])
    kept = ModelCheckpoint(tmp_path, filename="last")
    trained(twin, data, epochs=2, callbacks=[cut, kept])
    trained(twin, data, epochs=4, callbacks=[resumed], checkpoint=tmp_path / "last.ckpt")
    assert resumed.to_frame()["train/changed_predictions"].tolist()[-2:] == pytest.approx(
        whole.to_frame()["train/changed_predictions"].tolist()[-2:]
    )


def test_epochs_apart_have_no_changed_predictions(data, network, trained):
    logged = trained(network, data, epochs=4, check_val_every_n_epoch=2).callback_metrics
    assert "train/changed_predictions" not in logged


def test_checkpoint_of_other_images_gives_no_changed_predictions(data, network, trained, tmp_path):
    kept = ModelCheckpoint(tmp_path, filename="last")
    trained(network, data, epochs=2, callbacks=[kept])
    others, history = digits(train_samples=120, test_samples=50), History()
    trained(network, others, epochs=4, callbacks=[history], checkpoint=tmp_path / "last.ckpt")
    assert history.to_frame()["train/changed_predictions"].isna().tolist() == [True, False]


def test_forward_is_the_network(network):
    network.eval()
    images = torch.rand(3, 1, 8, 8)
    assert Classifier(network, torch.optim.SGD)(images).equal(network(images))


def test_a_step_is_that_of_plain_sgd(data, trained):
    torch.manual_seed(0)
    network = MLP((1, 8, 8), 10, hidden=(16,))
    plain = copy.deepcopy(network)
    trained(network, data, epochs=1, lr=0.05)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for images, labels in Loaders(data, 32, 0).train_dataloader():
        optimizer.zero_grad()
        cross_entropy(plain(images), labels).backward()
        optimizer.step()
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_training_follows_from_its_seed_alone(data, network, trained):
    networks = [copy.deepcopy(network) for _ in range(3)]
    for twin, seed in zip(networks, (0, 0, 1), strict=True):
        torch.rand(3)  # whatever was drawn before
        trained(twin, data, seed=seed)
    weights = [twin.fc1.weight for twin in networks]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])  # dropout


def test_training_that_diverges_names_the_epoch(data, network, trained):
    with pytest.raises(NonFiniteLoss, match="after epoch 1: try a lower learning rate"):
        trained(network, data, lr=1e30)
