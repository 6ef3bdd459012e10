"""Trackers: W&B offline by default, others beside it or instead of it, and none where tracking is off."""

import io
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from cut_off import CutOff
from launches import ended, killed, started, until
from PIL import Image

from single_directions.ablation import AblationCurve
from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.folder import RunFolder
from single_directions.runs.optimized import known_numbers
from single_directions.runs.run import execute
from single_directions.runs.tracking import (
    LINES,
    _figure_of_epochs,
    check_tracking,
    log_results,
    record_experiment,
    tracked,
)
from single_directions.training import NonFiniteLoss

QUICK = ["network.hidden=[8]", "trainer.max_epochs=2", "ablation.orderings=2", "data.train_samples=100", "runs=runs"]
HISTORY = {"train/loss", "train/accuracy", "test/loss", "test/accuracy", "ablation/auc"}


@pytest.fixture(autouse=True)
def no_mode(monkeypatch):
    """The environment does not say how to log."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)


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
    content = json.loads((log.parent / "files" / final(log)[key]["path"]).read_text())
    return pd.DataFrame(content["data"], columns=content["columns"])


def curve(accuracy):
    """Of two orderings of 4 units."""
    return AblationCurve(torch.tensor(accuracy, dtype=torch.float64), torch.tensor([0, 2, 4]), units=4)


def test_offline_run_holds_config_history_summary_and_curves(settings, place):
    every_epoch = "ablation.every_epoch={samples:50}"
    config, folder = settings("tracking=wandb", "seed=3", every_epoch, "data.held_out=0.1"), RunFolder(place)
    summary = execute(config, folder)
    assert not {"WANDB_MODE", "WANDB_DATA_DIR"} & os.environ.keys()  # they would decide about every later run
    [log] = logs(place)

    [run] = records(log, "run")
    assert (run["project"], run["run_group"], run["display_name"]) == ("single-directions", "single", "default")
    assert run["tags"] == ["demo", "digits", "MLP"]
    assert {key: run["config"]["update"][key] for key in config} == config
    first, second = [record["item"] for record in records(log, "history")]
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert first.keys() & second.keys() >= HISTORY
    assert second["test/accuracy"] == pytest.approx(summary["test_accuracy"])
    assert {"name": "epoch", "options": {"defined": True}} in records(log, "metric")
    steps = {m["glob_name"]: m["step_metric"] for m in records(log, "metric") if "glob_name" in m}
    assert steps == dict.fromkeys(("train/*", "test/*", "held_out/*", "ablation/*"), "epoch")
    assert final(log)["auc"] == pytest.approx(summary["auc"])
    assert final(log)["generalization_error"] == pytest.approx(summary["generalization_error"])
    shown = table(log, "curves")
    pd.testing.assert_frame_equal(shown, pd.read_csv(folder.curves), check_dtype=False)
    kept, during = table(log, "epoch_curves"), pd.read_csv(folder.epoch_curves)
    assert list(kept["accuracy"]) == pytest.approx(list(during.groupby(["epoch", "units_ablated"])["accuracy"].mean()))
    for name in ("curves_figure", "epoch_curves_figure"):
        with Image.open(log.parent / "files" / final(log)[name]["path"]) as figure:
            assert min(figure.size) > 200
    # Each name stands for one number: with a slash an epoch's, without one the run's.
    assert all("/" in name or name in ("epoch", "_step", "_runtime", "_timestamp") for name in second)
    groups = ("train/", "test/", "held_out/", "ablation/", "ablation_auc")
    assert not [name for name in final(log) if name.startswith(groups)]
    assert final(log)["held_out_loss"] == pytest.approx(second["held_out/loss"])
    assert [record["exit_code"] for record in records(log, "exit")] == [0]


def test_curves_of_a_training_are_a_table_and_a_figure_of_some(settings, tmp_path):
    one, epochs = curve([[1.0, 0.5, 0.1], [0.8, 0.3, 0.1]]), range(1, 31)
    frames = pd.concat([one.to_frame().assign(epoch=epoch) for epoch in epochs])
    config = settings("tracking=wandb")
    with tracked(config, "default", tmp_path) as loggers:
        log_results(config, loggers, {"epochs": 30}, one.to_frame(), frames)
    [log] = logs(tmp_path)
    assert not records(log, "history")  # of which W&B would draw charts of a single point
    kept = table(log, "epoch_curves")
    assert list(kept["epoch"]) == [epoch for epoch in epochs for _ in range(3)]
    assert list(kept["accuracy"][:3]) == pytest.approx([0.9, 0.4, 0.1])
    assert list(kept["fraction_ablated"][:3]) == [0, 0.5, 1]
    lines = _figure_of_epochs(kept).axes[0].lines
    assert (len(lines), lines[0].get_label(), lines[-1].get_label()) == (LINES, "epoch 1", "epoch 30")
    assert list(lines[0].get_ydata()) == pytest.approx([0.9, 0.4, 0.1])


def test_each_run_of_a_process_has_a_wandb_run_of_its_own(settings, tmp_path):
    for seed in (0, 1):
        execute(
            settings("tracking=wandb", f"seed={seed}", "trainer.max_epochs=1"), RunFolder(tmp_path / f"seed={seed}")
        )
    one, other = (records(logs(tmp_path / f"seed={seed}")[0], "run")[0] for seed in (0, 1))
    assert one["run_id"] != other["run_id"]
    assert (one["display_name"], other["display_name"]) == ("seed=0", "seed=1")


def test_run_that_failed_is_told_so_and_goes_on_as_the_same(settings, place):
    """What `wandb sync` uploads is the last part alone, which holds all: it has the id of the first."""
    diverging = settings("tracking=wandb", "optimizer.lr=1e30")
    for _ in range(2):
        with pytest.raises(NonFiniteLoss):
            execute(diverging, RunFolder(place))
    [second], [first] = logs(place), sorted(place.glob("wandb/set_aside/offline-run-*/run-*.wandb"))
    assert [record["exit_code"] for record in records(first, "exit")] == [1]
    [run], [again] = records(first, "run"), records(second, "run")
    assert run["run_id"] == again["run_id"]
    assert run["resume"] is again["resume"] is True


@pytest.mark.parametrize("uploaded", [False, True])
def test_run_whose_process_was_killed_has_its_whole_history(tmp_path, uploaded):
    arguments = ["tracking=wandb", "progress=false", "network.hidden=[8]", "data.train_samples=100", "seed=1",
                 "trainer.max_epochs=100", "ablation.orderings=2", "checkpoint.every_n_epochs=3"]  # fmt: skip
    process = started(tmp_path, tmp_path / "log", arguments)
    until(lambda: any(file.read_bytes().count(b"\n") > 5 for file in tmp_path.rglob("metrics.csv")))
    assert killed(process) == -signal.SIGKILL
    folder = RunFolder(next(tmp_path.rglob("config.yaml")).parent)
    [first] = logs(folder.path)
    if uploaded:
        first.with_suffix(".wandb.synced").touch()
    assert ended(started(tmp_path, tmp_path / "log", arguments)) == 0, (tmp_path / "log").read_text()

    second = logs(folder.path)[-1]
    rows = {row["epoch"]: row for row in (record["item"] for record in records(second, "history"))}
    metrics = pd.read_csv(folder.metrics).set_index("epoch")
    assert list(rows) == [epoch for epoch in metrics.index if not uploaded or epoch >= min(rows)]
    assert [row["test/loss"] for row in rows.values()] == pytest.approx(list(metrics["test/loss"][list(rows)]))
    assert (min(rows) == 1) != uploaded  # what was uploaded is not told again
    aside = list(folder.path.glob("wandb/set_aside/offline-run-*"))
    assert [part.name for part in aside] == ([] if uploaded else [first.parent.name])
    assert first.stem == second.stem  # one run of W&B


def test_run_killed_while_it_measures_has_its_whole_history(settings, place, monkeypatch):
    """Its training is done: nothing is trained again, and all epochs are told."""
    config = settings("tracking=wandb", "checkpoint.every_n_epochs=1")

    with monkeypatch.context() as patch:
        patch.setattr("single_directions.runs.run.ablation_curve", interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute(config, RunFolder(place))
    execute(config, RunFolder(place))
    [log] = logs(place)
    assert [record["item"]["epoch"] for record in records(log, "history")] == [1, 2]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("stopped", ["training", "measuring"])
def test_tables_of_a_run_that_was_cut_off_hold_all_epochs_once(settings, place, monkeypatch, own, stopped):
    """One folder by `tracking=csv`; a CSVLogger of the user's own without a version begins another."""
    logger = "+tracking.loggers.own={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: '{folder}', name: csv}"
    chosen = ("tracking=[]", logger) if own else ("tracking=csv",)
    config = settings(*chosen, "checkpoint.every_n_epochs=2", "trainer.max_epochs=5")
    with monkeypatch.context() as patch:
        if stopped == "measuring":
            patch.setattr("single_directions.runs.run.ablation_curve", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            execute(config, (CutOff if stopped == "training" else RunFolder)(place))
    summary = execute(config, RunFolder(place))
    versions = sorted(folder.name for folder in (place / "csv").iterdir())
    assert versions == (["version_0", "version_1"] if own else ["version_0"])
    told = pd.read_csv(place / "csv" / versions[-1] / "metrics.csv")
    epochs = told.dropna(subset="test/loss")
    assert list(epochs["epoch"]) == list(epochs["step"]) == [1, 2, 3, 4, 5]
    assert list(epochs["test/loss"]) == pytest.approx(list(pd.read_csv(place / "metrics.csv")["test/loss"]))
    assert list(told["auc"].dropna()) == pytest.approx([summary["auc"]])
    assert yaml.safe_load((place / "csv" / versions[-1] / "hparams.yaml").read_text())["seed"] == 0


def test_report_is_a_run_in_the_group_of_its_experiment(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "figure_1a.png")
    claims = [{"id": "falls", "verdict": "holds", "value": 0.5, "p": None, "caveats": ["few"], "details": {"n": 3}}]
    runs = pd.DataFrame({"run": ["a", "b"], "auc": [0.5, None], "config.points": ["all", 21]})
    for _ in range(2):
        record_experiment("single", {"1a": tmp_path / "figure_1a.png"}, {"runs": runs}, claims, tmp_path)
    record_experiment("other", {}, {}, [], tmp_path)
    of_single, of_other = sorted(logs(tmp_path), key=lambda log: "other" in records(log, "run")[0]["run_group"])
    [again] = (tmp_path / "wandb" / "set_aside").rglob("*.wandb")
    [run] = records(of_single, "run")
    assert (run["project"], run["run_group"], run["job_type"]) == ("single-directions", "single", "report")
    assert records(again, "run")[0]["run_id"] == run["run_id"] != records(of_other, "run")[0]["run_id"]
    assert final(of_single)["verdict/falls"] == "holds"
    assert (of_single.parent / "files" / final(of_single)["figures/1a"]["path"]).exists()
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


@pytest.mark.parametrize("given", ["key", "environment"])
def test_names_of_wandb_are_those_of_keys_or_else_of_the_environment(settings, place, monkeypatch, tmp_path, given):
    names = {"PROJECT": "ours", "ENTITY": "lab", "RUN_GROUP": "widths", "TAGS": "a, b", "NAME": "first"}
    for name, value in names.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    keys = ["project=x", "entity=y", "group=z", "tags=[t]", "name=n"] if given == "key" else []
    config = settings("tracking=wandb", "trainer.max_epochs=1", *(f"tracking.{key}" for key in keys))
    execute(config, RunFolder(place))
    [log] = logs(tmp_path / "elsewhere")
    [run] = records(log, "run")
    found = [run[key] for key in ("project", "entity", "run_group", "tags", "display_name")]
    assert found == (["x", "y", "z", ["t"], "n"] if given == "key" else ["ours", "lab", "widths", ["a", "b"], "first"])


def test_run_of_a_wandb_agent_has_the_id_that_it_was_given(settings, place, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "abcd1234")
    execute(settings("tracking=wandb", "trainer.max_epochs=1"), RunFolder(place))
    [log] = logs(place)
    assert records(log, "run")[0]["run_id"] == "abcd1234"


@pytest.mark.parametrize(
    ("key", "environment", "told"),
    [
        ("progress=false", {"WANDB_MODE": "bogus"}, "tracking: W&B refuses mode: .*'offline'.*WANDB_"),
        ("+tracking.loggers.wandb.notes=[1]", {}, "tracking: W&B refuses run_notes: .*string"),
        (f"tracking.tags=[{'x' * 65}]", {}, "tracking: W&B refuses run_tags: .*64 characters"),
        ("progress=false", {"WANDB_RUN_ID": "a#b"}, "tracking: W&B cannot start .*Run ID"),
        ("progress=false", {"WANDB_DIR": "/proc/none"}, "/proc/none cannot be written by W&B .*: set WANDB_DIR"),
    ],
)
def test_setting_that_wandb_refuses_is_named_and_not_kept(settings, place, monkeypatch, key, environment, told):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=told) as caught, tracked(settings("tracking=wandb", key), "default", place):
        pass
    assert "\n" not in str(caught.value)
    for name in environment:
        monkeypatch.delenv(name)
    with tracked(settings("tracking=wandb"), "default", place) as [logger]:
        assert logger.experiment.id != "a#b"


