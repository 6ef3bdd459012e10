"""What is measured after an epoch, and that training is what it should be."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from single_directions.networks import MLP
from single_directions.training import Classifier, Loaders, NonFiniteLoss


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
