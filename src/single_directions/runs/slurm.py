"""The states of jobs in Slurm, as `squeue` lists them."""

import os
import subprocess
import time

PAUSE = 20.0
"""Seconds between two calls of `squeue`."""
GONE = "no longer in Slurm's queue"
"""The state of a job that `squeue` listed before and lists no more."""
ENDED = {GONE, "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
"""States that a job does not leave by itself. A job that is requeued has none of them meanwhile."""


class JobStates:
    """The states of this user's jobs, in place of submitit's watcher.

    Submitit's watcher calls `sacct`, which lists nothing where Slurm has no accounting. Submitit would then wait
    forever for a job that ended without a result.
    """

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._asked = float("-inf")

    def register_job(self, job_id: str) -> None:
        """Does nothing: `squeue` lists all jobs."""

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """As Slurm names it, or "UNKNOWN" before `squeue` has listed the job."""
        if time.monotonic() - self._asked >= PAUSE:
            self._ask()
            self._asked = time.monotonic()
        return self._states.get(job_id, "UNKNOWN")

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether a job has ended, with or without a result."""
        return self.get_state(job_id) in ENDED

    def _ask(self) -> None:
        # All states: for some minutes Slurm also lists jobs that have ended.
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i %T"]
        try:
            listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):  # the controller is busy or restarts: keep the old states
            return
        self._states = dict.fromkeys(self._states, GONE) | dict(
            line.partition(" ")[::2] for line in listed.splitlines()
        )


def last_of_traceback(message: str) -> str:
    """The last line of the traceback that submitit prints between lines of dashes, or else of the whole message."""
    before, *between = message.split("-" * 22)
    lines = (between[0] if between else before).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no traceback")
