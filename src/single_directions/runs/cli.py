"""The command line: `python scripts/train.py`, and `single-directions-train` where the package is installed."""

import gc
import os
import re
import sys
import warnings
from collections.abc import Sequence
from traceback import walk_tb
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities import rank_zero_only

from single_directions.errors import BadInput, first_line
from single_directions.runs.config import check_one_device, conf_folder, resolved
from single_directions.runs.folder import AGAIN, RunFolder
from single_directions.runs.identity import command_line, record_of
from single_directions.runs.keys import check_keys
from single_directions.runs.lease import PATIENCE, UnderLease, Watch
from single_directions.runs.messages import CodeFailed
from single_directions.runs.optimized import optimized
from single_directions.runs.preview import preview
from single_directions.runs.queue import SWEEP_SIZE, UNDER_WAY, RunFailed
from single_directions.runs.run import execute, follow
from single_directions.runs.status import line
from single_directions.runs.sweep import Job, listed_command, run_folder


def train() -> None:
    """Train as the command line says. Every mistake in it is reported in one line."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises instead of printing several lines
    # Hydra checks our preset against the launcher's schema of the same name, and warns that it may stop doing so.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/ray' is validated against ConfigStore schema")
    sys.argv[1:] = _options_first(sys.argv[1:])
    try:
        _train()
    except RunFailed as error:
        raise SystemExit(1 if error.process == os.getpid() else f"{error} (the first failure)") from None
    except (HydraException, OmegaConfBaseException, BadInput) as error:
        raise SystemExit(_message(error)) from None
    except Exception as error:
        if not _is_of_composing(error):
            raise
        message = " ".join(str(error).split())  # later lines say where the YAML is broken
        raise SystemExit(f"{' '.join(sys.argv[1:])}: {type(error).__name__}: {message}") from None


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")
def _train(config: DictConfig) -> float | list[float] | str | None:
    """Execute one run, or with `-m` one run of a sweep; print how it ended, and return its `optimized_metric`.

    Returns `UNDER_WAY` if another process works on the run.
    """
    hydra_config = HydraConfig.get()
    sweep, overrides = hydra_config.mode == RunMode.MULTIRUN, list(hydra_config.overrides.task)
    os.chdir(hydra_config.runtime.cwd)  # a process on another host may have started in another folder
    try:
        check_keys(config, hydra_config)
        settings = resolved(config)
        if sweep:
            check_one_device(settings["trainer"])
        folder = run_folder(settings, hydra_config.runtime.choices["data"], overrides)
        if settings["dry_run"] and not sweep:
            preview([Job(overrides, settings, folder)])
            return None
    except BadInput as error:
        raise _end(str(error), sweep) from None
    command = (listed_command(folder.path) if sweep else None) or command_line(sys.argv[1:])
    title = f"{_place(hydra_config)}{settings['experiment']} {folder.path.name}" if sweep else str(folder.path)
    if getattr(rank_zero_only, "rank", 0) > 0:  # one of several processes that Lightning started for a run
        follow(settings, folder)
        return None
    again, trouble = folder.is_done(), folder.trouble()
    if trouble.endswith(AGAIN):
        print(f"{title}: {trouble}", file=sys.stderr)
    record = record_of(settings, overrides, command)
    try:
        summary = execute(settings, folder, record) if sweep else _executed(settings, folder, record)
    except UnderLease as error:
        if not sweep:
            raise SystemExit(f"{error}: wait for it, or end it") from None
        print(f"{title}: under way elsewhere, for now", flush=True)
        return UNDER_WAY
    except (KeyboardInterrupt, SystemExit):
        print(f"{title}: cut off; the same command continues from its last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
    except BadInput as error:
        message = str(error)
        if isinstance(error, CodeFailed):
            message += _kept(folder)
        elif sweep:
            folder.refuse(error, record)
    except Exception as error:
        message = first_line(error) + _kept(folder)
    else:
        why = f"; skipped: {folder.summary} holds the results of the same settings (identity {record['identity']})"
        print(f"{title}: {line(summary)}{why if again else ''}", flush=True)
        return optimized(settings, summary)
    # Raised after the `except` blocks: an exception within them would keep the memory of the device in use.
    gc.collect()
    raise _end(f"{title}: failed: {message}" if sweep else message, sweep)


def _options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the options before the overrides. Hydra takes no option between two overrides."""
    overrides = get_args_parser().parse_intermixed_args(arguments).overrides
    return [*(one for one in arguments if one not in overrides), *overrides]


def _message(error: BaseException) -> str:
    """The message of Hydra, OmegaConf or this project in one line, without the parts that do not help here."""
    behind = None if isinstance(error, BadInput) else error.__cause__ or error.__context__
    while behind is not None:
        if isinstance(behind, BadInput):  # as of a resolver
            return str(behind)
        behind = behind.__cause__ or behind.__context__
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read: write key=value, or with -m key=value1,value2, in quotes where needed"
    message, *_ = str(error).split("Config search path")
    message = " ".join(message.split())
    before, options, after = message.partition("Available options in ")
    message = before + options + " ".join(word for word in after.split(" ") if not word.startswith("_"))
    if re.search(r"Could not override '[\w/]+@experiment\.", message):
        message += " The first line of an experiment's file must be `# @package _global_`"
    return message


def _kept(folder: RunFolder) -> str:
    """Where a traceback is kept, as the end of a message; "" where it could not be."""
    return f" (traceback in {folder.error})" if folder.error.exists() else ""


def _is_of_composing(error: BaseException) -> bool:
    """Whether an exception came up while Hydra or OmegaConf read the configuration. Not all are of their own types.

    Exceptions of a run itself are reported earlier.
    """
    modules = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    known = [name for name in modules if name in ("hydra", "omegaconf", "single_directions", "hydra_plugins")]
    return known[-1] in ("hydra", "omegaconf")


def _executed(config: dict[str, Any], folder: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    """`execute`, after waiting to see whether a process on another host that seems to work on the run is alive."""
    try:
        return execute(config, folder, record)
    except UnderLease as error:
        if not error.doubtful:
            raise
        print(f"{error}, or was: watching it for {PATIENCE:.0f} s at most", file=sys.stderr)
        if not Watch().outlives(folder.lease):
            raise
    return execute(config, folder, record)


def _end(message: str, sweep: bool) -> BaseException:
    """The exception that ends a failed job with one line.

    Hydra lets the other runs of a sweep finish, then shows only the first failure, so each is printed when it happens.
    Around the message of a single run Hydra would print three lines of its own.
    """
    if not sweep:
        return SystemExit(message)
    print(message, file=sys.stderr, flush=True)
    return RunFailed(message)


def _place(hydra_config: Any) -> str:
    """Which of a sweep's runs this is: "[3/18] "."""
    size = os.environ.get(SWEEP_SIZE)
    return f"[{hydra_config.job.num + 1}{'/' + size if size else ''}] "
