"""A search by Optuna: each trial is a run in its own folder, and the search goes on from these folders alone."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig

from single_directions.errors import BadInput, first_line
from single_directions.runs.folder import RunFolder
from single_directions.runs.launchers import installing, launched
from single_directions.runs.optimized import names, optimized
from single_directions.runs.queue import SWEEP_SIZE, RunFailed, finish
from single_directions.runs.sweep import Job, check_swept, jobs


def search(
    settings: dict[str, Any], config: DictConfig, hydra_context: Any, task_function: Any
) -> Callable[[list[str]], None]:
    """A function that searches, given the arguments of the command line; `settings` are those of the sweeper.

    Raises `BadInput` where Optuna is not installed or there is nothing to optimize.
    """
    if config.dry_run:
        raise BadInput("dry_run: hydra/sweeper=optuna chooses each run by the numbers of those before")
    if config.optimized_metric is None:
        raise BadInput("hydra/sweeper=optuna needs a number to optimize: set optimized_metric=auc")
    if find_spec("optuna") is None or find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        raise BadInput(f"hydra/sweeper=optuna is not installed: {installing('optuna')}")
    plugin: Any = import_module("hydra_plugins.hydra_optuna_sweeper._impl")
    optuna: Any = import_module("optuna")
    plugin.log.disabled = True  # runs that fail report it themselves
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    impl = plugin.OptunaSweeperImpl(**{**settings, "sampler": instantiate(settings["sampler"])})
    directions, numbers = impl._get_directions(), names(config.optimized_metric)
    if len(directions) != len(numbers):
        raise BadInput(f"hydra.sweeper.direction={directions}: one is needed for each of optimized_metric={numbers}")
    impl.setup(hydra_context=hydra_context, task_function=task_function, config=config)
    impl.launcher = trials = Trials(impl, config, hydra_context.config_loader)

    def run(arguments: list[str]) -> None:
        overrides = OverridesParser.create(config_loader=hydra_context.config_loader).parse_overrides(
            [*impl._parse_sweeper_params_config(), *arguments]
        )
        check_swept(overrides, grid=False)
        if not (settings["search_space"] or any(override.is_sweep_override() for override in overrides)):
            raise BadInput(
                "hydra/sweeper=optuna: nothing to choose; add a range, such as 'optimizer.lr=interval(0.003, 0.3)'"
            )
        try:
            impl.sweep(arguments)
        except (RunFailed, BadInput):
            raise
        except Exception as error:  # Optuna has many types
            if trials.failed and not trials.done:
                print("no run of the search is done; the same command tries them again", file=sys.stderr)
                raise RunFailed from None
            hint = "; hydra.sweeper.storage=null goes on from the runs' folders" if settings["storage"] else ""
            raise BadInput(f"hydra/sweeper=optuna: {first_line(error)}{hint}") from error
        trials.print_best()

    return run


class Trials(Launcher):
    """A launcher between Optuna and the real one: it skips trials that are done, and reads numbers from run folders."""

    def __init__(self, impl: Any, config: DictConfig, loader: Any) -> None:
        self.impl, self.launcher, self.config, self.loader = impl, impl.launcher, config, loader
        self.done: set[RunFolder] = set()
        self.failed: set[RunFolder | str] = set()

    def setup(self, **_: Any) -> None:
        """Does nothing: the real launcher was set up before."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """The numbers of trials, by their overrides. A run that is done, or failed in this search, is skipped."""
        trials = [self._job(list(overrides)) for overrides in job_overrides]
        wanted = [job for job in trials if job and job.folder not in self.failed and not job.is_done()]
        left = list({job.folder: job for job in wanted}.values())  # Optuna may choose a trial twice

        def launch(free: list[list[str]]) -> Sequence[JobReturn]:
            os.environ[SWEEP_SIZE] = str(self.impl.n_trials)
            return launched(self.launcher, free, initial_job_idx)

        if left:
            with suppress(RunFailed):
                finish(left, launch)
        return [self._number(job) if job else _Failed(status=JobStatus.FAILED) for job in trials]

    def print_best(self) -> None:
        """Print the result, which `optimization_results.yaml` in the sweep's folder holds."""
        file = Path(self.config.hydra.sweep.dir) / "optimization_results.yaml"
        failed = f", {len(self.failed)} failed and left out" if self.failed else ""
        print(f"{len(self.done)} runs done{failed}; {file}:\n{file.read_text()}", end="", flush=True)

    def _job(self, overrides: list[str]) -> Job | None:
        """The run of a trial; None where its settings cannot be, which is said."""
        try:
            return jobs(self.config, self.loader, [overrides])[0]
        except BadInput as error:
            self.failed.add(" ".join(overrides))
            print(error, file=sys.stderr, flush=True)
            return None

    def _number(self, job: Job) -> JobReturn:
        if not job.is_done():
            self.failed.add(job.folder)
            return _Failed(status=JobStatus.FAILED)
        self.done.add(job.folder)
        number = optimized(job.config, job.folder.read_summary())
        return JobReturn(status=JobStatus.COMPLETED, _return_value=number)


class _Failed(JobReturn):
    """The result of a run that failed and has reported it; `JobReturn` would make Hydra print another line."""

    @property
    def return_value(self) -> Any:
        raise RunFailed

    @return_value.setter
    def return_value(self, value: Any) -> None:
        raise AttributeError
