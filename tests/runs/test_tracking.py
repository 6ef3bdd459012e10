"""Weights & Biases: offline by default, and out of the way where it is off."""

import io
import json
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from single_directions.ablation import AblationCurve
from single_directions.errors import BadInput
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute
from single_directions.runs.tracking import LINES, record, record_experiment, tracked
from single_directions.training import NonFiniteLoss

QUICK = ["network.hidden=[8]", "trainer.max_epochs=2", "ablation.orderings=2", "data.train_samples=100", "runs=runs"]
HISTORY = {"train/loss", "train/accuracy", "test/loss", "test/accuracy", "ablation/auc"}


@pytest.fixture(autouse=True)
def no_mode(monkeypatch):
    """The environment does not say how to log."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)


def logs(folder):
    """The logs of the offline runs in a folder, in the order of their start."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


@cache
def inspected(log):
    """An offline run's log, as `wandb leet` reads it back."""
    wandb = Path(sys.executable).with_name("wandb")
    shown = subprocess.run([wandb, "leet", "inspect", "--json", log], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in shown.stdout.splitlines()]


def records(log, kind):
    """Every record of one kind."""
    return [record[kind] for record in inspected(log) if record["type"] == kind]


def final(log):
    """The summary of an offline run."""
    return {key: value for record in records(log, "summary") for key, value in record["update"].items()}


def table(log, key):
    """A table that an offline run holds."""
    content = json.loads((log.parent / "files" / final(log)[f"{key}.path"]).read_text())
    return pd.DataFrame(content["data"], columns=content["columns"])


def chart(log, key):
    """The columns that a line chart shows."""
    [shown] = [
        update[f"_wandb.visualize.{key}"]
        for update in (record["update"] for record in records(log, "config"))
        if f"_wandb.visualize.{key}" in update
    ]
    assert shown["panel_config"]["panelDefId"] == "wandb/line/v0"
    return shown["panel_config"]["fieldSettings"]


def curve(accuracy):
    """Of two orderings of 4 units."""
    return AblationCurve(torch.tensor(accuracy, dtype=torch.float64), torch.tensor([0, 2, 4]), units=4)


def test_offline_run_holds_config_history_summary_and_curves(settings, place):
    every_epoch = "ablation.every_epoch={samples:50}"
    config, folder = settings("tracking=wandb", "seed=3", every_epoch), RunFolder(place)
    summary = execute(config, folder)
    assert not {"WANDB_MODE", "WANDB_DATA_DIR"} & os.environ.keys()  # they would decide about every later run
    [log] = logs(place)

    [run] = records(log, "run")
    assert (run["project"], run["run_group"], run["display_name"]) == ("single-directions", "single", "default")
    assert run["tags"] == ["demo", "digits", "MLP"]
    assert {key: run["config"]["update"][key] for key in config} == config
    first, second, last = [record["item"] for record in records(log, "history")]
    assert (first["epoch"], second["epoch"], last["epoch"]) == (1, 2, 2)
    assert first.keys() & second.keys() >= HISTORY
    assert second["test/accuracy"] == pytest.approx(summary["test_accuracy"])
    assert {"name": "epoch", "options": {"defined": True}} in records(log, "metric")
    assert {m["glob_name"]: m["step_metric"] for m in records(log, "metric") if "glob_name" in m} == {"*": "epoch"}
    assert final(log)["auc"] == pytest.approx(summary["auc"])
    assert final(log)["generalization_error"] == pytest.approx(summary["generalization_error"])
    shown = table(log, "ablation/curve")
    pd.testing.assert_frame_equal(shown, pd.read_csv(folder.curves), check_dtype=False)
    kept, during = table(log, "ablation/epoch_curves"), pd.read_csv(folder.epoch_curves)
    assert list(kept["accuracy"]) == pytest.approx(list(during.groupby(["epoch", "units_ablated"])["accuracy"].mean()))
    with Image.open(log.parent / "files" / final(log)["ablation/figure.path"]) as figure:
        assert min(figure.size) > 200
    assert [record["exit_code"] for record in records(log, "exit")] == [0]


