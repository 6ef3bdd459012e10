import hashlib
import struct
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from single_directions.data.labels import class_balanced_subset, corrupt, label_hash
from single_directions.errors import BadInput

LABELS = torch.arange(1000) % 10
label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(torch.tensor)
fractions = st.floats(0, 1)
seeds = st.integers(-(2**40), 2**40)
# How fast a machine draws and runs examples is no property of the code.
on_any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def counts(labels: Tensor) -> list[int]:
    return labels.bincount(minlength=10).tolist()


@on_any_machine
@given(labels=label_lists, corruption=fractions, seed=seeds)
def test_shuffling_keeps_class_counts_and_leaves_the_rest_alone(labels: Tensor, corruption: float, seed: int) -> None:
    before = labels.clone()
    corrupted = corrupt(labels, corruption, "shuffle", seed)
    assert torch.equal(labels, before)
    assert counts(corrupted) == counts(labels)
    assert (corrupted != labels).sum() <= round(corruption * len(labels))


@on_any_machine
@given(labels=label_lists, corruption=fractions, seed=seeds)
def test_replacing_draws_from_the_classes_there_are(labels: Tensor, corruption: float, seed: int) -> None:
    corrupted = corrupt(labels, corruption, "uniform", seed)
    assert set(corrupted.tolist()) <= set(labels.tolist())
    assert (corrupted != labels).sum() <= round(corruption * len(labels))


@pytest.mark.parametrize("kind", ["shuffle", "uniform"])
@pytest.mark.parametrize("corruption", [0.2, 0.5, 1.0])
def test_about_nine_in_ten_chosen_labels_of_ten_classes_come_out_untrue(kind: str, corruption: float) -> None:
    labels = LABELS.repeat(20)
    untrue = (corrupt(labels, corruption, kind, seed=3) != labels).float().mean()
    assert untrue.item() == pytest.approx(0.9 * corruption, abs=0.01)


@pytest.mark.parametrize("kind", ["shuffle", "uniform"])
def test_no_corruption_changes_nothing(kind: str) -> None:
    assert torch.equal(corrupt(LABELS, 0, kind), LABELS)


@pytest.mark.parametrize("kind", ["shuffle", "uniform"])
def test_what_a_lower_level_corrupts_a_higher_one_chooses_too(kind: str) -> None:
    # With each label a class of its own a chosen label stays true only by rare chance, so that the untrue labels of
    # many levels together are all that were chosen.
    labels = torch.arange(1000)
    untrue = [corrupt(labels, level, kind, seed=1) != labels for level in (0.2, 0.4, 0.6, 0.8)]
    for lower, higher in pairwise(untrue):
        assert (lower & ~higher).sum() <= 3
        assert (higher & ~lower).sum() >= 190


def test_replaced_labels_are_replaced_alike_at_every_level() -> None:
    lower, higher = (corrupt(LABELS, level, "uniform", seed=1) for level in (0.3, 0.7))
    changed = lower != LABELS
    assert changed.sum() > 200
    assert torch.equal(lower[changed], higher[changed])


def test_the_seed_decides_and_the_global_generator_is_neither_read_nor_advanced() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = corrupt(LABELS, 0.5, seed=7), class_balanced_subset(LABELS, 100, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again = corrupt(LABELS, 0.5, seed=7), class_balanced_subset(LABELS, 100, seed=7)
    other = corrupt(LABELS, 0.5, seed=8), class_balanced_subset(LABELS, 100, seed=8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@on_any_machine
@given(labels=label_lists, data=st.data(), seed=seeds)
def test_a_subset_takes_as_many_of_each_class_as_there_can_be(labels: Tensor, data: st.DataObject, seed: int) -> None:
    there = labels.bincount()
    samples = data.draw(st.integers(int((there > 0).sum()), len(labels)))
    chosen = class_balanced_subset(labels, samples, seed)
    assert len(chosen) == samples
    assert (chosen[1:] > chosen[:-1]).all()  # sorted, none twice
    taken = labels[chosen].bincount(minlength=len(there))
    left_some = taken < there
    # A class that could have given more gave as many as the most generous, or one fewer.
    assert (taken[left_some] >= taken.max() - 1).all()


def test_the_share_of_a_small_class_is_spread_over_the_others() -> None:
    labels = torch.tensor([0] * 2 + [1] * 50 + [2] * 50)
    assert counts(labels[class_balanced_subset(labels, 32)])[:3] == [2, 15, 15]


def test_a_smaller_subset_lies_within_a_larger_one() -> None:
    smaller, larger = (set(class_balanced_subset(LABELS, n, seed=2).tolist()) for n in (55, 300))
    assert smaller < larger


def test_every_image_is_as_likely_as_any_other() -> None:
    labels = torch.arange(20) % 2
    chosen = torch.cat([class_balanced_subset(labels, 10, seed) for seed in range(400)]).bincount(minlength=20)
    assert (chosen - 200).abs().max() < 50  # 5 standard deviations of a fair coin thrown 400 times


@pytest.mark.parametrize("samples", [9, 1001])
def test_a_subset_smaller_than_the_classes_or_larger_than_the_set_is_refused(samples: int) -> None:
    message = rf"data\.train_samples must lie between 10, one for each class, and 1000, all images: not {samples}"
    with pytest.raises(BadInput, match=message):
        class_balanced_subset(LABELS, samples, key="data.train_samples")


def test_the_hash_is_that_of_the_labels_as_64_bit_little_endian_numbers() -> None:
    expected = hashlib.sha256(struct.pack("<3q", 4, 0, 9)).hexdigest()[:16]
    assert label_hash(torch.tensor([4, 0, 9])) == expected
    assert label_hash(torch.tensor([4, 9, 0])) != expected
