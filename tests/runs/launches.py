"""Commands run in their own processes, which tests may kill. They are forked from one that has imported everything."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from single_directions.runs.lease import Lease

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["single_directions.runs.cli", "hydra_plugins.single_directions_sweeper"])


def started(place: Path, log: Path, arguments: Sequence[str]) -> multiprocessing.Process:
    """`train.py` with some arguments in a folder; what it prints goes to `log`."""
    process = FORKS.Process(target=_train, args=(place, log, arguments))
    process.start()
    return process


def holding(lease: Path, child: bool = False) -> multiprocessing.Process:
    """A process that holds a lease for a minute, with a child that outlives it if asked to."""
    process = FORKS.Process(target=_hold, args=(lease, child))
    process.start()
    until(lambda: lease.exists() and lease.read_bytes().endswith(b"\n"))
    return process


def killed(process: multiprocessing.Process, with_what: signal.Signals = signal.SIGKILL) -> int | None:
    """End a process by its id, and return its exit status."""
    assert process.pid is not None
    os.kill(process.pid, with_what)
    return ended(process)


def ended(process: multiprocessing.Process) -> int | None:
    """The exit status of a process, once it has ended."""
    process.join(120)
    return process.exitcode


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    patience = time.monotonic() + 60
    while not true():
        assert time.monotonic() < patience
        time.sleep(0.01)


def _train(place: Path, log: Path, arguments: Sequence[str]) -> None:
    from single_directions.commands import train

    os.chdir(place)
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.argv = ["train.py", *arguments]
        train()


def _hold(path: Path, child: bool) -> None:
    if child:
        (path.parent / "child").write_text("")
    lease = Lease(path)
    if child and not (pid := os.fork()):
        time.sleep(60)
        os._exit(0)
    if child:
        (path.parent / "child").write_text(str(pid))
    lease.beat()
    time.sleep(60)
