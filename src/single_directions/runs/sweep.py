"""A sweep as one thing: its runs, what of them is left to do, and what other processes are doing of it."""

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from single_directions.errors import BadInput
from single_directions.runs.config import resolved
from single_directions.runs.folder import RunFolder, run_name, write_json
from single_directions.runs.lease import PATIENCE, Watch

SWEEP_SIZE = "SINGLE_DIRECTIONS_SWEEP_SIZE"
"""Environment variable by which a sweep tells its runs, in whatever process, how many they are."""
UNDER_WAY = "under way elsewhere"
"""What a job returns whose run another process works on."""
POLL = 2.0
"""Seconds between two looks at runs under way elsewhere."""

Launch = Callable[[list[list[str]]], Sequence[JobReturn]]


class RunFailed(CompactHydraException):
    """A run of a sweep failed, told in one line by the process of this id."""

    def __init__(self, told: str = "", process: int | None = None) -> None:
        super().__init__(told)
        self.process = process or os.getpid()

    def __reduce__(self) -> Any:
        return RunFailed, (str(self), self.process)


class ProcessDied(RunFailed):
    """The process of a run ended without a result: it was killed, ran out of memory, or failed before the run began."""

    def __init__(self, how: str) -> None:
        super().__init__(f"its process ended without a result ({how})")


@dataclass(frozen=True)
class Job:
    """One run of a sweep, by its overrides. `folder` is None if its configuration lacks what `lacks` says."""

    overrides: list[str]
    config: dict[str, Any]
    folder: RunFolder | None
    lacks: str = ""

    def __str__(self) -> str:
        return self.folder.path.name if self.folder else " ".join(self.overrides)

    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        if self.folder is None or not self.folder.is_done():
            return False
        try:
            return self.folder.holds(self.config)
        except BadInput:  # which the job itself will tell
            return False


def jobs(master: DictConfig, loader: ConfigLoader, sweep: Sequence[list[str]]) -> Iterator[Job]:
    """The runs of a sweep, from the overrides of each.

    Hydra takes a tenth of a second to compose a configuration from its files. Here that is done once for each choice
    of files, and what remains are values to be set in a copy.
    """
    parser = OverridesParser.create(config_loader=loader)
    composed: dict[tuple[str, ...], tuple[str, DictConfig]] = {}
    groups = {
        *master.hydra.runtime.choices,
        *loader.list_groups(""),
    }  # a group of several choices is no choice of Hydra's
    for overrides in sweep:
        values = {text: one for text in overrides if _sets_a_value(one := parser.parse_override(text), groups)}
        files = tuple(text for text in overrides if text not in values)
        if files not in composed:
            composed[files] = _composed(master, loader, list(files))
        data, config = composed[files][0], copy.deepcopy(composed[files][1])
        try:
            for one in values.values():
                OmegaConf.update(config, one.key_or_group, one.value())
        except OmegaConfBaseException:  # Hydra says best what is wrong
            data, config = _composed(master, loader, overrides)
        try:
            settings = resolved(config)
            folder = run_folder(settings, data, overrides)
        except BadInput as error:  # which the job itself will tell
            yield Job(overrides, {}, None, str(error))
        else:
            yield Job(overrides, settings, folder)


def check_swept(overrides: Iterable[Override], grid: bool = True) -> None:
    """Raises `BadInput` where experiments or scales are swept, whose own sweeps Hydra would leave out.

    A `grid` has no intervals.
    """
    for override in overrides:
        if override.is_sweep_override() and override.get_key_element() in ("experiment", "scale"):
            raise BadInput(f"{override.input_line}: each has a sweep of its own; give a command for each")
        if grid and override.is_interval_sweep():
            raise BadInput(f"{override.input_line}: an interval is for hydra/sweeper=optuna; name the values")


