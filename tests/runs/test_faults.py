"""Faults of long sweeps, tried on short ones: afterwards the same command finishes them with the same results."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import time
from functools import cache

import pandas as pd
import pytest
import torch
from cut_off import TABLES, contents, cut_off
from launches import ended, killed, started, until

from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.folder import RunFolder
from single_directions.runs.lease import Lease, UnderLease, holder
from single_directions.runs.run import execute

SWEEP = [
    "-m", "seed=range(0,12)", "network.hidden=[8]", "data.train_samples=200", "trainer.max_epochs=12",
    "checkpoint.every_n_epochs=3", "ablation.orderings=2", "tracking=off", "progress=false",
]  # fmt: skip
FEW = [*SWEEP, "seed=range(0,4)"]
LONG = [*SWEEP, "seed=0,1", "trainer.max_epochs=60"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tables of a sweep that nothing happened to."""

    @cache
    def of(*sweep):
        place = tmp_path_factory.mktemp("undisturbed")
        assert ended(started(place, place / "log", sweep)) == 0
        return tables(place)

    return of


def tables(place):
    """The contents of the tables of all runs, by folder and name."""
    files = [*place.glob("runs/*/*/*/metrics.csv"), *place.glob("runs/*/*/*/curves.csv")]
    return {(file.parent.name, file.name): file.read_bytes() for file in files}


def leases(place):
    return [file for file in place.glob("runs/*/*/*/lease.json") if holder(file)]


def leftovers(place):
    """A process that is killed just after its run was done leaves the lease, which nobody holds."""
    leases_left = [path for path in place.rglob("lease.json") if not (path.parent / "summary.json").is_file()]
    return [*place.rglob("*.part"), *leases_left]


@pytest.mark.ci_only
def test_sweep_killed_five_times_ends_as_if_it_had_not_been(tmp_path, undisturbed):
    moment = random.Random()
    for _ in range(5):
        process = started(tmp_path, tmp_path / "log", SWEEP)
        until(lambda: leases(tmp_path))
        time.sleep(moment.uniform(0, 0.6))
        assert killed(process) == -signal.SIGKILL
        assert not leases(tmp_path)
    assert ended(started(tmp_path, tmp_path / "log", SWEEP)) == 0
    assert tables(tmp_path) == undisturbed(*SWEEP)
    assert leftovers(tmp_path) == []


def test_two_launches_at_once_share_the_runs(tmp_path, undisturbed):
    logs = [tmp_path / "one", tmp_path / "two"]
    assert [ended(process) for process in [started(tmp_path, log, FEW) for log in logs]] == [0, 0]
    assert tables(tmp_path) == undisturbed(*FEW)
    assert leftovers(tmp_path) == []


@pytest.mark.ci_only
def test_launch_takes_over_from_one_that_is_killed(tmp_path, undisturbed):
    victim = started(tmp_path, tmp_path / "one", SWEEP)
    until(lambda: leases(tmp_path))
    other = started(tmp_path, tmp_path / "two", SWEEP)
    until(lambda: len(leases(tmp_path)) == 2)
    killed(victim)
    assert ended(other) == 0
    assert tables(tmp_path) == undisturbed(*SWEEP)
    assert leftovers(tmp_path) == []


def test_interrupt_marks_the_run_cut_off(tmp_path, undisturbed):
    process = started(tmp_path, tmp_path / "log", LONG)
    until(lambda: list(tmp_path.glob("runs/*/*/*/metrics.csv")))
    assert killed(process, signal.SIGINT) == 130
    assert "cut off; the same command continues" in (tmp_path / "log").read_text()
    states = [json.loads(file.read_text())["state"] for file in tmp_path.glob("runs/*/*/*/status.json")]
    assert states.count("cut off") == 1
    assert set(states) <= {"cut off", "done"}
    assert leftovers(tmp_path) == []
    [cut] = [file.parent for file in tmp_path.glob("runs/*/*/*/status.json") if "cut off" in file.read_text()]
    (cut / "last.ckpt").write_text("half a checkpoint")
    assert ended(started(tmp_path, tmp_path / "log", LONG)) == 0
    assert "the run starts from the beginning" in (tmp_path / "log").read_text()
    assert tables(tmp_path) == undisturbed(*LONG)


@pytest.fixture
def mounted(tmp_path):
    """Mounts something on a folder, which root alone can."""
    places = []

    def mount(*arguments):
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root can mount a small disk")
        shown = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
        if shown.returncode:
            pytest.skip(f"cannot mount here: {shown.stderr.strip()}")
        if arguments[-1] not in places:
            places.append(arguments[-1])

    yield mount
    for place in places:
        subprocess.run(["umount", place], check=True)