def test_parts_are_not_set_aside_before_wandb_has_started(settings, place, monkeypatch):
    with tracked(settings("tracking=wandb"), "default", place):
        pass
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with pytest.raises(BadInput), tracked(settings("tracking=wandb"), "default", place):
        pass
    monkeypatch.delenv("WANDB_MODE")
    with tracked(settings("tracking=wandb"), "default", place) as [logger]:
        assert logger.starts_again
    assert len([*place.glob("wandb/set_aside/offline-run-*")]) == 1


@pytest.mark.parametrize("content", ["", "\n"])
def test_empty_id_of_a_run_is_as_none(settings, place, content):
    file = place / "wandb" / "run.id"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    execute(settings("tracking=wandb", "trainer.max_epochs=1"), RunFolder(place))
    [log] = logs(place)
    assert records(log, "run")[0]["run_id"] == file.read_text() != content


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["+tracking.projct=x"], "tracking.projct is not a key of tracking: there are project, entity, group, tags"),
        (["tracking.mode=of"], "tracking.mode must be null, offline, online, disabled or shared, not 'of'"),
        (["tracking.tags=a"], r"tracking.tags must be null or a list of texts, such as \[first,second\], not 'a'"),
        (["tracking.group=3"], "tracking.group must be null or a text, not 3"),
        (["+tracking.loggers.csv={_target_: 5}"], "tracking.loggers.csv must name a logger of Lightning's as its "),
        (["+tracking.loggers.csv=x"], "tracking.loggers.csv must name a logger of Lightning's as its _target_"),
    ],
)
def test_unknown_keys_are_refused_before_training(settings, keys, told):
    with pytest.raises(BadInput, match=told):
        build(settings("tracking=wandb", *keys))
    check_tracking(None)