def sweep_size(overrides: Iterable[str]) -> int:
    """How many runs a sweep over these overrides has; of two overrides of one key the later counts."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {
        override.get_key_element(): len(list(override.sweep_string_iterator())) if override.is_sweep_override() else 1
        for override in parsed
    }
    return prod(values.values())


def check_place(runs: Any) -> None:
    """Raises `BadInput` where `runs` is no path."""
    if not isinstance(runs, str):
        raise BadInput(f"runs must be the path of a folder, not {runs!r}")


def run_folder(config: dict[str, Any], data: str, overrides: Sequence[str]) -> RunFolder:
    """`runs/<experiment>/<scale>-<data>/<swept key=value,...>`. Raises `BadInput` where `runs` is no path."""
    check_place(config["runs"])
    sweep = Path(config["runs"]) / config["experiment"] / f"{config['scale']}-{data}"
    return RunFolder(sweep / run_name(overrides, config))


def finish(runs: Sequence[Job], launch: Launch, look: Callable[[Sequence[Job]], None] | None = None) -> list[JobReturn]:
    """Have all that is left of a sweep done, here or by other processes that were started for the same sweep.

    Runs that are done are not launched. Those that another process works on are returned to at the end: they are then
    done or failed, or, where the process died, launched. Raises the first failure once nothing is left. `look` is asked
    before anything is written; it raises where nothing of what is left can work.
    """
    left = [job for job in runs if not job.is_done()]
    if look is not None and all(job.folder is not None for job in left):
        look(left)
    _note(runs)
    if len(left) < len(runs):
        print(f"{len(runs) - len(left)} of {len(runs)} runs are done", flush=True)
    returns: list[JobReturn] = []
    failed: list[Job] = []
    watch, waiting = Watch(), False
    while left:
        free = [job for job in left if job.folder is None or watch.is_free(job.folder.lease)]
        left = [job for job in left if job not in free]
        if free:
            os.environ[SWEEP_SIZE] = str(len(free))
            for job, end in zip(free, launch([job.overrides for job in free]), strict=True):
                died = end._return_value if isinstance(end._return_value, ProcessDied) else None
                if _is_taken_on(job) if died else _is_under_way(end):
                    left.append(job)
                    continue
                if died:
                    _mark_failed(job, died)
                returns.append(end)
        else:
            if not waiting:
                print(f"waiting for {len(left)} under way elsewhere", flush=True)
            waiting = True
            time.sleep(POLL)
        failed += [job for job in left if _has_failed(job)]
        left = [job for job in left if job not in failed and not job.is_done()]
    failures = [end for end in returns if end.status == JobStatus.FAILED]
    if failures or failed:
        elsewhere = f" ({len(failed)} in other processes: {', '.join(map(str, failed))})" if failed else ""
        told = f"{len(failures) + len(failed)} of {len(runs)} runs failed{elsewhere}; the same command tries them again"
        print(told, file=sys.stderr, flush=True)
        # Through `return_value` Hydra would add a line of its own to those already shown.
        raise failures[0]._return_value if failures else RunFailed()
    return returns


def sweep_file(folder: Path) -> Path:
    """The file in a sweep's folder that names its runs."""
    return folder / "sweep.json"


def noted(folder: Path) -> list[str]:
    """The names of all runs that sweeps have begun in a folder, whether they have folders yet or not."""
    try:
        names = json.loads(sweep_file(folder).read_text())["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _note(runs: Sequence[Job]) -> None:
    """Leave the runs' names in their sweep's folder, beside those of earlier sweeps, so that missing ones are known."""
    places: dict[Path, list[str]] = {}
    for job in runs:
        if job.folder is not None:
            places.setdefault(job.folder.path.parent, []).append(job.folder.path.name)
    for place, names in places.items():
        known = noted(place)
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not set(names) <= set(known):
                write_json(sweep_file(place), {"runs": list(dict.fromkeys([*known, *names]))})
        except OSError as error:
            raise BadInput(f"{place} cannot be written ({error}): choose another folder with runs=") from error


def _is_under_way(end: JobReturn) -> bool:
    return end.status == JobStatus.COMPLETED and end.return_value == UNDER_WAY


def _is_taken_on(job: Job) -> bool:
    """Whether another process works on a run whose process has died, or has finished it.

    The lease of one that died on another machine stays for a while: watching tells it from that of a living one.
    """
    if job.folder is None:
        return False
    held = job.folder.holder()
    if held is None or held.certain:
        return held is not None or job.folder.is_done()
    print(f"{job}: {held} died, or another has taken the run on: watching for {PATIENCE:.0f} s at most", flush=True)
    return not Watch().outlives(job.folder.lease) or job.folder.is_done()


def _mark_failed(job: Job, died: ProcessDied) -> None:
    """Tell of a run whose process died, here and in its folder."""
    print(f"{job}: failed: {died}", file=sys.stderr, flush=True)
    if job.folder is None:
        return
    if job.folder.state() is None:  # it died before it could begin
        job.folder.refuse(died)
    else:
        job.folder.fail(died, f"{died}\n")


def _has_failed(job: Job) -> bool:
    """Whether a run that was under way elsewhere has failed there."""
    return job.folder is not None and job.folder.state() == "failed" and job.folder.holder() is None


def _composed(master: DictConfig, loader: ConfigLoader, overrides: list[str]) -> tuple[str, DictConfig]:
    """The choice of data, and the configuration without Hydra's own part."""
    config = loader.load_sweep_config(master, overrides)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return config.hydra.runtime.choices["data"], own


def _sets_a_value(override: Override, groups: set[str]) -> bool:
    """Whether an override sets a key and chooses no file."""
    key = override.key_or_group
    return override.type == OverrideType.CHANGE and key not in groups and not key.startswith("hydra") and "/" not in key