@pytest.mark.ci_only
def test_full_disk_fails_runs_which_are_finished_once_there_is_room(tmp_path, undisturbed, mounted):
    disk = tmp_path / "runs"
    disk.mkdir()
    mounted("-t", "tmpfs", "-o", "size=160k", "tmpfs", disk)
    assert ended(started(tmp_path, tmp_path / "log", SWEEP)) == 1
    assert "its disk is full (No space left on device): make room" in (tmp_path / "log").read_text()
    assert "enforce fail" not in (tmp_path / "log").read_text()
    states = {json.loads(file.read_text())["state"] for file in tmp_path.glob("runs/*/*/*/status.json")}
    assert states == {"done", "failed"}
    done = tables(tmp_path)
    assert 0 < len(done) < 24
    for file in tmp_path.rglob("*.csv"):  # whole or not there
        pd.read_csv(file)
    mounted("-o", "remount,size=20m", disk)
    assert ended(started(tmp_path, tmp_path / "log", SWEEP)) == 0
    assert tables(tmp_path) == undisturbed(*SWEEP)
    assert leftovers(tmp_path) == []


def test_folder_that_cannot_be_written_fails_its_run_alone(tmp_path, undisturbed, request):
    whole = undisturbed(*FEW)
    [locked] = {tmp_path / "runs" / "single" / "demo-digits" / name for name, _ in whole if ",seed=1," in name}
    locked.mkdir(parents=True)
    if os.geteuid() == 0:  # whom no permission stops
        mounted = request.getfixturevalue("mounted")
        mounted("--bind", locked, locked)
        mounted("-o", "remount,ro,bind", locked)
    else:
        locked.chmod(0o500)
        request.addfinalizer(lambda: locked.chmod(0o700))
    assert ended(started(tmp_path, tmp_path / "log", FEW)) == 1
    assert f"{locked.name} cannot be written" in (tmp_path / "log").read_text()
    assert len(tables(tmp_path)) == 6
    assert tables(tmp_path).items() <= whole.items()
    assert list(locked.iterdir()) == []


@pytest.fixture
def folders(tmp_path):
    """The folder of a run that is done, and that of the same run cut off."""

    def make(config):
        execute(config, whole := RunFolder(tmp_path / "runs" / "whole"))
        return whole, cut_off(config, tmp_path / "runs" / "cut")

    return make


