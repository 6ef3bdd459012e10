import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from single_directions.ablation.accuracy import correct, tally

NAN = math.nan


def rank(row: list[float], target: int) -> int:
    """Place of the target where the largest comes first, NaN before all, and of equals the lowest index."""
    order = sorted(
        range(len(row)), key=lambda k: (0 if math.isnan(row[k]) else 1, 0 if math.isnan(row[k]) else -row[k], k)
    )
    return order.index(target)


def test_of_equal_logits_the_lowest_class_is_the_answer() -> None:
    logits = torch.tensor([[1.0, 1.0, 1.0]] * 3)
    assert correct(logits, torch.tensor([0, 1, 2])).tolist() == [True, False, False]
    assert correct(logits, torch.tensor([0, 1, 2]), top_k=2).tolist() == [True, True, False]
    assert correct(logits, torch.tensor([0, 1, 2]), top_k=3).tolist() == [True, True, True]


def test_ties_below_the_largest() -> None:
    logits = torch.tensor([[0.0, 5.0, 3.0, 3.0, 0.0]]).repeat(5, 1)
    targets = torch.arange(5)
    found = [correct(logits, targets, top_k).tolist() for top_k in (1, 2, 3, 4, 5)]
    ranks = [3, 0, 1, 2, 4]
    assert found == [[place < top_k for place in ranks] for top_k in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("top_k", [1, 2, 3, 7])
def test_nan_is_larger_than_everything_and_never_right(top_k: int) -> None:
    logits = torch.tensor([[NAN, 1.0, 2.0], [NAN, 1.0, 2.0], [NAN, NAN, NAN]])
    assert correct(logits, torch.tensor([0, 2, 1]), top_k).tolist() == [False, top_k > 1, False]


def test_infinities() -> None:
    logits = torch.tensor([[-math.inf, math.inf, 0.0], [-math.inf] * 3])
    assert correct(logits, torch.tensor([1, 0])).tolist() == [True, True]
    assert correct(logits, torch.tensor([0, 2]), top_k=2).tolist() == [False, False]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_as_sorting_would_have_it(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 6))
    value = st.sampled_from([-1.0, 0.0, -0.0, 1.0, 2.0, NAN, math.inf, -math.inf])
    rows = data.draw(st.lists(st.lists(value, min_size=classes, max_size=classes), min_size=1, max_size=5))
    targets = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows)))
    top_k = data.draw(st.integers(1, classes + 1))
    expected = [
        not math.isnan(row[target]) and rank(row, target) < top_k for row, target in zip(rows, targets, strict=True)
    ]
    assert correct(torch.tensor(rows), torch.tensor(targets), top_k).tolist() == expected


def test_many_sets_of_logits_at_once() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 3])
    found = correct(logits, targets, 2)
    assert found.shape == (2, 3, 4)
    assert torch.equal(found[1, 2], correct(logits[1, 2], targets, 2))


def test_tally_takes_points_in_any_order_from_logits_that_are_overwritten() -> None:
    targets = torch.tensor([0, 1, 1])
    right = {3: 1, 0: 3, 2: 0, 1: 2}

    def stream():
        logits = torch.empty(3, 2)
        for point, count in right.items():
            logits.zero_()
            logits[torch.arange(3), targets] = torch.tensor([1.0 if k < count else -1.0 for k in range(3)])
            yield point, logits
        logits.fill_(NAN)

    counts = torch.tensor([10, 10, 10, 10])
    tally(stream(), targets, 1, counts)
    assert counts.tolist() == [13, 12, 10, 11]


def test_tally_of_more_logits_than_are_judged_together() -> None:
    points, classes = 7, 2**18 + 1  # three sets of logits fill the buffer, so the last is not full
    targets = torch.tensor([5])
    logits = torch.zeros(1, classes)
    counts = torch.zeros(points, dtype=torch.int64)

    def stream():
        for point in range(points):
            logits.zero_()
            logits[0, 5 if point % 2 else 6] = 1
            yield point, logits

    tally(stream(), targets, 1, counts)
    assert counts.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_tally_of_nothing() -> None:
    counts = torch.tensor([4])
    tally(iter(()), torch.tensor([0]), 1, counts)
    assert counts.tolist() == [4]


def test_a_single_logit_is_that_of_class_1() -> None:
    logits = torch.tensor([[2.0], [-1.0], [0.0], [0.0], [torch.nan], [torch.nan]])
    assert correct(logits, torch.tensor([1, 1, 0, 1, 0, 1])).tolist() == [True, False, True, False, False, False]
    assert correct(logits.expand(3, 6, 1), torch.tensor([1, 1, 0, 1, 0, 1])).sum(-1).tolist() == [2, 2, 2]
