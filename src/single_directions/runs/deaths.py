"""Runs whose processes die without a word: Ray and Slurm tell of them as of runs that failed, beside the others.

Their launchers ask for the runs of a sweep one after another and would end with the first such, and with it the sweep.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from single_directions.runs.sweep import ProcessDied

PAUSE = 20.0
"""Seconds between two questions to Slurm."""
GONE = "no longer in Slurm's queue"
"""The state of a job that Slurm knew once and tells nothing of any more."""
ENDED = {GONE, "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
"""States that a job does not leave by itself; one that goes back to the queue has none of them on its way there."""


@contextmanager
def of_ray() -> Iterator[None]:
    """Within it Ray gives a run whose process has died as often as it is retried as one that failed."""
    ray: Any = import_module("ray")
    get = ray.get
    deaths = tuple(
        getattr(ray.exceptions, name)
        for name in ("OutOfMemoryError", "WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError")
        if hasattr(ray.exceptions, name)  # not all of them in every version
    )

    def get_or_failure(run: Any, **options: Any) -> Any:
        try:
            return get(run, **options)
        except deaths as error:
            return _failure(type(error).__name__)

    ray.get = get_or_failure
    try:
        yield
    finally:
        ray.get = get


@contextmanager
def of_slurm() -> Iterator[None]:
    """Within it submitit gives a job of Slurm's that ended without a result as a run that failed."""
    job: Any = import_module("submitit").SlurmJob
    errors: Any = import_module("submitit.core.utils")
    results, watcher = job.results, job.watcher

    def results_or_failure(one: Any) -> list[Any]:
        try:
            return results(one)
        except errors.FailedJobError as error:
            return [_failure(_last_of_traceback(str(error)))]
        except errors.UncompletedJobError:
            return [_failure(one.state)]

    job.results, job.watcher = results_or_failure, Queue()
    try:
        yield
    finally:
        job.results, job.watcher = results, watcher


class Queue:
    """The states of this user's jobs in Slurm, with the face of submitit's watcher.

    That one asks `sacct`, which tells nothing where Slurm keeps no accounts: of a job that ended without a result it
    would never know.
    """

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._asked = float("-inf")

    def register_job(self, job_id: str) -> None:
        """Nothing to do: all jobs are looked at."""

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """As Slurm names it, or "UNKNOWN" where it has told nothing yet."""
        if time.monotonic() - self._asked >= PAUSE:
            self._ask()
            self._asked = time.monotonic()
        return self._states.get(job_id, "UNKNOWN")

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether a job has ended, well or not."""
        return self.get_state(job_id) in ENDED

    def _ask(self) -> None:
        # All states: some minutes long Slurm also tells of jobs that have ended.
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i %T"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):  # its controller is busy, or starts anew: what was known stays
            return
        self._states = dict.fromkeys(self._states, GONE) | dict(line.partition(" ")[::2] for line in told.splitlines())


def _last_of_traceback(told: str) -> str:
    """The last line of the traceback that submitit gives between lines of dashes, or of all it says."""
    before, *between = told.split("-" * 22)
    lines = (between[0] if between else before).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no traceback")


def _failure(how: str) -> JobReturn:
    return JobReturn(status=JobStatus.FAILED, _return_value=ProcessDied(how))
