"""The benchmark: its records are complete and its arithmetic is right. No test is about speed."""

import json
import sys
from itertools import product

import pytest
import torch
from PIL import Image
from torch import nn

from single_directions.benchmark import ablation as cases
from single_directions.benchmark import training as ways
from single_directions.benchmark.ablation import CASES, Case, ablation
from single_directions.benchmark.callback import TRAININGS, Training, callback
from single_directions.benchmark.cli import benchmark
from single_directions.benchmark.precision import designs, precision, training_of
from single_directions.errors import BadInput
from single_directions.networks import MLP

TINY = Case(lambda: MLP((1, 4, 4), 3, hidden=(8, 8)), (1, 4, 4), 12, 2, 5, (6, 12), classes=3)


def test_records_are_whole(monkeypatch):
    monkeypatch.setitem(CASES, "tiny", TINY)
    (records,) = ablation(["tiny"], repeats=1)
    assert [record["method"] for record in records] == ["reference", "incremental", "prefix", "auto"]
    for record in records:
        assert record["seconds"] > 0
        assert record["max_logit_difference"] < 1e-5
        assert record["ratio_to_reference"] == pytest.approx(records[0]["seconds"] / record["seconds"])


def test_arithmetic_is_counted_by_hand():
    # Reference: a point is 12 images through 16 x 8 + 8 x 8 + 8 x 3 weights, two operations each; 2 x 5 points.
    operations, _, _ = cases._arithmetic_and_difference(TINY.network().eval(), TINY, "reference", "cpu")
    assert operations == 2 * 5 * 12 * 2 * (16 * 8 + 8 * 8 + 8 * 3)
    # Prefix: the first layer once, the rest at each point.
    operations, _, _ = cases._arithmetic_and_difference(TINY.network().eval(), TINY, "prefix", "cpu")
    assert operations == 12 * 2 * (16 * 8 + 2 * 5 * (8 * 8 + 8 * 3))
    # Incremental: the first layer once, the second once an ordering, the head (8 slots are all) at each point.
    operations, _, _ = cases._arithmetic_and_difference(TINY.network().eval(), TINY, "incremental", "cpu")
    assert operations == 12 * 2 * (16 * 8 + 2 * (8 * 8 + 5 * 8 * 3))


def test_cases_are_the_documented_ones():
    assert list(CASES)[:4] == ["mlp", "convnet", "resnet50", "resnet18"]
    assert sum(case.small for case in CASES.values()) == 5
    assert CASES["exact"].points == "all"
    with pytest.raises(BadInput, match=r"'mpl'.*mlp, convnet"):
        list(ablation(["mpl"]))


def test_command_line_writes_records(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(CASES, "tiny", TINY)
    file = tmp_path / "records.json"
    words = f"benchmark.py ablation --cases tiny --repeats 1 --json {file}"
    monkeypatch.setattr(sys, "argv", words.split())
    benchmark()
    record = json.loads(file.read_text())[1]
    assert {"case", "method", "seconds", "ratio_to_reference", "floor_seconds"} <= record.keys()
    assert (record["repeats"], record["device"], record["threads"]) == (1, "cpu", torch.get_num_threads())
    assert "incremental" in capsys.readouterr().out


def test_training_times_all_ways_on_the_same_work():
    (records,) = ways.training(repeats=1, images=256)
    assert [record["method"] for record in records] == ["bare loop", "single-directions", "per-sample transforms"]
    assert all(record["seconds"] > 0 for record in records)
    assert records[0]["ratio_to_bare_loop"] == records[1]["ratio_to_single_directions"] == 1


def test_reference_is_the_fastest_of_its_batch_sizes(monkeypatch):
    seconds = {6: 3.0, 12: 2.0}
    monkeypatch.setattr(cases, "_scaled", lambda network, case, method, size, device: seconds[size])
    monkeypatch.setattr(cases, "_whole", lambda *_: 0.5)
    records = cases._time_case("tiny", TINY, 1, "cpu", rate=1.0)
    assert records[0]["seconds"] == 2.0
    assert records[0]["batch"] == 12
    assert records[1]["ratio_to_reference"] == 4.0


def test_the_callback_is_timed_against_an_epoch(monkeypatch):
    tiny = Training(lambda: MLP((1, 4, 4), 10, hidden=(8, 8)), (1, 4, 4), 20_000, 2, 0.5)
    monkeypatch.setitem(TRAININGS, "tiny", tiny)
    (record,) = callback("tiny", repeats=1)
    assert record["callback_of_epoch"] == pytest.approx(record["callback_seconds"] / record["epoch_seconds"])
    assert 1000 <= record["masks"] <= 1.01 * 7500
    assert 0 < record["auc_se"] < 0.05
    assert list(TRAININGS)[:3] == ["mlp", "convnet", "resnet18"]


def test_precision_is_that_of_a_training(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where there is no MNIST
    first, second = precision("mlp", epochs=2)
    assert (first["case"], first["epoch"], second["epoch"]) == ("mlp on digits", 1, 2)
    assert 0.3 < first["accuracy"] <= second["accuracy"] <= 1
    assert first["change_se"] != first["change_se"]
    assert 0 < second["change_se"] < 2 * second["auc_se"] < 0.05


@pytest.fixture
def cifar10(monkeypatch, tmp_path):
    """Three images a class, with a column of white for each, and an MLP in the ConvNet's place."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="CIFAR-10"):
        next(precision("convnet"))
    for part, label in product(("train", "test"), range(10)):
        folder = tmp_path / "data" / "cifar10" / part / str(label)
        folder.mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (32, 32), (0, 40 * number, 0))
            image.paste("white", (3 * label, 0, 3 * label + 3, 32))
            image.save(folder / f"{number}.png")
    tiny = Training(lambda: MLP((3, 32, 32), 10, hidden=(64,)), (3, 32, 32), 30, 1, 1)
    monkeypatch.setitem(TRAININGS, "convnet", tiny)


def test_precision_on_images_of_cifar10(cifar10):
    *_, record = precision("convnet", epochs=5)
    assert record["case"] == "convnet on cifar-10"
    assert record["masks"] >= 1000
    assert record["accuracy"] > 0.5
    assert 0 < record["auc_se"] < 0.05


def test_each_step_in_bfloat16_reads_the_weights_of_the_step_before(cifar10, monkeypatch):
    def changed(network, optimizer, batches):
        inputs, _ = next(batches)
        assert network(inputs).dtype == torch.bfloat16
        for weight in network.parameters():
            nn.init.zeros_(weight)
        assert not network(inputs).any()
        optimizer.step()

    monkeypatch.setattr("single_directions.benchmark.precision.train", changed)
    training_of("convnet", "cpu", 1).epoch()


def test_designs_of_an_estimate_are_compared_at_the_same_error(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    own, *shared = designs(repeats=1, images=640, epochs=1)
    assert own["time_at_same_error"] == 1
    assert [record["design"] for record in shared] == ["one ordering for 16 images", "one ordering for 64 images"]
    for record in shared:
        error, seconds = (record[name] / own[name] for name in ("auc_se", "seconds"))
        assert record["time_at_same_error"] == pytest.approx(error**2 * seconds)
    assert 0 < own["auc_se"] < shared[-1]["auc_se"] < 0.1
