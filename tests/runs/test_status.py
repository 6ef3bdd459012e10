"""scripts/status.py: the state of each run, and whether all are done."""

import os
import subprocess
import sys
import time

import pytest

from single_directions.runs import status as module
from single_directions.runs.folder import RunFolder, write_json
from single_directions.runs.lease import Lease
from single_directions.runs.status import RunStatus, read_status, status, table

SUMMARY = {"orderings": 1, "points": 2, "epochs": 1, "seconds": {"training": 1.0}}
NUMBERS = {"train_accuracy": 1.0, "test_accuracy": 0.5, "auc": 0.25}


@pytest.fixture
def run(tmp_path):
    """Makes the folder of a run in some state."""

    def make(name, state="done", sweep="ensemble/demo-digits", error=None):
        folder = RunFolder(tmp_path / "runs" / sweep / name)
        folder.path.mkdir(parents=True)
        folder.config.write_text("data: {}\n")
        folder.curves.write_text("ordering,units_ablated,fraction_ablated,accuracy\n0,0,0,1\n0,5,1,0\n")
        folder.metrics.write_text("epoch\n1\n")
        write_json(folder.summary, {**SUMMARY, **NUMBERS})
        folder.set_state(state)
        if error:
            folder.fail(error, "Traceback")
        return folder

    return make


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs the command: (exit status, lines)."""

    def with_arguments(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["status.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            status()
        return ended.value.code, capsys.readouterr().out.splitlines()

    return with_arguments


def test_all_done(run, command):
    run("seed=0")
    run("seed=10")
    run("seed=9")
    assert command() == (0, ["runs/ensemble/demo-digits: 3 runs: 3 done"])
    code, lines = command("runs/ensemble", "--all")
    assert code == 0
    assert lines[1:] == [
        f"  done     {name}  train 1.000 test 0.500 AUC 0.250 (1 epochs, 1.0 s)"
        for name in ("seed=0 ", "seed=9 ", "seed=10")
    ]


def test_every_state_is_told(run, command, tmp_path):
    run("seed=0")
    going = run("seed=1", "running")
    lease = Lease(going.lease)
    lease.update(epoch=3, epochs=40, left=100.0)
    lease.beat()
    run("seed=2", error=ValueError("the loss is nan\nand more"))
    run("seed=3", "running")
    run("seed=4").curves.write_text("ordering,units_ablated,fraction_ablated,accuracy\n0,0,0,1\n0,")
    names = [f"seed={i}" for i in range(6)]
    write_json(tmp_path / "runs" / "ensemble" / "demo-digits" / "sweep.json", {"runs": names})
    assert command("runs") == (
        1,
        [
            "runs/ensemble/demo-digits: 6 runs: 1 done, 1 running, 1 failed, 1 broken, 1 cut off, 1 missing",
            f"  running  seed=1  epoch 3/40, 2 min left  process {os.getpid()} on {os.uname().nodename}",
            "  failed   seed=2  ValueError: the loss is nan",
            "  broken   seed=4  curves.csv: its last row is cut off: the same command makes it again",
            "  cut off  seed=3  after epoch 1",
            "  missing  seed=5",
            "  missing ones are listed in runs/ensemble/demo-digits/sweep.json; delete it to forget them",
        ],
    )
    lease.release()


def test_holder_on_another_machine_that_has_fallen_silent_is_told(run):
    folder = run("seed=0", "running")
    write_json(folder.lease, {"host": "far", "pid": 7, "kernel": "another"})
    shown = []
    for seconds in (5, 40, 100):
        os.utime(folder.lease, (time.time() - seconds,) * 2)
        [row] = read_status(folder.path.parent)
        shown.append((row.state, row.detail))
    assert shown == [
        ("running", "starting  process 7 on far"),
        ("running", "starting  process 7 on far, no sign of life for 40 s"),
        ("cut off", "after epoch 1"),
    ]


def test_epochs_and_time_left(run):
    lease = Lease(run("seed=0", "running").lease)
    told = []
    for values in ({}, {"epoch": 1, "epochs": 2, "left": 40.0}, {"left": 9000.0}, {"epoch": 2}):
        lease.update(**values)
        lease.beat()
        told.append(read_status(lease.path.parents[1])[0].detail.split("  ")[0])
    assert told == ["starting", "epoch 1/2, 40 s left", "epoch 1/2, 2.5 h left", "epoch 2/2, measuring"]
    lease.release()


def test_two_hundred_rows_read_well(tmp_path):
    states = ["done"] * 100 + ["failed"] * 2 + ["missing"] * 98
    runs = [RunStatus(tmp_path, f"seed={i}", state) for i, state in enumerate(states)]
    lines = list(table(runs))
    assert lines[0] == f"{tmp_path}: 200 runs: 100 done, 2 failed, 98 missing"
    assert len(lines) == 1 + 2 + module.ROWS + 2
    assert lines[-2] == f"  missing  and {98 - module.ROWS} more (--all)"
    assert len(list(table(runs, complete=True))) == 202


def test_sweeps_are_summed_up(run, command):
    run("seed=0")
    run("seed=0", "cut off", sweep="dropout/demo-digits")
    code, lines = command()
    assert code == 1
    assert [line for line in lines if not line.startswith(" ")] == [
        "runs/dropout/demo-digits: 1 run: 1 cut off",
        "runs/ensemble/demo-digits: 1 run: 1 done",
        "in all 2 runs: 1 done, 1 cut off",
    ]


def test_reader_that_has_seen_enough_is_no_error(run, tmp_path):
    run("seed=0")
    program = "from single_directions.runs.status import status; status()"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_no_runs_is_one_line(command):
    code, lines = command("nowhere")
    assert code.startswith("no runs in nowhere: make some")
    assert lines == []


def test_watching_ends_once_all_is_done(run, command, monkeypatch):
    folder = run("seed=0", "cut off")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: folder.set_state("done"))
    code, lines = command("--watch", "3")
    assert code == 0
    assert lines[0].endswith("1 cut off")
    assert lines[-1].endswith("1 done")


@pytest.mark.parametrize("content", ["", "[]", '{"state": 3}'])
def test_files_that_cannot_be_read_are_not_fatal(run, content):
    folder = run("seed=0")
    folder.status.write_text(content)
    folder.summary.write_text(content)
    assert [row.state for row in read_status(folder.path.parent)] == ["cut off"]


def test_lease_that_lacks_something_is_not_fatal(run):
    folder = run("seed=0", "running")
    folder.lease.write_text('{"epoch": 1, "epochs": 2}')
    assert [row.state for row in read_status(folder.path.parent)] == ["running"]


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "x"])
def test_watching_without_a_pause_is_refused(command, run, seconds):
    run("seed=0", "cut off")
    assert command("--watch", seconds) == (2, [])