def test_a_list_of_loggers_as_in_a_file_is_refused():
    with pytest.raises(BadInput, match=r"tracking\.loggers must have keys, not be \['csv'\]: choose loggers"):
        check_tracking({"loggers": ["csv"]})


def test_several_loggers_each_hold_epochs_and_final_numbers(settings, place):
    config = settings("tracking=[wandb,csv]", "ablation.every_epoch={samples:50}")
    summary = execute(config, RunFolder(place))
    [log] = logs(place)
    assert len(records(log, "history")) == 2
    metrics = pd.read_csv(place / "csv" / "version_0" / "metrics.csv")
    epochs = metrics.dropna(subset="ablation/auc")
    assert list(epochs["step"]) == list(epochs["epoch"]) == [1, 2]
    assert list(epochs["test/loss"]) == pytest.approx(list(pd.read_csv(place / "metrics.csv")["test/loss"]))
    final = metrics.dropna(subset="auc_normalized").iloc[-1]
    assert final["auc_normalized"] == pytest.approx(summary["auc_normalized"])
    assert final["test_accuracy"] == pytest.approx(summary["test_accuracy"])
    assert yaml.safe_load((place / "csv" / "version_0" / "hparams.yaml").read_text())["seed"] == 0


def test_logger_of_ones_own_and_one_that_cannot_start(settings, place, tmp_path):
    own = "+tracking.loggers.own={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: '{folder}', name: '{name}'}"
    execute(settings("tracking=[]", own, "trainer.max_epochs=1"), RunFolder(place))
    assert (place / "default" / "version_0" / "metrics.csv").exists()
    broken = "+tracking.loggers.own={_target_: pytorch_lightning.loggers.CSVLogger, folder: x}"
    with pytest.raises(BadInput, match=r"^tracking\.loggers\.own: .*unexpected keyword argument 'folder'"):
        execute(settings("tracking=[]", broken), RunFolder(tmp_path / "other"))


