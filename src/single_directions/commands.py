"""The commands that scripts and entry points start. Ctrl-C ends each of them quietly, even while it imports."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path


def train() -> None:
    """Train and measure one network, or a sweep of them."""
    _run("runs.cli", "train")


def status() -> None:
    """Print which runs are done, under way, failed or missing."""
    _run("runs.status", "status")


def measure() -> None:
    """Measure a trained network."""
    _run("report.measure", "measure")


def report() -> None:
    """Make the report of runs: tables, figures and claims."""
    _run("report.cli", "report")


def benchmark() -> None:
    """Measure how fast measuring and training are."""
    _run("benchmark.cli", "benchmark")


def called(name: str) -> str:
    """How a command is called here: by its script in a checkout, by its own name where a wheel is installed.

    >>> called("train") in ("python scripts/train.py", "single-directions-train")
    True
    """
    installed = (Path(__file__).parent / "conf").is_dir()  # only a wheel has it there
    return f"single-directions-{name}" if installed else f"python scripts/{name}.py"


def _run(module: str, name: str) -> None:
    """Import a module of this package and call what it has of this name."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where the parent process chose to ignore the signal
        # There is nothing to clean up yet, and an exception within an import may get lost.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    command = getattr(import_module(f"single_directions.{module}"), name)
    signal.signal(signal.SIGINT, before)
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)
