"""The callback in a training of two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_training import SAMPLES, Plain
from own_training import IMAGES, Augmented

from single_directions import ablation_curve


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """What each of the two processes knew at the end."""
    folder = tmp_path_factory.mktemp("ddp")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "error", Path(__file__).with_name("ddp_training.py"), folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_all_processes_know_the_same(known):
    one, other = known
    for name, curves in one["accuracy"].items():
        assert curves.keys() == other["accuracy"][name].keys() == set(range(one["epochs"]))
        assert all(curve.equal(other["accuracy"][name][epoch]) for epoch, curve in curves.items())
    assert one["logged"] == other["logged"]
    assert one["epochs"] == other["epochs"] < 12


def test_all_processes_draw_from_all_images(known):
    """Also though each process's sampler gives it only its share."""
    one, other = (process["indices"]["ablation"] for process in known)
    assert one.equal(other)
    assert len(one.unique()) == SAMPLES
    assert {int(i) % 2 for i in one} == {0, 1}


def test_counts_are_summed_over_processes(known):
    """(2 + 3) / 8 and (1 + 0) / 8."""
    for process in known:
        accuracy, images = process["summed"]
        assert accuracy.tolist() == [[5 / 8, 1 / 8]]
        assert images == 8


@pytest.mark.parametrize(("name", "clamp"), [("ablation", "zero"), ("mean", "mean"), ("given", "zero")])
def test_curve_is_that_of_one_process(known, name, clamp):
    network = Plain()
    network.load_state_dict(known[0]["weights"])
    data = Augmented(noise=0)
    indices = known[0]["indices"][name]
    inputs, labels = (data.inputs, data.labels) if indices is None else (data.inputs[indices], data.labels[indices])
    curve = ablation_curve(network, [(inputs.float(), labels)], orderings=2, points=5, clamp=clamp)
    last = known[0]["accuracy"][name][known[0]["epochs"] - 1]
    assert last.equal(curve.accuracy)
    assert known[0]["images"][name] == {IMAGES if name == "given" else SAMPLES}
    assert known[0]["logged"][f"{name}/auc"] == pytest.approx(curve.auc.mean().item())
