"""The command line, run in this process as a user runs it."""

import json
import os
import re
import shlex
import signal
import weakref
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from single_directions.runs.config import compose_config
from single_directions.runs.folder import RunFolder

QUICK = ("tracking=off", "network.hidden=[8]", "trainer.max_epochs=2", "ablation.orderings=2", "data.train_samples=100")


def test_one_run(command, tmp_path):
    code, out, err = command(*QUICK, "seed=2", "progress=true")
    folder = "runs/single/demo-digits/ablation.orderings=2,data.train_samples=100,network.hidden=[8],seed=2"
    assert code is None
    assert out.startswith(f"{folder},trainer.max_epochs=2: train 0.")
    assert out.count("\n") == 1
    assert err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list(tmp_path.rglob("status.json"))) == 1

    [summary] = [json.loads(file.read_text()) for file in tmp_path.rglob("summary.json")]
    assert summary["overrides"] == [*QUICK, "seed=2", "progress=true"]
    assert shlex.split(summary["command"]) == ["python", "scripts/train.py", *summary["overrides"]]
    assert summary["settings"]["seed"] == 2
    assert summary["commit"]

    code, out, _ = command(*QUICK, "seed=2")
    assert code is None
    assert re.search(r"; skipped: .*summary.json holds the results of the same settings \(identity \w{16}\)\n$", out)


def test_sweep_of_an_experiment(command, tmp_path):
    levels = "data.corruption=0,1"
    code, out, err = command("-m", "experiment=memorization", *QUICK, levels, "seed=0,1")
    assert code is None
    assert err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert "data.corruption=0,data.train_samples=100,network.hidden=[8],seed=0" in lines[0]
    folders = list((tmp_path / "runs" / "memorization" / "demo-digits").glob("*/summary.json"))
    words = ["python", "scripts/train.py", "-m", "experiment=memorization", *QUICK, levels, "seed=0,1"]
    assert all(shlex.split(json.loads(file.read_text())["command"]) == words for file in folders)
    swept = {tuple(json.loads(file.read_text())[key] for key in ("corruption", "seed")) for file in folders}
    assert swept == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_sweep_goes_on_after_a_failure_and_tells_of_it(command, tmp_path):
    code, out, err = command("-m", *QUICK, "optimizer.lr=0.1,1e30,0.2", "data.train_samples=5000,100")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["[4/6]", "[6/6]"]
    *failed, last = err.splitlines()
    assert last == "4 of 6 runs failed; the same command tries them again"
    assert [line.split()[0] for line in failed] == ["[1/6]", "[2/6]", "[3/6]", "[5/6]"]
    assert "failed: data.train_samples must lie between" in failed[0]
    assert "failed: NonFiniteLoss: the training loss is" in failed[3]
    assert "error.txt" in failed[3]
    states = sorted(json.loads(file.read_text())["state"] for file in tmp_path.rglob("status.json"))
    assert states == ["done", "done", "failed", "failed", "failed", "failed"]


