"""The sweepers `resume` (default in `conf/train.yaml`) and `optuna`. Hydra finds plugins in packages of this name."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper as HydraSweeper
from omegaconf import DictConfig

# Modules of this project are imported where they are needed: Hydra imports its plugins in every program.

OPTUNA = {
    "defaults": [{"sampler": "tpe"}, "_self_"],  # or random, grid, cmaes, nsgaii
    "_target_": f"{__name__}.OptunaSweeper",
    "_recursive_": False,
    "direction": "maximize",  # or minimize; a list where optimized_metric is one
    "n_trials": 20,
    "n_jobs": 1,  # trials chosen together, which hydra/launcher=ray or joblib runs side by side
    "max_failure_rate": 1.0,  # of the trials chosen together; more failures end the search
    "params": None,  # as {optimizer.lr: "tag(log, interval(0.003, 0.3))"}
    "storage": None,  # the folders of the runs are enough to go on; a database needs sqlalchemy<2
    "study_name": None,
    "search_space": None,
    "custom_search_space": None,
}
"""`hydra/sweeper=optuna`: the keys of hydra-optuna-sweeper, with what a search by the AUC needs."""
SEED = {"seed": 0}  # with a seed the same command chooses the same trials again, finds them done and goes on
SAMPLERS = {
    "tpe": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 10, **SEED},
    "random": {"_target_": "optuna.samplers.RandomSampler", **SEED},
}
"""Of `hydra/sweeper/sampler`, where hydra-optuna-sweeper has no seed; the others are its own."""


class Choices(SearchPathPlugin):
    """Stores `optuna` and its samplers as choices after all plugins were imported: the last one stored counts."""

    def manipulate_search_path(self, search_path: Any) -> None:
        """Stores them; the search path stays as it is."""
        store = ConfigStore.instance().store
        store(group="hydra/sweeper", name="optuna", node=OPTUNA, provider=__name__)
        for name, sampler in SAMPLERS.items():
            store(group="hydra/sweeper/sampler", name=name, node=sampler, provider=__name__)


class Sweeper(BasicSweeper):
    """Hydra's own sweeper, but runs that are done are skipped (see `runs.queue`)."""

    def setup(self, *, config: DictConfig, **kwargs: Any) -> None:
        """Check the launcher before Hydra makes it."""
        from single_directions.runs.launchers import prepare

        prepare(config)
        super().setup(config=config, **kwargs)

    def sweep(self, arguments: list[str]) -> Any:
        """Finish the sweep, together with other processes that were started for it."""
        from single_directions.runs.launchers import is_here, launched, look
        from single_directions.runs.preview import preview
        from single_directions.runs.queue import finish
        from single_directions.runs.sweep import check_swept, jobs

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        launcher, loader = self.launcher, self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        check_swept(overrides)
        [sweep] = self.split_arguments(overrides, None)
        runs = jobs(self.config, loader, sweep)
        if self.config.dry_run:
            return preview(runs)
        look(runs, is_here(self.config.hydra.launcher))
        return finish(runs, lambda left: launched(launcher, left))


class OptunaSweeper(HydraSweeper):
    """The sweeper of hydra-optuna-sweeper. Its trials are runs like those of any sweep."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, config: DictConfig, hydra_context: Any, task_function: Any) -> None:
        """Check the launcher and Optuna before Hydra makes them."""
        from single_directions.runs.launchers import prepare
        from single_directions.runs.search import search

        prepare(config)
        self.search = search(self.settings, config, hydra_context, task_function)

    def sweep(self, arguments: list[str]) -> Any:
        """Choose and execute one trial after another."""
        return self.search(arguments)
