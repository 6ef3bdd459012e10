"""The runs of a sweep, done: what is launched, what is launched again, what is looked at again."""

import json
import time
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus

from single_directions.errors import BadInput
from single_directions.runs import lease, queue
from single_directions.runs.folder import RunFolder, write_json
from single_directions.runs.lease import Lease
from single_directions.runs.queue import UNDER_WAY, LaunchFailed, ProcessDied, RunFailed, finish
from single_directions.runs.sweep import Job, list_runs, listed_command, listed_runs


@pytest.fixture
def places(tmp_path, settings):
    """Jobs of three seeds, and a launcher that does what it is told to each."""
    config = settings()

    class Places:
        def __init__(self):
            names = [f"seed={i}" for i in range(3)]
            self.jobs = [
                Job([name], {**config, "seed": i}, RunFolder(tmp_path / "s" / name)) for i, name in enumerate(names)
            ]
            self.passes, self.does = [], {}

        def launch(self, overrides):
            self.passes.append([" ".join(job) for job in overrides])
            return [self.one(next(job for job in self.jobs if job.overrides == own)) for own in overrides]

        def one(self, job):
            end = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
            does = self.does.get(job.overrides[0], self.finishes)
            end.return_value = does(job)
            if isinstance(end._return_value, Exception):
                end.status = JobStatus.FAILED
            return end

        def finishes(self, job):
            with job.folder.leased():
                job.folder.begin(job.config)
                job.folder.curves.write_text("ordering,units_ablated,fraction_ablated,accuracy\n0,0,0,1\n")
                job.folder.metrics.write_text("epoch\n1\n")
                numbers = dict.fromkeys(("train_accuracy", "test_accuracy", "auc"), 0.5)
                write_json(job.folder.summary, {"orderings": 1, "points": 1, "epochs": 1, "seconds": {}, **numbers})
                job.folder.set_state("done")

    return Places()


def test_done_runs_are_not_launched(places, capsys):
    places.finishes(places.jobs[1])
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=2"]]
    [told] = capsys.readouterr().out.splitlines()
    assert told.startswith("1 of 3 runs are done and skipped: their folders hold the results of the same settings (")
    assert str(places.jobs[0].folder.path.parent) in told
    finish(places.jobs, places.launch)
    assert len(places.passes) == 1


def test_done_run_of_another_configuration_is_launched_to_tell_so(places):
    places.finishes(places.jobs[1])
    places.jobs[1].config["batch_size"] = 7
    places.does = {"seed=1": lambda job: BadInput("other settings")}
    with pytest.raises(BadInput, match="other settings"):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]


def test_run_under_way_elsewhere_is_returned_to(places, monkeypatch, capsys):
    first = places.jobs[0].folder
    first.path.mkdir(parents=True)
    taken = Lease(first.lease)
    monkeypatch.setattr(queue.time, "sleep", lambda _: taken.release())  # the other process dies
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=1", "seed=2"], ["seed=0"]]
    assert "waiting for 1 under way elsewhere" in capsys.readouterr().out
    assert first.is_done()


def test_run_finished_elsewhere_meanwhile_is_not_launched_again(places, monkeypatch):
    taken = []

    def busy(job):
        taken.append(Lease(job.folder.lease))
        return UNDER_WAY

    def elsewhere(_):
        taken[0].release()
        places.finishes(places.jobs[1])

    for job in places.jobs:
        job.folder.path.mkdir(parents=True)
    places.does = {"seed=1": busy}
    monkeypatch.setattr(queue.time, "sleep", elsewhere)
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]


def test_run_that_failed_elsewhere_is_told_and_not_tried_again(places, monkeypatch, capsys):
    last = places.jobs[2].folder
    last.path.mkdir(parents=True)
    taken = Lease(last.lease)

    def fail(_):
        last.fail(ValueError("too bad"), "Traceback")
        taken.release()

    monkeypatch.setattr(queue.time, "sleep", fail)
    with pytest.raises(RunFailed):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1"]]
    assert capsys.readouterr().err.startswith("1 of 3 runs failed (1 in other processes: seed=2); the same command ")


