"""The command line: `python scripts/train.py`, and `single-directions-train` where the package is installed."""

import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from single_directions.errors import BadInput
from single_directions.runs.config import resolved
from single_directions.runs.folder import RunFolder, first_line, run_name
from single_directions.runs.launchers import check_one_device, prepare
from single_directions.runs.run import execute
from single_directions.runs.summary import line

SWEEP_SIZE = "SINGLE_DIRECTIONS_SWEEP_SIZE"
"""Environment variable by which a sweep tells its runs, in whatever process, how many they are."""


class RunFailed(CompactHydraException):
    """A run of a sweep failed, told in one line by the process of this id."""

    def __init__(self, told: str, process: int | None = None) -> None:
        super().__init__(told)
        self.process = process or os.getpid()

    def __reduce__(self) -> Any:
        return RunFailed, (str(self), self.process)


def conf_folder() -> Path:
    """The folder of the configuration: inside an installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def train() -> None:
    """Train as the command line says; whatever is wrong with it is told in one line."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, rather than print several lines of its own
    # That Hydra checks our preset by the launcher's own of the same name is wanted; it warns that it may stop to.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/ray' is validated against ConfigStore schema")
    try:
        _train()
    except RunFailed as error:
        raise SystemExit(1 if error.process == os.getpid() else f"{error} (the first failure)") from None
    except (HydraException, OmegaConfBaseException) as error:
        told, *_ = str(error).split("Config search path")
        raise SystemExit(" ".join(told.split())) from None


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")
def _train(config: DictConfig) -> None:
    """Execute one run, or with `-m` one of a sweep's, and say how it ended."""
    hydra_config = HydraConfig.get()
    sweep = hydra_config.mode == RunMode.MULTIRUN
    os.chdir(hydra_config.runtime.cwd)  # another node's process may have begun elsewhere
    try:
        settings = resolved(config)
        if sweep:
            check_one_device(settings["trainer"])
    except BadInput as error:
        raise _end(str(error), sweep) from None
    folder = run_folder(settings, hydra_config.runtime.choices["data"], hydra_config.overrides.task)
    title = f"{_place(hydra_config)}{folder.path.name}" if sweep else str(folder.path)
    again = folder.is_done()
    try:
        summary = execute(settings, folder)
    except (KeyboardInterrupt, SystemExit):
        print(f"{title}: cut off; the same command goes on from its last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        told = str(error) if isinstance(error, BadInput) else f"{first_line(error)} (traceback in {folder.error})"
        raise _end(f"{title}: failed: {told}" if sweep else told, sweep) from None
    print(f"{title}: {line(summary)}{', done before' if again else ''}", flush=True)


def run_folder(config: dict[str, Any], data: str, overrides: Sequence[str]) -> RunFolder:
    """`runs/<experiment>/<scale>-<data>/<swept key=value,...>`."""
    sweep = Path(config["runs"]) / config["experiment"] / f"{config['scale']}-{data}"
    return RunFolder(sweep / run_name(overrides, config))


class SweepStart(Callback):
    """Hydra's callback at the start of a sweep: its folder can be made, and its runs know how many they are."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program with one line where the sweep's folder cannot be written."""
        try:
            prepare(config)
        except BadInput as error:
            raise SystemExit(str(error)) from None
        folder = Path(config.hydra.sweep.dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SystemExit(f"{folder} cannot be written ({error}): choose another folder with runs=") from None
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        os.environ[SWEEP_SIZE] = str(sweep_size([*params, *config.hydra.overrides.task]))


def sweep_size(overrides: Iterable[str]) -> int:
    """How many runs a sweep over these overrides has; of two overrides of one key the later counts."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {
        override.get_key_element(): len(list(override.sweep_string_iterator())) if override.is_sweep_override() else 1
        for override in parsed
    }
    return prod(values.values())


def _end(told: str, sweep: bool) -> BaseException:
    """What ends a job that failed, so that it shows as one line.

    Hydra lets the other runs of a sweep finish, then exits with 1 and shows the first failure alone: so each is printed
    as it happens. Around the message of a single run Hydra would put three lines of its own.
    """
    if not sweep:
        return SystemExit(told)
    print(told, file=sys.stderr, flush=True)
    return RunFailed(told)


def _place(hydra_config: Any) -> str:
    """Which of a sweep's runs this is: "[3/18] "."""
    size = os.environ.get(SWEEP_SIZE)
    return f"[{hydra_config.job.num + 1}{'/' + size if size else ''}] "
