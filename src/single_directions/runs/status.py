"""The command line: `python scripts/status.py runs` says which runs are done, under way, failed or missing."""

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from single_directions.commands import called
from single_directions.errors import BadInput
from single_directions.runs.folder import RunFolder
from single_directions.runs.lease import BEAT, silence
from single_directions.runs.sweep import listed_runs, sweep_file

STATES = ("done", "running", "failed", "broken", "cut off", "missing")
"""In the order shown."""
ROWS = 20
"""Of one sweep and state at most, unless all are asked for; those that are done are only counted."""


@dataclass(frozen=True)
class RunStatus:
    """Where one run stands: `detail` is an epoch and the time left, the first line of an error, or final numbers."""

    sweep: Path
    name: str
    state: str
    detail: str = ""


def status() -> None:
    """Print the table that a command line asks for. The exit status is 0 if all runs are done, else 1."""
    parser = argparse.ArgumentParser(description="Which runs are done, running, failed, cut off or missing.")
    parser.add_argument(
        "runs", type=Path, nargs="?", default=Path("runs"), help="a folder that contains runs, at any depth"
    )
    parser.add_argument("--watch", type=_seconds, nargs="?", const=5.0, metavar="SECONDS", help="repeat this often")
    parser.add_argument("--all", action="store_true", help="a line for each run, also for those that are done")
    arguments = parser.parse_args()
    try:
        done = _show(arguments.runs, arguments.all)
        while arguments.watch is not None and not done:
            time.sleep(arguments.watch)
            print("\033[2J\033[H" if sys.stdout.isatty() else "", end="")
            done = _show(arguments.runs, arguments.all)
    except BadInput as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the reader has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's flush at exit fails again
        sys.exit(1)
    sys.exit(not done)


def read_status(root: Path) -> list[RunStatus]:
    """Every run below `root`, and those that a `sweep.json` lists and that have not begun.

    Raises `BadInput` where there is none.
    """
    found = {file.parent for file in root.rglob("status.json")}
    sweeps = {file.parent for file in root.rglob("sweep.json")}
    found |= {sweep / name for sweep in sweeps for name in listed_runs(sweep)}
    if not found:
        raise BadInput(f"no runs in {root}: make some, with {called('train')} -m experiment=memorization")
    return [status_of(RunFolder(path)) for path in sorted(found, key=_natural)]


def table(runs: list[RunStatus], complete: bool = False) -> Iterator[str]:
    """The lines of a table: of each sweep how many runs are in which state, then a line for each that is not done."""
    sweeps = dict.fromkeys(run.sweep for run in runs)
    for sweep in sweeps:
        states = {state: [run for run in runs if (run.sweep, run.state) == (sweep, state)] for state in STATES}
        yield f"{sweep}: {_counts(run for run in runs if run.sweep == sweep)}"
        width = max((len(run.name) for run in runs if run.sweep == sweep), default=0)
        for state, rows in states.items():
            shown = rows if complete else [] if state == "done" else rows[:ROWS]
            for run in shown:
                yield f"  {state:8} {run.name:{min(width, 60)}}  {run.detail}".rstrip()
            if shown and len(shown) < len(rows):
                yield f"  {state:8} and {len(rows) - len(shown)} more (--all)"
        if states["missing"]:
            yield f"  missing ones are listed in {sweep_file(sweep)}; delete it to forget them"
    if len(sweeps) > 1:
        yield f"in all {_counts(runs)}"


def line(summary: dict[str, Any]) -> str:
    """The summary of a run in a few words."""
    seconds = sum(summary["seconds"].values())
    return (
        f"train {summary['train_accuracy']:.3f} test {summary['test_accuracy']:.3f} AUC {summary['auc']:.3f} "
        f"({summary['epochs']} epochs, {seconds:.1f} s)"
    )


def _seconds(text: str) -> float:
    """Seconds between two looks. Raises `ValueError`, which argparse reports, for a number out of range."""
    seconds = float(text)
    if not 0.1 <= seconds <= 1e6:
        raise ValueError
    return seconds


def _show(root: Path, complete: bool) -> bool:
    runs = read_status(root)
    print("\n".join(table(runs, complete)), flush=True)
    return all(run.state == "done" for run in runs)


def _counts(runs: Any) -> str:
    """ "200 runs: 150 done, 4 running" """
    count = Counter(run.state for run in runs)
    states = ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
    return f"{count.total()} {'run' if count.total() == 1 else 'runs'}: {states}"


def status_of(folder: RunFolder) -> RunStatus:
    """Where the run of a folder stands; it may be missing."""
    holder, state, trouble = folder.holder(), folder.state(), folder.trouble()
    if state == "done" and not trouble:
        shown = "done", _numbers(folder)
    elif holder is not None:
        silent = 0.0 if holder.certain else silence(folder.lease)
        doubt = f", no sign of life for {_duration(silent)}" if silent > 2 * BEAT else ""
        shown = "running", f"{_progress(holder.fields)}  {holder}{doubt}"
    elif trouble:
        shown = "broken", trouble
    elif state == "failed":
        shown = "failed", str(folder.read_status().get("error", ""))
    elif folder.path.exists():
        shown = "cut off", f"after epoch {folder.epochs()}" if folder.metrics.exists() else ""
    else:
        shown = "missing", ""
    return RunStatus(folder.path.parent, folder.path.name, *shown)


def _progress(fields: dict[str, Any]) -> str:
    """How far a run is, as its lease says. The time left is an upper bound where a training may stop early."""
    epoch, epochs, left = fields.get("epoch"), fields.get("epochs"), fields.get("left")
    if not isinstance(epoch, int) or not isinstance(left, int | float):
        return "starting"
    rest = "measuring" if epoch == epochs else f"{_duration(left)} left"
    return f"epoch {epoch}/{epochs}, {rest}"


def _duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3.5 h" """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _numbers(folder: RunFolder) -> str:
    """The final numbers of a run that is done, and the identity by which a command knows that it can skip the run."""
    try:
        summary = folder.read_summary()
        return line(summary) + (f"  identity {summary['identity']}" if "identity" in summary else "")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _natural(path: Path) -> list[Any]:
    """A key to sort by, in which seed=2 comes before seed=10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]
