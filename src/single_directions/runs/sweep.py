"""The runs of a sweep: their overrides, configurations and folders, and the file that lists them."""

import copy
import fcntl
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from single_directions.errors import BadInput
from single_directions.runs.config import check_one_device, check_place, resolved
from single_directions.runs.folder import RunFolder, cannot_be_written, read_json, write_json
from single_directions.runs.identity import command_line, run_name
from single_directions.runs.keys import check_known


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    overrides: list[str]
    config: dict[str, Any]
    folder: RunFolder

    def __str__(self) -> str:
        return self.folder.path.name

    def is_done(self) -> bool:
        """Whether the folder holds the whole results of the same settings: then the run is skipped."""
        try:
            return self.folder.is_done() and self.folder.holds(self.config)
        except BadInput:  # reported when the job is launched
            return False


def jobs(master: DictConfig, loader: ConfigLoader, sweep: Sequence[list[str]]) -> list[Job]:
    """The runs of a sweep, from the overrides of each. A run that is named twice is there once.

    Hydra takes a tenth of a second to compose a configuration from its files. Here that is done once for each choice
    of files; values are then set in a copy. Raises `BadInput` for configurations that have a key without effect, cannot
    be resolved, or ask for several devices.
    """
    parser = OverridesParser.create(config_loader=loader)
    composed: dict[tuple[str, ...], tuple[str, DictConfig]] = {}
    # `choices` leaves out groups with a list of choices.
    groups = {*master.hydra.runtime.choices, *loader.list_groups("")}
    runs: dict[RunFolder, Job] = {}
    wrong = []
    for overrides in sweep:
        values = {text: one for text in overrides if _sets_a_value(one := parser.parse_override(text), groups)}
        files = tuple(text for text in overrides if text not in values)
        if files not in composed:
            composed[files] = _composed(master, loader, list(files))
        data, config = composed[files][0], copy.deepcopy(composed[files][1])
        try:
            for one in values.values():
                OmegaConf.update(config, one.key_or_group, one.value())
        except OmegaConfBaseException:  # Hydra has the better message
            data, config = _composed(master, loader, overrides)
        try:
            check_known(config)
            settings = resolved(config)
            check_one_device(settings["trainer"])
            folder = run_folder(settings, data, overrides)
            runs.setdefault(folder, Job(overrides, settings, folder))
        except BadInput as error:
            wrong.append((" ".join(overrides), str(error)))
    refuse(wrong, len(sweep))
    return list(runs.values())


def refuse(wrong: Iterable[tuple[str, str]], number: int) -> None:
    """Raises `BadInput` if any of a number of runs is wrong, given the names of these and why.

    Each reason is told once, with the first of its runs.
    """
    names: dict[str, list[str]] = {}
    for name, reason in wrong:
        names.setdefault(reason, []).append(name)
    told = [
        f"{reason} (the same for all {number} runs)"
        if 1 < len(same) == number
        else f"{same[0]}: {reason}" + (f" (the same for {len(same)} of {number} runs)" if len(same) > 1 else "")
        for reason, same in names.items()
    ]
    if told:
        raise BadInput("; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else ""))


def check_swept(overrides: Iterable[Override], grid: bool = True) -> None:
    """Raises `BadInput` for a sweep over experiments, scales or no values, and for intervals in a `grid`.

    Hydra would ignore the sweeps in the experiments' own files.
    """
    for override in overrides:
        if override.is_sweep_override() and override.get_key_element() in ("experiment", "scale"):
            raise BadInput(f"{override.input_line}: each has a sweep of its own; give a command for each")
        if grid and override.is_interval_sweep():
            raise BadInput(f"{override.input_line}: an interval is for hydra/sweeper=optuna; name the values")
        if override.is_discrete_sweep() and not any(True for _ in override.sweep_string_iterator()):
            raise BadInput(f"{override.input_line}: it has no values")


def swept_values(overrides: Iterable[str]) -> dict[str, list[str]]:
    """The values that a sweep over these overrides gives each key. A later override of a key replaces an earlier one.

    Of an interval, as a search has them, no values are known, so there are none.
    """
    values = {}
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        if one.is_discrete_sweep():
            values[one.key_or_group] = [str(value) for value in one.sweep_string_iterator()]
        else:
            values[one.key_or_group] = [] if one.is_sweep_override() else [one.get_value_element_as_str()]
    return values


def run_folder(config: dict[str, Any], data: str, overrides: Sequence[str]) -> RunFolder:
    """`runs/<experiment>/<scale>-<data>/<key=value,...>`. Raises `BadInput` where `runs` is no path."""
    check_place(config["runs"])
    sweep = Path(config["runs"]) / config["experiment"] / f"{config['scale']}-{data}"
    return RunFolder(sweep / run_name(overrides, config))


def sweep_file(folder: Path) -> Path:
    """The file in a sweep's folder that lists its runs."""
    return folder / "sweep.json"


def listed_runs(folder: Path) -> list[str]:
    """The names of all runs that sweeps were started for in a folder, whether they have begun or not."""
    names = read_json(sweep_file(folder)).get("runs")
    return [str(name) for name in names] if isinstance(names, list) else []


def listed_command(run: Path) -> str | None:
    """The command of the last sweep that was started for a run; None where no sweep was."""
    for command, names in _commands(run.parent).items():
        if run.name in names:
            return command
    return None


def list_runs(runs: Sequence[Job]) -> None:
    """Add runs, and the command that started them, to the lists of their sweep's folder."""
    places: dict[Path, list[str]] = {}
    for job in runs:
        places.setdefault(job.folder.path.parent, []).append(job.folder.path.name)
    command = command_line(sys.argv[1:])
    for place, names in places.items():
        try:
            place.mkdir(parents=True, exist_ok=True)
            with _locked(place):
                others = {one: [name for name in known if name not in names] for one, known in _commands(place).items()}
                commands = {one: known for one, known in others.items() if known}
                commands[command] = [*commands.get(command, []), *names]
                runs_known = dict.fromkeys([*listed_runs(place), *names])
                write_json(sweep_file(place), {"runs": list(runs_known), "commands": commands})
        except OSError as error:
            raise cannot_be_written(place, error) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within it no other process changes the list of runs; where the file system has no locks, nothing is locked."""
    with (folder / ".sweep.lock").open("a") as file:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _commands(folder: Path) -> dict[str, list[str]]:
    """The commands of the sweeps in a folder, and the names of the runs that each started last."""
    commands = read_json(sweep_file(folder)).get("commands")
    return commands if isinstance(commands, dict) else {}


def _composed(master: DictConfig, loader: ConfigLoader, overrides: list[str]) -> tuple[str, DictConfig]:
    """The choice of data, and the configuration without Hydra's own part."""
    config = loader.load_sweep_config(master, overrides)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return config.hydra.runtime.choices["data"], own


def _sets_a_value(override: Override, groups: set[str]) -> bool:
    """Whether an override sets a key and chooses no file."""
    key = override.key_or_group
    return override.type == OverrideType.CHANGE and key not in groups and not key.startswith("hydra") and "/" not in key