def test_refused_run_of_a_sweep_leaves_its_reason_and_is_tried_again(command, tmp_path):
    arguments = ("-m", *QUICK, "data.train_samples=5000,6000")
    place = tmp_path / "runs" / "single" / "demo-digits"
    assert command(*arguments)[0] == 1
    first, second = sorted(place.glob("*/status.json"))
    status = json.loads(first.read_text())
    assert status["state"] == "failed"
    assert status["error"].startswith("data.train_samples must lie between 10, one for each class, and 1297")
    assert sorted(file.name for file in first.parent.iterdir()) == ["run.json", "status.json"]
    assert "data.train_samples=5000" in json.loads((first.parent / "run.json").read_text())["overrides"]

    first.write_text("{}")
    (second.parent / "config.yaml").write_text("data: {}")
    second.write_text("{}")
    code, _, err = command(*arguments)
    assert code == 1
    assert [line.split()[0] for line in err.splitlines()] == ["[1/2]", "[2/2]", "2"]
    assert json.loads(first.read_text())["error"] == status["error"]
    assert second.read_text() == "{}"  # not the place of something else


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        (["seed=-1,0"], "seed=-1,.*: seed must be a whole number of at least 0, not -1$"),
        (["optimizer.lr=0.1,inf"], "optimizer.lr=inf,.*: optimizer.lr must be a finite number, not inf$"),
        (["optimizer.lr=0.1,-1", "seed=0,1"], r"lr=-1,.*: optimizer: .* it was given .* \(the same for 2 of 4 runs\)$"),
        (["scheduler=cosine", "scheduler.T_max=1,0"], "T_max=0,.*: scheduler in epoch 1 of trainer.max_epochs=2: Zero"),
        (["batch_size=0", "seed=0,1"], r"^batch_size must be .* not 0 \(the same for all 2 runs\)$"),
        (["seed=range(0,0)"], r"^seed=range\(0,0\): it has no values$"),
        (["seed=0,1,"], "^seed=0,1, cannot be read: write key=value, or with -m key=value1,value2"),
        (["seed=-1,-2,-3,-4,0"], "seed=-1,.*; .*seed=-2,.*; .*seed=-3,.*; and 1 more$"),
        (["data=digits,imagenet"], "data=imagenet: data.root: .*; set it with data.root=..."),
        (["+foo=1,2"], r"^foo is not a key of a run and would have no effect: .* \(the same for all 2 runs\)$"),
        (["seed=0", "+ablation.order=1,2"], r"^ablation.order is not a key of a run .* \(the same for all 2 runs\)$"),
        (["ablation=3,4"], "ablation=3: ablation is 3: it must have keys, .*; .*ablation=4: "),
        (["trainer.devices=1,2"], "trainer.devices=2: trainer.devices=2: a run of a sweep uses one device"),
        (["tracking=[csv],[csv,off]"], r"^tracking=\[csv\],\[csv,off\]: off cannot be combined with others"),
    ],
)
def test_sweep_with_a_run_that_cannot_work_does_not_begin(refused, swept, told):
    assert re.search(told, refused("-m", *QUICK, *swept))


def test_runs_of_older_code_are_kept_where_what_is_new_has_its_default(command, tmp_path):
    compose_config.cache_clear()  # by the command itself, which Hydra runs, it has to be made
    arguments = ("-m", *QUICK, "checkpoint.every_n_epochs=1", "seed=0,1")
    command(*arguments)
    done, cut = (RunFolder(file.parent) for file in sorted(tmp_path.rglob("config.yaml")))
    trained = {folder: folder.metrics.stat().st_mtime_ns for folder in (done, cut)}
    for folder in (done, cut):
        config = folder.read_config()
        del config["ablation"]["method"], config["early_stopping"]
        folder.config.write_text(OmegaConf.to_yaml(config))
    cut.set_state("cut off")
    before = cut.read_summary()["seconds"]["training"]
    code, out, err = command(*arguments)
    assert (code, err) == (None, "")
    assert out.splitlines()[0].startswith("1 of 2 runs are done and skipped: their folders hold the results of ")
    assert out.splitlines()[1].startswith("[1/1] ")
    assert done.metrics.stat().st_mtime_ns == trained[done]
    assert cut.read_summary()["seconds"]["training"] == before  # measured, not trained, again

    config = done.read_config()
    del config["stop_at_train_accuracy"]
    config["trainer"]["max_epochs"] = 1
    done.config.write_text(OmegaConf.to_yaml(config))
    code, _, err = command(*arguments)
    assert code == 1
    assert "holds a run with other settings (trainer.max_epochs): remove it" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["data=mnist", "data.root=nowhere"], "MNIST.*nowhere"),
        (["data=imagenet"], "data.root"),
        (["runs=file/runs"], "file/runs.*cannot be written.*choose another folder with runs="),
        (["-m", "runs=file", "seed=0,1"], "^file/single/demo-digits cannot be written"),
    ],
)
def test_bad_input_is_one_line(refused, tmp_path, arguments, told):
    (tmp_path / "file").write_text("")
    assert re.search(told, refused(*QUICK, *arguments))


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("optimizer.lr=1e30", "NonFiniteLoss.*after epoch 1.*error.txt"),
        ("trainer.accelerator=abacus", "trainer: .*accelerator"),
        ("+trainer.max_epoch=3", "trainer: .*max_epoch"),
    ],
)
def test_failure_of_a_run_is_one_line(command, tmp_path, argument, told):
    code, out, err = command(*QUICK, argument)
    assert out == err == ""
    assert re.search(told, code)
    assert "\n" not in code
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trainer.epochs=3"], "Could not override 'trainer.epochs'"),
        (["experiment=memory"], "Could not find 'experiment/memory'"),
        (["scale=large"], "Could not find 'scale/large'"),
        (["seed=1", "network=null"], "seed=1 network=null: ValueError: Config group override must be a string"),
        (["-m", "data=null"], "-m data=null: ValueError: Config group override must be a string"),
        (["-m", "trainer=null"], "trainer is None: it must have keys, such as trainer.max_epochs"),
        (["scale=demo", "~tracking"], "Could not delete 'tracking'. No match in the defaults list"),
        (["~ablation.orderings"], "ablation.orderings is missing, which a run needs"),
        (["-m", "~trainer.devices"], "trainer.devices=None: a run of a sweep uses one device"),
        (["runs=null"], "runs must be the path of a folder, not None"),
        (["-m", "runs=null"], "runs must be the path of a folder, not None"),
        (["-m", "runs="], "runs must be the path of a folder, not ''"),
    ],
)
def test_unknown_keys_and_choices_are_named(refused, arguments, told):
    assert told in refused(*arguments)


