"""The callback in a training of two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_training import SAMPLES, Plain
from own_training import IMAGES, Augmented

from single_directions import AblationEstimate, ablation_auc
from single_directions.training.seeds import derived_seed


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
    for name, curves in one["curves"].items():
        assert curves.keys() == other["curves"][name].keys() == set(range(one["epochs"]))
        assert all(curve.equal(other["curves"][name][epoch]) for epoch, curve in curves.items())
        assert one["values"][name] == other["values"][name]
    assert one["logged"] == other["logged"]
    assert one["epochs"] == other["epochs"] < 12


def test_all_processes_draw_from_all_images(known):
    """Also though each process's sampler gives it only its share."""
    one, other = (process["indices"]["ablation"] for process in known)
    assert one.equal(other)
    assert len(one.unique()) == SAMPLES
    assert {int(i) % 2 for i in one} == {0, 1}


@pytest.mark.parametrize(("name", "clamp"), [("ablation", "zero"), ("mean", "mean"), ("given", "zero")])
def test_estimate_is_that_of_one_process(known, name, clamp):
    """It is the two processes' own together, which have masks of their own."""
    network = Plain()
    network.load_state_dict(known[0]["weights"])
    images, masks = (known[0]["form"][name][key] for key in ("images", "masks"))
    assert images == (IMAGES if name == "given" else SAMPLES)
    parts = []
    for rank in range(1 if clamp == "mean" else 2):
        seed = 0 if clamp == "mean" else derived_seed(0, "masks", rank)
        batches = known[rank]["batches"][name]
        own = sum(len(targets) for _, targets in batches)
        each = masks // images
        population = torch.bincount(Augmented().labels)
        parts.append(
            ablation_auc(
                network, batches, masks=own * each, masks_per_image=each, clamp=clamp, seed=seed, population=population
            )
        )
    together = AblationEstimate.joined(parts)
    assert together.images == images
    assert together.points[0].tolist() != together.points[len(parts[0].intact) % images].tolist() or clamp == "mean"
    last = known[0]["epochs"] - 1
    assert known[0]["curves"][name][last].equal(torch.stack([together.curve, together.curve_se], dim=1))
    assert known[0]["values"][name][last]["auc"] == together.auc
    assert known[0]["logged"][f"{name}/auc"] == pytest.approx(together.auc)
    assert known[0]["logged"][f"{name}/auc_se"] == pytest.approx(together.auc_se)
