"""Counts of several curves give the curve of all their images."""

import torch
from torch import nn

from single_directions import ablation_curve
from single_directions.ablation import AblationCurve
from single_directions.training import CurveCounts


def test_curve_of_parts_is_that_of_the_whole():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)).double()
    inputs, targets = torch.randn(50, 4).double(), torch.randint(3, (50,))
    whole = ablation_curve(network, [(inputs, targets)], orderings=2, points=4)
    counts = CurveCounts(2, 4)
    for part in (slice(0, 7), slice(7, 50)):
        counts.update(ablation_curve(network, [(inputs[part], targets[part])], orderings=2, points=4))
    accuracy, images = counts.compute()
    assert accuracy.equal(whole.accuracy)
    assert images == 50
    counts.reset()
    counts.update(whole)
    assert counts.compute()[0].equal(whole.accuracy)


def test_a_curve_that_is_no_number_is_not_hidden():
    counts = CurveCounts(1, 2)
    for accuracy in ([[1.0, 0.0]], [[torch.nan, torch.nan]]):
        counts.update(AblationCurve(torch.tensor(accuracy), torch.tensor([0, 3]), units=3, images=2))
    assert counts.compute()[0].isnan().all()