def test_mistake_of_our_own_keeps_its_traceback(command, monkeypatch):
    monkeypatch.setattr("single_directions.runs.sweep.jobs", lambda *_: {}["mistake"])
    with pytest.raises(KeyError, match="mistake"):
        command("-m", "seed=0")


def test_interrupted_run_says_how_to_go_on(command, monkeypatch):
    monkeypatch.setattr(RunFolder, "write_frame", interrupt)
    code, out, err = command("-m", *QUICK, "seed=4,5")
    assert (code, out) == (130, "")
    assert err.startswith("[1/2] ")
    assert err.endswith(": cut off; the same command continues from its last checkpoint\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_between_two_runs_is_quiet(command, monkeypatch):
    monkeypatch.setattr("single_directions.runs.sweep.jobs", interrupt)
    assert command("-m", *QUICK, "seed=4,5") == (130, "", "")


def test_single_run_under_way_is_told(command, refused):
    command(*QUICK)
    folder = RunFolder(next(Path("runs").rglob("config.yaml")).parent)
    folder.set_state("cut off")
    with folder.leased():
        assert re.search(rf"under way in process {os.getpid()} on .*: wait for it, or end it$", refused(*QUICK))


def test_run_in_doubt_goes_on_once_its_process_is_known_to_be_dead(command, monkeypatch):
    command(*QUICK)
    folder = RunFolder(next(Path("runs").rglob("config.yaml")).parent)
    folder.set_state("running")
    folder.lease.write_text('{"host": "far", "kernel": "another"}')
    monkeypatch.setattr("single_directions.runs.lease.PATIENCE", 0.1)
    monkeypatch.setattr("single_directions.runs.lease.BEAT", 0.1)
    code, _, err = command(*QUICK)
    assert code is None
    assert "process ? on far, or was: watching it for" in err
    assert folder.is_done()
    assert not folder.lease.exists()


def test_run_that_failed_holds_nothing_while_the_others_go_on(command, monkeypatch):
    networks = []

    def fails(network, *_, **__):
        assert all(earlier() is None for earlier in networks)
        networks.append(weakref.ref(network))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("single_directions.runs.run.ablation_curve", fails)
    code, _, err = command("-m", *QUICK, "seed=0,1,2")
    assert code == 1
    assert err.count("failed: OutOfMemoryError: CUDA out of memory (traceback in ") == 3
    assert len(networks) == 3
    assert all("CUDA out of memory" in file.read_text() for file in Path().rglob("error.txt"))


def interrupt(*_):
    raise KeyboardInterrupt