@pytest.mark.ci_only
@pytest.mark.filterwarnings("default")  # those of MLflow and of TensorBoard are not ours
def test_tensorboard_and_mlflow_hold_epochs_and_final_numbers(settings, place, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = settings("tracking=[tensorboard,mlflow]", f"runs={tmp_path}/runs", "checkpoint.every_n_epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("single_directions.runs.run.ablation_curve", interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute(config, RunFolder(place))
    summary = execute(config, RunFolder(place))  # goes on as the same run
    events = accumulator.EventAccumulator(str(place / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("test/loss")] == [1, 2]
    assert events.Scalars("auc")[-1].value == pytest.approx(summary["auc"])
    client = mlflow.MlflowClient(config["tracking"]["loggers"]["mlflow"]["tracking_uri"])
    [run] = client.search_runs([client.get_experiment_by_name("single-directions").experiment_id])
    assert (run.info.run_name, run.info.status) == ("default", "FINISHED")
    assert run.data.metrics["auc_normalized"] == pytest.approx(summary["auc_normalized"])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "test/loss")] == [1, 2]


def test_example_of_a_wandb_sweep_starts_runs_of_this_project(settings):
    """What `wandb agent` puts on a command line composes, and its number is one of a run's."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    root = Path(__file__).parents[2]
    sweep = yaml.safe_load((root / "examples" / "wandb_sweep.yaml").read_text())
    assert (root / sweep["program"]).is_file()
    values = {key: {"value": one.get("min", one.get("values", [None])[0])} for key, one in sweep["parameters"].items()}
    filled = create_sweep_command_args({"args": values})["args_no_hyphens"]
    arguments = [part for part in sweep["command"] if not part.startswith("${")] + filled
    config = settings(*arguments, quick=False)
    assert config["optimizer"]["lr"] == sweep["parameters"]["optimizer.lr"]["min"]
    assert sweep["metric"]["name"] in known_numbers(config)
    build(config)


def interrupted(*_, **__):
    raise KeyboardInterrupt