class Stranger:
    """What executes something when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (self.place.touch, ())


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "stranger", "other"])
def test_checkpoint_that_cannot_be_read_gives_a_fresh_start(settings, folders, tmp_path, caplog, kind):
    config = settings("trainer.max_epochs=6", "checkpoint.every_n_epochs=2")
    whole, cut = folders(config)
    content = cut.checkpoint.read_bytes()
    if kind == "stranger":
        torch.save({"state_dict": Stranger(tmp_path / "executed")}, cut.checkpoint)
    elif kind == "other":
        torch.save({"epoch": 3}, cut.checkpoint)
    else:
        cut.checkpoint.write_bytes({"truncated": content[: len(content) // 2], "text": b"none\n"}.get(kind, b""))
    execute(config, cut)
    [said] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.startswith(f"{cut.checkpoint} cannot be read (")
    assert said.endswith("): kept as last.ckpt.broken, the run starts from the beginning")
    assert cut.path.joinpath("last.ckpt.broken").exists()
    assert "\n" not in said
    assert not (tmp_path / "executed").exists()
    assert contents(cut) == contents(whole)


def test_checkpoint_that_cannot_be_read_just_now_is_kept(settings, folders, monkeypatch):
    config = settings("trainer.max_epochs=6", "checkpoint.every_n_epochs=2")
    whole, cut = folders(config)

    def broken(*given, **named):
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(type(cut.checkpoint), "read_bytes", broken)
        with pytest.raises(BadInput, match=r"last\.ckpt cannot be read .*Stale file handle.*try again"):
            execute(config, cut)
    assert cut.checkpoint.exists()
    execute(config, cut)
    assert contents(cut) == contents(whole)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_checkpoint_that_memory_is_too_small_for_is_kept(settings, folders, monkeypatch, error):
    config = settings("trainer.max_epochs=6", "checkpoint.every_n_epochs=2")
    whole, cut = folders(config)
    content = cut.checkpoint.read_bytes()

    def too_large(*given, **named):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", too_large)
        with pytest.raises(MemoryError):
            execute(config, cut)
    assert cut.checkpoint.read_bytes() == content
    assert cut.state() == "failed"
    execute(config, cut)
    assert contents(cut) == contents(whole)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("keep", ["weights", "all", "none"])
def test_truncated_table_of_a_run_that_is_done_is_made_again(settings, tmp_path, table, keep):
    config = settings("trainer.max_epochs=3", f"checkpoint.keep={keep}")
    whole, broken = (RunFolder(tmp_path / name) for name in ("whole", "broken"))
    before = execute(config, whole)
    execute(config, broken)
    seconds = broken.read_summary()["seconds"]["training"]
    file = broken.path / table
    file.write_bytes(file.read_bytes()[:-9])
    assert not broken.is_done()
    again = execute(config, broken)
    assert contents(broken) == contents(whole)
    assert {**again, "seconds": 0} == {**before, "seconds": 0}
    # What was kept is measured, not trained, again.
    assert keep == "none" or again["seconds"]["training"] == seconds


def test_run_that_is_done_keeps_what_it_is_told_to(settings, tmp_path):
    found = {}
    for keep in ("weights", "all", "none"):
        folder = RunFolder(tmp_path / keep)
        execute(settings(f"checkpoint.keep={keep}", "early_stopping=test_loss"), folder)
        files = [file for file in (folder.checkpoint, folder.best) if file.exists()]
        found[keep] = [torch.load(file, weights_only=True) for file in files]
    assert [len(checkpoint["optimizer_states"]) for checkpoint in found["weights"]] == [0, 0]
    assert [len(checkpoint["optimizer_states"]) for checkpoint in found["all"]] == [1, 1]
    assert found["none"] == []
    names = build(settings()).network.state_dict().keys()
    for checkpoint in found["weights"]:
        assert {f"network.{name}" for name in names} <= checkpoint["state_dict"].keys()


def test_clock_that_goes_backwards_changes_nothing(settings, folders, monkeypatch):
    config = settings("trainer.max_epochs=6", "checkpoint.every_n_epochs=2")
    now = [2e9]

    def backwards():
        now[0] -= 3600
        return now[0]

    with monkeypatch.context() as patched:
        patched.setattr(time, "time", backwards)
        whole, cut = folders(config)
        for file in cut.path.iterdir():
            os.utime(file, (4e9, 4e9))
        assert cut.state() == "cut off"
        execute(config, cut)
    assert contents(cut) == contents(whole)


def test_run_under_way_is_left_alone(settings, place):
    folder, config = RunFolder(place), settings()
    with folder.leased():
        with pytest.raises(UnderLease, match="default: under way in process"):
            execute(config, folder)
        assert [file.name for file in folder.path.iterdir()] == ["lease.json"]
    execute(config, folder)


def test_run_that_another_process_finished_meanwhile_is_not_done_twice(settings, place):
    class Slow(RunFolder):
        """A folder whose process is overtaken before it has the lease."""

        def check_free(self):
            summaries.append(execute(config, RunFolder(self.path)))

    summaries, config = [], settings()
    assert execute(config, Slow(place)) == summaries[0]  # and so the same seconds


def test_run_whose_lease_is_lost_writes_nothing_more(settings, place):
    class Stopped(RunFolder):
        """A folder whose process was stopped for so long after its second epoch that another took over."""

        def write_frame(self, path, frame):
            super().write_frame(path, frame)
            if path == self.metrics and len(frame) == 2:
                self.lease.unlink()
                others.append(Lease(self.lease))
                self.set_state("running")

    others = []
    folder, config = Stopped(place), settings("trainer.max_epochs=4")
    with pytest.raises(UnderLease, match="taken over"):
        execute(config, folder)
    assert len(pd.read_csv(folder.metrics)) <= 3
    assert folder.state() == "running"
    others[0].release()
    execute(config, RunFolder(place))
    assert len(pd.read_csv(folder.metrics)) == 4


def test_processes_of_one_training_share_its_lease(settings, place, monkeypatch):
    folder = RunFolder(place)
    with folder.leased():
        monkeypatch.setenv("LOCAL_RANK", "1")
        folder.check_free()
        with folder.leased() as lease:
            assert lease is None


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_at_the_start_leaves_no_run_that_says_running(settings, place, interrupt):
    class Interrupted(RunFolder):
        """A folder whose process is interrupted right after it wrote that it works here."""

        def set_state(self, state, error=""):
            super().set_state(state, error)
            if state == "running":
                raise interrupt

    with pytest.raises(interrupt):
        execute(settings(), Interrupted(place))
    assert RunFolder(place).read_status()["state"] == "cut off"
    assert RunFolder(place).holder() is None


def test_folder_that_cannot_be_written_at_the_start_fails_its_run(settings, place):
    class Unwritable(RunFolder):
        """A folder in which the record of a run cannot be written."""

        @property
        def record(self):
            return self.path / "missing" / "run.json"

    with pytest.raises(BadInput, match=r"cannot be written.*choose another folder with runs="):
        execute(settings(), Unwritable(place))
    status = RunFolder(place).read_status()
    assert status["state"] == "failed"
    assert "cannot be written" in status["error"]


def test_broken_config_of_a_done_run_is_told(settings, place):
    execute(settings(), RunFolder(place))
    RunFolder(place).config.write_text("!!python/object/apply:os.system ['touch executed']")
    with pytest.raises(BadInput, match=r"config\.yaml cannot be read"):
        execute(settings(), RunFolder(place))
