"""Executes the runs of a sweep. Their folders are the queue: they are read again after each launch."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException

from single_directions.commands import called
from single_directions.errors import BadInput
from single_directions.runs.folder import RunFolder
from single_directions.runs.identity import record_of
from single_directions.runs.lease import PATIENCE, Watch
from single_directions.runs.sweep import Job, list_runs

SWEEP_SIZE = "SINGLE_DIRECTIONS_SWEEP_SIZE"
"""Environment variable that tells the runs of a sweep, in any process, how many they are."""
UNDER_WAY = "under way elsewhere"
"""What a job returns if another process works on its run."""
POLL = 2.0
"""Seconds between two looks at runs that other processes work on."""

Launch = Callable[[list[list[str]]], Sequence[JobReturn]]


class RunFailed(CompactHydraException):
    """A run of a sweep failed; the process with this id has printed why."""

    def __init__(self, message: str = "", process: int | None = None) -> None:
        super().__init__(message)
        self.process = process or os.getpid()

    def __reduce__(self) -> Any:
        return RunFailed, (str(self), self.process)


class ProcessDied(RunFailed):
    """The process of a run ended without a result: it was killed, ran out of memory, or failed before the run began."""

    def __init__(self, how: str) -> None:
        super().__init__(f"its process ended without a result ({how})")


class LaunchFailed(BadInput):
    """A launcher raised an exception of its own, and gave no results."""


def lost(how: str) -> JobReturn:
    """What a launcher returns for a job whose process ended without a result."""
    return JobReturn(status=JobStatus.FAILED, _return_value=ProcessDied(how))


def finish(runs: Sequence[Job], launch: Launch) -> list[JobReturn]:
    """Finish all runs of a sweep, together with other processes that were started for the same sweep.

    Runs that are done are skipped. A run that another process works on is looked at again until it is done, has failed,
    or its process has died: then it is launched here. A run whose process ended without a result is launched again as
    long as each attempt trains further than the one before; then it counts as failed. Raises the first failure once
    nothing is left to do.
    """
    left = [job for job in runs if not job.is_done()]
    list_runs(runs)
    if done := len(runs) - len(left):
        print(
            f"{done} of {len(runs)} runs are done and skipped: their folders hold the results of the same settings "
            f"({called('status')} {runs[0].folder.path.parent} --all)",
            flush=True,
        )
    before = {job.folder: job.folder.read_status() for job in left}
    returns: list[JobReturn] = []
    failed_elsewhere: list[Job] = []
    watch, waiting = Watch(), False
    while left:
        free = [job for job in left if watch.is_free(job.folder.lease)]
        left = [job for job in left if job not in free]
        if free:
            ended, again = _attempt(free, launch)
            returns += ended
            left += again
        else:
            if not waiting:
                print(f"waiting for {len(left)} under way elsewhere", flush=True)
            waiting = True
            time.sleep(POLL)
        failed_elsewhere += [job for job in left if _has_failed(job.folder, before[job.folder])]
        left = [job for job in left if job not in failed_elsewhere and not job.is_done()]
    failures = [end for end in returns if end.status == JobStatus.FAILED]
    if number := len(failures) + len(failed_elsewhere):
        names = ", ".join(map(str, failed_elsewhere))
        elsewhere = f" ({len(failed_elsewhere)} in other processes: {names})" if names else ""
        message = f"{number} of {len(runs)} runs failed{elsewhere}; the same command tries them again"
        print(message, file=sys.stderr, flush=True)
        # `return_value` would make Hydra print another line.
        raise failures[0]._return_value if failures else RunFailed()
    return returns


def _attempt(jobs: Sequence[Job], launch: Launch) -> tuple[list[JobReturn], list[Job]]:
    """Launch runs once. Returns the results of those that ended, and the runs whose folders are to be read again."""
    before = {job.folder: job.folder.epochs() for job in jobs}
    os.environ[SWEEP_SIZE] = str(len(jobs))
    try:
        ends = launch([job.overrides for job in jobs])
    except LaunchFailed as error:
        if not any(job.is_done() or job.folder.epochs() != before[job.folder] for job in jobs):
            raise
        print(f"{error}: launching what is left again", file=sys.stderr, flush=True)
        return [], list(jobs)
    returns, again = [], []
    for job, end in zip(jobs, ends, strict=True):
        died = end._return_value if isinstance(end._return_value, ProcessDied) else None
        if (died and _is_taken_over(job)) or (end.status == JobStatus.COMPLETED and end._return_value == UNDER_WAY):
            again.append(job)
        elif died and (epoch := job.folder.epochs()) > before[job.folder]:
            print(f"{job}: {died} after epoch {epoch}; it is launched again", file=sys.stderr, flush=True)
            again.append(job)
        else:
            if died:
                _mark_failed(job, died)
            returns.append(end)
    return returns, again


def _is_taken_over(job: Job) -> bool:
    """Whether another process works on a run whose process died here, or has finished it.

    The lease of a process that died on another host stays for a while. Watching it tells whether a living process holds
    it.
    """
    held = job.folder.holder()
    if held is None or held.certain:
        return held is not None or job.folder.is_done()
    print(
        f"{job}: {held} died, or another process took the run over: watching for {PATIENCE:.0f} s at most", flush=True
    )
    return not Watch().outlives(job.folder.lease) or job.folder.is_done()


def _mark_failed(job: Job, died: ProcessDied) -> None:
    """Report a run whose process died, here and in its folder."""
    print(f"{job}: failed: {died}", file=sys.stderr, flush=True)
    if job.folder.state() is None:  # it died before it could begin
        job.folder.refuse(died, record_of(job.config, job.overrides))
    else:
        job.folder.fail(died, f"{died}\n")


def _has_failed(folder: RunFolder, before: dict[str, Any]) -> bool:
    """Whether a run has failed in another process since its status was `before`."""
    return folder.state() == "failed" and folder.holder() is None and folder.read_status() != before
