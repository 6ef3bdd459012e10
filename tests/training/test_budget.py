"""How much of an epoch's arithmetic a measurement of the callback takes."""

import pytest
import torch
from own_training import Augmented, Own, fit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationAUC
from single_directions.ablation.rows import Cost
from single_directions.training.budget import plan_for, told_cost

BUDGET = 2**30


def convolutional():
    """Its first site comes early: nearly all of a forward pass is done for each mask."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


@pytest.mark.parametrize("cost", [0.05, 0.2])
@pytest.mark.parametrize("epoch", [20_000, 60_000, 1_000_000])
def test_cost_buys_a_mask_for_each_pass_of_its_share_of_an_epoch(cost, epoch):
    plan = plan_for(convolutional(), torch.rand(8, 1, 8, 8), epoch, None, cost, epoch, 1, BUDGET)
    assert plan.images * plan.masks_per_image == pytest.approx(cost * 3 * epoch, rel=0.01)


def test_no_more_masks_than_needed_are_drawn_where_they_are_cheap():
    """All of the network but its last two layers lies before the only site."""
    network = nn.Sequential(nn.Linear(64, 500), nn.Linear(500, 20), nn.ReLU(), nn.Linear(20, 5))
    plan = plan_for(network, torch.rand(8, 64), 50_000, None, 0.05, 50_000, 1, BUDGET)
    assert plan.images * plan.masks_per_image == pytest.approx(7500, rel=0.01)
    assert 0.4 * 7500 < plan.passes <= 0.6 * 7500
    assert plan.masks_per_image == 2  # with one each, 7,500 images would cost more than 7,500 passes


def test_few_masks_an_image_only_where_passes_are_left_over():
    cost = Cost(image=1.0, mask=0.5, masks_to_images=8.0)
    assert cost.masks_an_image() == 4
    assert cost.masks_an_image(6000, 4500) == 4  # 1,500 images: 4,500 passes; with 3 masks each: 5,000
    assert cost.masks_an_image(6000, 5000) == 3
    assert cost.masks_an_image(6000, 6000) == 2
    assert cost.masks_an_image(6000, 8999) == 2
    assert cost.masks_an_image(6000, 9000) == 1


def test_at_least_a_thousand_masks_are_measured_however_short_an_epoch_is():
    network, inputs = convolutional(), torch.rand(8, 1, 8, 8)
    for processes in (1, 8):
        plan = plan_for(network, inputs, 2000, None, 0.001, 2000, processes, BUDGET)
        assert plan.images * plan.masks_per_image >= max(1000, 500 * processes)


@pytest.mark.parametrize("epoch", [30, 200, 500])
def test_a_short_epoch_has_about_a_thousand_masks_however_cheap_they_are(epoch):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 4))
    plan = plan_for(network, torch.rand(8, 1, 8, 8), epoch, None, 0.05, epoch, 1, BUDGET)
    assert 1000 <= plan.images * plan.masks_per_image <= 1250


def test_few_images_are_all_measured_with_more_masks_each():
    plan = plan_for(convolutional(), torch.rand(8, 1, 8, 8), 100, None, 5000 / 300, 100, 1, BUDGET)
    assert plan.images == 100
    assert plan.masks_per_image == 50


def test_a_network_whose_images_share_masks_is_measured_on_some_of_them():
    class Shared(Own):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(12, track_running_stats=False)

    plan = plan_for(Shared(), torch.rand(8, 1, 8, 8), 60_000, None, 0.05, 60_000, 1, BUDGET)
    assert plan.images < 60_000
    assert plan.passes < 2.5 * 9000
    data = Augmented(images=200, noise=0)
    measured = AblationAUC()
    fit(Shared(), [measured], epochs=1, train=DataLoader(TensorDataset(data.inputs.float(), data.labels), 100))
    assert 0 < measured.values[0]["auc_se"] < 0.2


def test_told_where_an_epoch_has_no_known_end():
    assert told_cost(1234.4, 0) == "which cost 1,234 forward passes of an image"
    assert told_cost(150, 1000) == "which cost 5.00% of an epoch's arithmetic"
