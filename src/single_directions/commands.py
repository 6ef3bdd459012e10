"""The commands, as scripts and entry points start them: Ctrl-C ends each quietly, even while it still imports."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path


def train() -> None:
    """Train and measure one network, or a sweep of them."""
    _run("runs.cli", "train")


def status() -> None:
    """Tell which runs are done, under way, failed or missing."""
    _run("runs.status", "status")


def measure() -> None:
    """Measure a network that exists already."""
    _run("report.measure", "measure")


def report() -> None:
    """Make tables, figures and claims of runs."""
    _run("report.cli", "report")


def benchmark() -> None:
    """Tell how fast measuring and training are."""
    _run("benchmark.cli", "benchmark")


def called(name: str) -> str:
    """How a command is called here: by its script in a checkout, by its own name where a wheel was installed.

    >>> called("train") in ("python scripts/train.py", "single-directions-train")
    True
    """
    installed = (Path(__file__).parent / "conf").is_dir()  # which a wheel alone has there
    return f"single-directions-{name}" if installed else f"python scripts/{name}.py"


def _run(module: str, name: str) -> None:
    """Import a module of this package and call what it has of this name."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where whoever started the process has it ignored
        # There is nothing yet to be put in order, and an exception in the midst of an import may get lost.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    command = getattr(import_module(f"single_directions.{module}"), name)
    signal.signal(signal.SIGINT, before)
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)
