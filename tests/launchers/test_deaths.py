"""Runs whose processes die without a word end as failures beside the others, as Ray and submitit would not have it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus

from single_directions.runs import deaths, launchers
from single_directions.runs.deaths import Queue
from single_directions.runs.sweep import ProcessDied

DONE, FAILED = JobStatus.COMPLETED, JobStatus.FAILED


def how(end):
    """How a run died."""
    with pytest.raises(ProcessDied) as died:
        raise end._return_value
    return str(died.value).removeprefix("its process ended without a result (").removesuffix(")")


def test_under_ray(monkeypatch):
    class WorkerCrashedError(Exception):
        pass

    def get(run):
        if run == 1:
            raise WorkerCrashedError
        return JobReturn(status=DONE)

    class RayLauncher:
        """Asks for its runs one after another, as Ray's does."""

        def launch(self, left, initial_job_idx):
            return [ray.get(number) for number, _ in enumerate(left)]

    dead = SimpleNamespace(WorkerCrashedError=WorkerCrashedError, OutOfMemoryError=MemoryError)
    ray = SimpleNamespace(get=get, exceptions=dead)
    monkeypatch.setitem(sys.modules, "ray", ray)
    ended = launchers.launched(RayLauncher(), [["seed=0"], ["seed=1"], ["seed=2"]])
    assert [end.status for end in ended] == [DONE, FAILED, DONE]
    assert how(ended[1]) == "WorkerCrashedError"
    assert ray.get is get


class Unfinished(RuntimeError):
    """submitit's UncompletedJobError."""


class Raised(Unfinished):
    """submitit's FailedJobError."""


class SlurmJob:
    """Waits for a result until its watcher says that there will be none, as submitit's does."""

    watcher = None
    ends = ("result", "silence", "error", "result")

    def __init__(self, number):
        self.number = number

    @property
    def state(self):
        return self.watcher.get_state(f"7_{self.number}")

    def results(self):
        if self.ends[self.number] == "result":
            return [JobReturn(status=DONE)]
        if self.ends[self.number] == "error":
            line = "-" * 22
            raise Raised(
                f"Job (task=0) failed with trace:\n{line}\nTraceback\nTimedOut: too often\n\n{line}\nSee the logs"
            )
        while not self.watcher.is_done(f"7_{self.number}"):
            deaths.time.sleep(1)
        raise Unfinished("has not produced any output")


class SlurmLauncher:
    """Asks for its jobs one after another, as submitit's does."""

    def launch(self, left, initial_job_idx):
        return [SlurmJob(number).results()[0] for number, _ in enumerate(left)]


@pytest.fixture
def clock(monkeypatch):
    """A clock that sleeping moves."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(deaths, "time", clock)
    return clock


@pytest.fixture
def squeue(monkeypatch, tmp_path):
    """Slurm's command, that says of each time it is asked what it is given, the last again; None: it fails."""
    (tmp_path / "squeue").write_text(
        f'#!/bin/sh\ncd {tmp_path}\necho "$@" >> asked\nn=$(wc -l < asked)\n'
        "while [ ! -e $n ]; do n=$((n - 1)); done\ncat $n\ntest -s $n\n"
    )
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def says(*told):
        for number, states in enumerate(told, start=1):
            (tmp_path / str(number)).write_text("" if states is None else states + "\n")
        return tmp_path / "asked"

    return says


def test_under_slurm(monkeypatch, squeue, clock):
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(SlurmJob=SlurmJob))
    errors = SimpleNamespace(UncompletedJobError=Unfinished, FailedJobError=Raised)
    monkeypatch.setitem(sys.modules, "submitit.core.utils", errors)
    before = SlurmJob.results, SlurmJob.watcher
    squeue("7_1 RUNNING", "7_1 OUT_OF_MEMORY")
    ended = launchers.launched(SlurmLauncher(), [["seed=0"], ["seed=1"], ["seed=2"], ["seed=3"]])
    assert [end.status for end in ended] == [DONE, FAILED, FAILED, DONE]
    assert [how(end) for end in ended[1:3]] == ["OUT_OF_MEMORY", "TimedOut: too often"]
    assert (SlurmJob.results, SlurmJob.watcher) == before


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (f"failed with trace:\n{'-' * 22}\nTraceback\nValueError: x\n{'-' * 22}\nSee logs", "ValueError: x"),
        (f"failed with trace:\n{'-' * 22}\n\n{'-' * 22}\nSee logs", "no traceback"),
        ("it failed\n", "it failed"),
        ("", "no traceback"),
    ],
)
def test_however_submitit_words_a_failure_one_line_is_shown(told, shown):
    assert deaths._last_of_traceback(told) == shown


def test_job_of_slurms_has_ended_once_it_has_left_the_queue(squeue, clock):
    asked = squeue("7_1 PENDING\n7_2 RUNNING\n8 COMPLETED", "7_1 RUNNING\n7_2 COMPLETING", "7_1 SUSPENDED\n7_2 PENDING",
                   None, "7_2 FAILED", "7_2 FAILED")  # fmt: skip
    queue, ended = Queue(), []
    for _ in range(6):
        ended.append("".join(str(int(queue.is_done(job))) for job in ("7_1", "7_2", "8", "9")))
        clock.now += deaths.PAUSE
    assert ended == ["0010", "0010", "0010", "0010", "1110", "1110"]  # 9, of which nothing was ever told, never does
    assert queue.get_state("7_1") == "no longer in Slurm's queue"
    assert "--states=all" in Path(asked).read_text()
    assert "--array" in Path(asked).read_text()


def test_slurm_is_asked_now_and_then_for_all_jobs_at_once(squeue, clock):
    asked, queue = squeue("7_1 RUNNING"), Queue()
    for _ in range(10):
        assert not any(queue.is_done(f"7_{number}") for number in range(200))
        clock.now += deaths.PAUSE / 5
    assert len(asked.read_text().splitlines()) == 2


def test_slurm_without_its_command_tells_nothing(monkeypatch, tmp_path, clock):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Queue().get_state("7_1") == "UNKNOWN"
