"""What is wrong with a launcher or its settings is said before a sweep starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from single_directions.errors import BadInput
from single_directions.runs import launchers
from single_directions.runs.config import conf_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prepare(monkeypatch):
    """Looks at the launcher of a sweep with some overrides, as if every launcher were installed."""
    monkeypatch.setattr(launchers, "find_spec", lambda name: True)
    monkeypatch.setattr(launchers.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def prepare(*overrides):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = compose("train", [*overrides, "hydra.runtime.cwd=/home"], return_hydra_config=True)
        launchers.prepare(config)
        return OmegaConf.to_container(config.hydra.launcher, resolve=True)

    return prepare


def test_resources_reach_the_launchers(prepare):
    ray = prepare("hydra/launcher=ray", "gpus_per_run=0.25", "cpus_per_run=2", "+hydra.launcher.ray.init.num_gpus=1")
    assert (ray["ray"]["remote"]["num_gpus"], ray["ray"]["remote"]["num_cpus"]) == (0.25, 2)
    slurm = prepare("hydra/launcher=slurm", "cpus_per_run=2")
    assert (slurm["gpus_per_node"], slurm["cpus_per_task"], slurm["setup"]) == (1, 2, ["export OMP_NUM_THREADS=2"])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["cpus_per_run=2"], "need hydra/launcher=ray or slurm"),
        (["hydra/launcher=ray", "gpus_per_run=2"], "gpus_per_run must be null or a number from 0 to 1, not 2"),
        (["hydra/launcher=ray", "cpus_per_run=0"], "cpus_per_run must be a whole number of at least 1"),
        (["hydra/launcher=ray", "+hydra.launcher.ray.init.num_gpus=0"], "this machine has 0: set gpus_per_run=0"),
        (["hydra/launcher=ray", "hydra.launcher.ray.init.address=127.0.0.1:1"], "address=127.0.0.1:1: nothing answers"),
        (["hydra/launcher=slurm", "gpus_per_run=0.5"], "Slurm gives whole GPUs"),
        (["trainer.devices=2"], "trainer.devices=2: a run of a sweep uses one device"),
        (["trainer.devices=auto", "trainer.strategy=ddp"], "trainer.devices=auto: a run of a sweep uses one device"),
        (["+trainer.num_nodes=2"], "trainer.num_nodes=2"),
    ],
)
def test_what_cannot_be_is_told(prepare, overrides, told):
    with pytest.raises(BadInput, match=told):
        prepare(*overrides)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_launcher_that_is_not_installed_is_told(prepare, monkeypatch, name):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=rf"pip install -e '\.\[{name}\]', in the checkout"):
        prepare(f"hydra/launcher={name}")


def test_several_processes_are_one_run(tmp_path):
    """A training by two processes leaves what one would: every image trained with and measured, one folder."""
    settings = (
        "tracking=off",
        "progress=false",
        "network.hidden=[8]",
        "data.train_samples=101",
        "trainer.max_epochs=3",
    )
    command = [sys.executable, ROOT / "scripts" / "train.py", *settings, "trainer.accelerator=cpu", "runs=two"]
    several = ["trainer.devices=2", "trainer.strategy=ddp", "batch_size=16"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *several],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # processes that wait for each other would wait for ever
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    (summary,) = (json.loads(file.read_text()) for file in tmp_path.glob("two/*/*/*/summary.json"))
    assert (summary["device"]["number"], summary["train_images"], summary["epochs"]) == (2, 101, 3)
    metrics = pd.read_csv(next(tmp_path.glob("two/*/*/*/metrics.csv")))
    assert list(metrics["epoch"]) == [1, 2, 3]
    changed = 101 * metrics["train/changed_predictions"]
    assert changed[1:].tolist() == pytest.approx(changed[1:].round().tolist(), abs=1e-3)  # of all images, counted once
    assert changed[1] > 0
    # The final curve was measured by one process on all images, the epoch's accuracy by both on their shares.
    curves = pd.read_csv(next(tmp_path.glob("two/*/*/*/curves.csv")))
    assert curves["accuracy"][curves["units_ablated"] == 0].tolist() == pytest.approx([summary["train_accuracy"]] * 10)