def test_run_whose_process_died_is_marked_failed_beside_the_others(places, capsys):
    """What a launcher tells of a process that could tell nothing itself."""

    def dies(job):
        return ProcessDied("WorkerCrashedError")

    def dies_while_it_trains(job):
        with job.folder.leased():
            job.folder.begin(job.config)
        return dies(job)

    places.does = {"seed=0": dies, "seed=1": dies_while_it_trains}
    with pytest.raises(ProcessDied, match=r"its process ended without a result \(WorkerCrashedError\)"):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]
    assert [job.folder.state() for job in places.jobs] == ["failed", "failed", "done"]
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        *(f"seed={i}: failed: its process ended without a result" for i in (0, 1)),
        "2 of 3 runs failed; the same command tries them again",
    ]
    places.does = {}
    finish(places.jobs, places.launch)
    assert places.passes[1:] == [["seed=0", "seed=1"]]


@pytest.fixture
def elsewhere(monkeypatch):
    """Has the process of a run die on another machine: its lease stays, in which `signs` of life may follow."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now, time=time.time)
    signs = []

    def sleep(seconds):
        clock.now += seconds
        for sign in signs:
            sign(clock)

    clock.sleep = sleep
    monkeypatch.setattr(queue, "time", clock)
    monkeypatch.setattr(lease, "time", clock)

    def dies(job):
        job.folder.path.mkdir(parents=True)
        job.folder.begin(job.config)
        write_lease(job.folder, beat=0)
        return ProcessDied("NodeDiedError")

    return SimpleNamespace(dies=dies, signs=signs, clock=clock)


def write_lease(folder, beat):
    """As the holder on another machine writes it."""
    told = {"host": "far", "pid": 7, "kernel": "another", "beat": beat}
    folder.lease.write_bytes(json.dumps(told).encode().ljust(lease.SIZE - 1) + b"\n")


def test_run_that_died_on_another_machine_is_marked_failed_once_its_lease_has_ended(places, elsewhere, capsys):
    places.does = {"seed=1": elsewhere.dies}
    with pytest.raises(ProcessDied, match="NodeDiedError"):
        finish(places.jobs, places.launch)
    assert [job.folder.state() for job in places.jobs] == ["done", "failed", "done"]
    assert 0 <= elsewhere.clock.now - 1000 - lease.PATIENCE < 5
    assert not places.jobs[1].folder.lease.exists()
    told = capsys.readouterr()
    assert "seed=1: process 7 on far died, or another process took the run over: watching for 90 s at most" in told.out
    assert told.err.splitlines()[0] == "seed=1: failed: its process ended without a result (NodeDiedError)"


def test_run_that_died_is_no_failure_where_another_machine_has_taken_it_on(places, elsewhere, capsys):
    folder = places.jobs[1].folder

    def beats_then_finishes(clock):
        if clock.now < 1100:
            return write_lease(folder, beat=clock.now)
        if folder.lease.exists():
            folder.lease.unlink()
            places.finishes(places.jobs[1])

    elsewhere.signs.append(beats_then_finishes)
    places.does = {"seed=1": elsewhere.dies}
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]
    told = capsys.readouterr()
    assert "waiting for 1 under way elsewhere" in told.out
    assert told.err == ""


def test_run_that_failed_before_is_tried_again(places):
    places.jobs[0].folder.path.mkdir(parents=True)
    places.jobs[0].folder.fail(ValueError("too bad"), "Traceback")
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]


def trains(folder, epochs):
    """As a training writes them down."""
    with folder.leased():
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.set_state("running")
        folder.metrics.write_text("epoch\n" + "".join(f"{epoch + 1}\n" for epoch in range(epochs)))


def test_run_whose_process_dies_is_launched_again_while_each_attempt_gets_further(places, capsys):
    reached = iter([3, 5, 5])

    def dies_further_on(job):
        trains(job.folder, next(reached))
        return ProcessDied("WorkerCrashedError")

    places.does = {"seed=1": dies_further_on}
    with pytest.raises(ProcessDied, match="WorkerCrashedError"):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"], ["seed=1"], ["seed=1"]]
    assert [job.folder.state() for job in places.jobs] == ["done", "failed", "done"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"seed=1: {ProcessDied('WorkerCrashedError')} after epoch 3; it is launched again"


def test_runs_of_two_data_sets_that_share_a_name_are_told_apart(places, tmp_path):
    """What a run of one had trained before says nothing of that of the other."""
    first, second = (RunFolder(tmp_path / data / "default") for data in ("demo-digits", "demo-mnist"))
    places.jobs = [Job([data], places.jobs[0].config, folder) for data, folder in (("a", first), ("b", second))]
    trains(second, 5)
    reached = iter([3, 3])

    def dies(job):
        trains(job.folder, next(reached))
        return ProcessDied("WorkerCrashedError")

    places.does = {"a": dies}
    with pytest.raises(ProcessDied):
        finish(places.jobs, places.launch)
    assert places.passes == [["a", "b"], ["a"]]  # again, as it got further than before


def test_launch_that_breaks_off_is_followed_by_another_for_what_is_left(places, capsys):
    attempts = []

    def breaks_off(overrides):
        attempts.append([" ".join(job) for job in overrides])
        if len(attempts) < 3:  # each has one run done, and loses the others
            places.finishes(next(job for job in places.jobs if job.overrides == overrides[0]))
            raise LaunchFailed("hydra/launcher: the connection was lost")
        return places.launch(overrides)

    finish(places.jobs, breaks_off)
    assert attempts == [["seed=0", "seed=1", "seed=2"], ["seed=1", "seed=2"], ["seed=2"]]
    assert all(job.is_done() for job in places.jobs)
    assert "the connection was lost: launching what is left again" in capsys.readouterr().err


def test_launch_that_gets_nothing_done_is_the_error(places):
    places.jobs[0].folder.path.mkdir(parents=True)
    places.jobs[0].folder.fail(ValueError("too bad"), "Traceback")  # by an earlier command
    attempts = []

    def breaks(overrides):
        attempts.append(overrides)
        raise LaunchFailed("hydra/launcher: no cluster")

    with pytest.raises(LaunchFailed, match="no cluster"):
        finish(places.jobs, breaks)
    assert len(attempts) == 1


def test_run_that_failed_in_a_launch_that_broke_off_is_not_tried_again(places):
    attempts = []

    def breaks_off(overrides):
        attempts.append([" ".join(job) for job in overrides])
        if len(attempts) > 1:
            return places.launch(overrides)
        places.finishes(places.jobs[0])
        places.jobs[1].folder.path.mkdir()
        places.jobs[1].folder.fail(ValueError("too bad"), "Traceback")
        raise LaunchFailed("hydra/launcher: the connection was lost")

    with pytest.raises(RunFailed):
        finish(places.jobs, breaks_off)
    assert attempts == [["seed=0", "seed=1", "seed=2"], ["seed=2"]]


def test_runs_and_commands_of_all_sweeps_of_a_folder_are_listed(places, tmp_path, monkeypatch):
    for jobs, argument in ((places.jobs[:2], "seed=0,1"), (places.jobs[1:], "seed=1,2")):
        monkeypatch.setattr("sys.argv", ["train.py", "-m", argument])
        finish(jobs, places.launch)
    assert listed_runs(tmp_path / "s") == ["seed=0", "seed=1", "seed=2"]
    commands = [listed_command(job.folder.path) for job in places.jobs]
    assert commands == [f"python scripts/train.py -m seed={seeds}" for seeds in ("0,1", "1,2", "1,2")]
    write_json(tmp_path / "s" / "sweep.json", {"runs": ["seed=0"]})  # of older code
    assert (listed_runs(tmp_path / "s"), listed_command(tmp_path / "s" / "seed=0")) == (["seed=0"], None)
    (tmp_path / "s" / "sweep.json").write_text("{")
    assert listed_runs(tmp_path / "s") == listed_runs(tmp_path / "nowhere") == []


def listing(folder, names):
    for name in names:
        list_runs([Job([name], {}, RunFolder(folder / name))])


def test_processes_that_list_their_runs_at_the_same_time_lose_none(tmp_path):
    parts = [[f"seed={i}" for i in range(first, first + 40)] for first in (0, 40)]
    processes = [get_context("spawn").Process(target=listing, args=(tmp_path / "s", part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert set(listed_runs(tmp_path / "s")) == {*parts[0], *parts[1]}