def test_curves_of_a_training_are_a_table_and_a_chart_of_some(settings, tmp_path):
    one, epochs = curve([[1.0, 0.5, 0.1], [0.8, 0.3, 0.1]]), range(1, 31)
    frames = pd.concat([one.to_frame().assign(epoch=epoch) for epoch in epochs])
    with tracked(settings("tracking=wandb"), "default", tmp_path) as logger:
        record(logger, {"epochs": 30}, one.to_frame(), frames)
    [log] = logs(tmp_path)
    kept = table(log, "ablation/epoch_curves")
    assert list(kept["epoch"]) == [epoch for epoch in epochs for _ in range(3)]
    assert list(kept["accuracy"][:3]) == pytest.approx([0.9, 0.4, 0.1])
    assert list(kept["fraction_ablated"][:3]) == [0, 0.5, 1]
    assert chart(log, "ablation/curve_by_epoch") == {"x": "fraction_ablated", "y": "accuracy", "stroke": "epoch"}
    lines = table(log, "ablation/curve_by_epoch_table")["epoch"].unique()
    assert (len(lines), lines[0], lines[-1]) == (LINES, 1, 30)
    assert {after - before for before, after in pairwise(lines)} == {3, 4}


def test_each_run_of_a_process_has_a_wandb_run_of_its_own(settings, tmp_path):
    for seed in (0, 1):
        execute(
            settings("tracking=wandb", f"seed={seed}", "trainer.max_epochs=1"), RunFolder(tmp_path / f"seed={seed}")
        )
    one, other = (records(logs(tmp_path / f"seed={seed}")[0], "run")[0] for seed in (0, 1))
    assert one["run_id"] != other["run_id"]
    assert (one["display_name"], other["display_name"]) == ("seed=0", "seed=1")


def test_run_that_failed_is_told_so_and_goes_on_as_the_same(settings, place):
    """Its two logs have one id and ask to be resumed: what `wandb sync` makes one run of."""
    diverging = settings("tracking=wandb", "optimizer.lr=1e30")
    for _ in range(2):
        with pytest.raises(NonFiniteLoss):
            execute(diverging, RunFolder(place))
    first, second = logs(place)
    assert [record["exit_code"] for record in records(first, "exit")] == [1]
    [run], [again] = records(first, "run"), records(second, "run")
    assert run["run_id"] == again["run_id"]
    assert run["resume"] is again["resume"] is True


def test_report_is_a_run_in_the_group_of_its_experiment(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "figure_1a.png")
    claims = [{"id": "falls", "verdict": "holds", "value": 0.5, "p": None, "caveats": ["few"], "details": {"n": 3}}]
    runs = pd.DataFrame({"run": ["a", "b"], "auc": [0.5, None], "config.points": ["all", 21]})
    for _ in range(2):
        record_experiment("single", {"1a": tmp_path / "figure_1a.png"}, {"runs": runs}, claims, tmp_path)
    record_experiment("other", {}, {}, [], tmp_path)
    of_single, again, of_other = sorted(logs(tmp_path), key=lambda log: "other" in records(log, "run")[0]["run_group"])
    [run] = records(of_single, "run")
    assert (run["project"], run["run_group"], run["job_type"]) == ("single-directions", "single", "report")
    assert records(again, "run")[0]["run_id"] == run["run_id"] != records(of_other, "run")[0]["run_id"]
    assert final(of_single)["verdict/falls"] == "holds"
    assert (of_single.parent / "files" / final(of_single)["figures/1a.path"]).exists()
    assert list(table(of_single, "tables/runs")["config.points"]) == ["all", 21]
    assert table(of_single, "tables/claims")["details"][0] == '{"n": 3}'


def test_verdicts_of_several_sweeps_are_told_apart(tmp_path):
    claim = {"id": "falls", "scale": "demo", "data": "digits", "verdict": "holds"}
    claims = [{**claim, "variant": ""}, {**claim, "variant": "network.width=2", "verdict": "does not hold"}]
    record_experiment("single", {}, {}, claims, tmp_path)
    [log] = logs(tmp_path)
    assert final(log)["verdict/falls/demo/digits"] == "holds"
    assert final(log)["verdict/falls/demo/digits/network.width=2"] == "does not hold"


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
