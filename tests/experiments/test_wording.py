"""Numbers in words."""

import math

import pytest

from single_directions.experiments.statistics import Estimate
from single_directions.experiments.wording import count, duration, interval, number, place, setting, some


@pytest.mark.parametrize(
    ("value", "told"), [(0.12349, "0.123"), (-2, "\N{MINUS SIGN}2.000"), (None, "–"), (math.nan, "–"), (math.inf, "–")]
)
def test_numbers(value, told):
    assert number(value) == told


def test_intervals_are_left_out_where_there_are_none():
    assert interval(Estimate(-0.5, -1, 0.25), 2) == "−0.50 [−1.00, 0.25]"
    assert interval(Estimate(0.5, None, None)) == "0.500"
    assert interval(Estimate(None, None, None)) == "–"


def test_counts_and_durations():
    assert (count(1, "run"), count(1200, "run")) == ("1 run", "1,200 runs")
    assert [duration(s) for s in (8.24, 59.99, 200, 3599.6, 7500)] == [
        "8.2 s", "60.0 s", "3 min 20 s", "1 h 0 min", "2 h 5 min",
    ]  # fmt: skip


def test_settings_are_told_as_a_reader_says_them():
    assert setting("data.train_samples", "10000") == "10,000 training images"
    assert setting("network.width", "0.25") == "width 0.25"
    assert setting("optimizer.momentum", "0.5") == "optimizer.momentum=0.5"
    assert place("digits", "demo", {}) == "digits at demo scale"
    folder = {"data.root": "cifar10", "optimizer.lr": "0.1"}
    assert place("image_folder", "paper", folder) == "cifar10 (a folder of images) at paper scale, learning rate 0.1"
    assert setting("data.train_samples", "null") == "data.train_samples=null"
    assert setting("~tracking", "") == "~tracking"


def test_of_many_names_some_are_shown():
    assert some(["a", "b"]) == "a; b"
    assert some(list("abcdefgh")) == "a; b; c; d; e; f and 2 more"
    assert some(["a"], total=3) == "a and 2 more"
