"""Batches: their order and their content."""

import torch

from single_directions.data import digits
from single_directions.training import EpochOrder, Loaders, measuring_loader


def test_each_epoch_is_a_permutation_of_its_own():
    order = EpochOrder(50, seed=3)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(list(order))
        assert sorted(epochs[-1]) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_order_follows_from_seed_and_epoch_alone():
    straight, resumed, other = EpochOrder(50, 3), EpochOrder(50, 3), EpochOrder(50, 4)
    for epoch in range(5):
        straight.set_epoch(epoch)
        list(straight)
    torch.rand(7)
    resumed.set_epoch(4)
    other.set_epoch(4)
    assert list(straight) == list(resumed) != list(other)
    # The seeds of workers, which a DataLoader draws when it starts to read.
    straight.set_epoch(4)
    resumed.set_epoch(4)
    assert straight.generator.get_state().equal(resumed.generator.get_state())


def test_order_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    list(EpochOrder(50, 3))
    assert torch.get_rng_state().equal(before)


def test_training_batches_hold_every_image_once(data):
    batches = list(Loaders(data, 32, seed=0).train_dataloader())
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 32, 2]
    labels = torch.cat([labels for _, labels in batches])
    assert labels.bincount().equal(data.train.labels.bincount())
    assert not labels.equal(data.train.labels)


def test_single_image_left_over_is_not_a_batch():
    data = digits(train_samples=129)
    assert [len(labels) for _, labels in Loaders(data, 32, 0).train_dataloader()] == [32] * 4
    assert [len(labels) for _, labels in Loaders(data, 1, 0).train_dataloader()] == [1] * 129


def test_measuring_takes_images_in_their_order(data):
    for images in (data.train_plain, data.test):
        [(inputs, labels)] = list(measuring_loader(data, images))
        assert labels.equal(images.labels)
        assert inputs[7].equal(images[7][0])


def test_validation_is_training_then_test_images(data):
    train, test = Loaders(data, 32, 0).val_dataloader()
    assert (train.dataset, test.dataset) == (data.train_plain, data.test)


def test_held_out_images_are_validated_on_last():
    data = digits(train_samples=130, held_out=0.1)
    loaders = Loaders(data, 32, 0).val_dataloader()
    assert [loader.dataset for loader in loaders] == [data.train_plain, data.test, data.held_out]
    assert len(data.train) == len(Loaders(data, 32, 0).order) == 117


def test_processes_share_an_epochs_order():
    order = EpochOrder(50, seed=3)
    shares = [list(EpochOrder(50, 3, share=(number, 3))) for number in range(3)]
    assert [len(share) for share in shares] == [17] * 3  # equal, or one would wait for another
    together = [index for turn in zip(*shares, strict=True) for index in turn]
    assert together == [*order, *list(order)[:1]]


def test_processes_share_what_is_measured(data):
    shares = [measuring_loader(data, data.test, share=(number, 3)) for number in range(3)]
    labels = [torch.cat([labels for _, labels in loader]) for loader in shares]
    assert all(labels[number].equal(data.test.labels[number::3]) for number in range(3))
