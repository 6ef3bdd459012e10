"""Weights & Biases: offline by default, and out of the way where it is off."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from single_directions.errors import BadInput
from single_directions.runs import RunFolder, execute
from single_directions.training import NonFiniteLoss

QUICK = ["network.hidden=[8]", "trainer.max_epochs=2", "ablation.orderings=2", "data.train_samples=100", "runs=runs"]


def records(log, kind):
    """Every record of one kind in an offline run's log, as `wandb leet` reads it back."""
    wandb = Path(sys.executable).with_name("wandb")
    shown = subprocess.run([wandb, "leet", "inspect", "--json", log], capture_output=True, text=True, check=True)
    return [record[kind] for record in map(json.loads, shown.stdout.splitlines()) if record["type"] == kind]


def test_offline_run_holds_config_history_and_summary(settings, place, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config, folder = settings("tracking=wandb", "seed=3"), RunFolder(place)
    summary = execute(config, folder)
    assert "WANDB_MODE" not in os.environ  # it would decide about every later run
    [log] = place.glob("wandb/offline-run-*/run-*.wandb")

    [run] = records(log, "run")
    assert (run["project"], run["run_group"], run["display_name"]) == ("single-directions", "single", "default")
    assert {key: run["config"]["update"][key] for key in config} == config
    rows = [record["item"] for record in records(log, "history")]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["test/accuracy"] == pytest.approx(summary["test_accuracy"])
    assert {"name": "epoch", "options": {"defined": True}} in records(log, "metric")
    final = {key: value for record in records(log, "summary") for key, value in record["update"].items()}
    assert final["auc"] == pytest.approx(summary["auc"])
    assert final["generalization_error"] == pytest.approx(summary["generalization_error"])
    assert [record["exit_code"] for record in records(log, "exit")] == [0]


def test_run_that_failed_is_told_so(settings, place, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(NonFiniteLoss):
        execute(settings("tracking=wandb", "optimizer.lr=1e30"), RunFolder(place))
    [log] = place.glob("wandb/offline-run-*/run-*.wandb")
    assert [record["exit_code"] for record in records(log, "exit")] == [1]


def test_off_leaves_wandb_out(tmp_path):
    program = "import sys; from single_directions.runs.cli import train; train(); print('wandb' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program, "tracking=off", *QUICK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.endswith("False\n")
    assert not list(tmp_path.rglob("wandb"))


def test_environment_wins_over_the_mode(settings, place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    execute(settings("tracking=wandb"), RunFolder(place))
    assert not list(place.glob("wandb/*run-*"))


def test_online_without_a_key_is_refused(settings, place, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal to ask at
    with pytest.raises(BadInput, match=r"W&B cannot start.*key.*WANDB_MODE=offline") as caught:
        execute(settings("tracking=wandb"), RunFolder(place))
    assert "\n" not in str(caught.value)
