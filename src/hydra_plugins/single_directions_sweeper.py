"""The sweeper of `conf/train.yaml`; Hydra looks for plugins in packages of this name."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig


class Sweeper(BasicSweeper):
    """Hydra's own sweeper, which launches with any launcher only what is left to do of a sweep."""

    def setup(self, *, config: DictConfig, **kwargs: Any) -> None:
        """Look at the launcher before Hydra makes it."""
        from single_directions.runs.launchers import prepare  # Hydra imports its plugins in every program

        prepare(config)
        super().setup(config=config, **kwargs)

    def sweep(self, arguments: list[str]) -> Any:
        """Finish the sweep, together with other processes that were started for it."""
        from single_directions.runs.launchers import is_here, launched, look
        from single_directions.runs.sweep import check_swept, finish, jobs

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        launcher, loader = self.launcher, self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        check_swept(overrides)
        [sweep] = self.split_arguments(overrides, None)
        before = look if is_here(self.config.hydra.launcher) else None
        return finish(list(jobs(self.config, loader, sweep)), lambda left: launched(launcher, left), before)
