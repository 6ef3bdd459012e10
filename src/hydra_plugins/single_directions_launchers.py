"""The launchers `ray` and `slurm` (see `conf/hydra/launcher`): a run that gives no result does not end the sweep.

Hydra's own launchers wait for the runs one after another, and raise at the first whose process died.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict

# Hydra imports its plugins in every program: modules of this project, Ray and submitit are imported where needed.


def _hydras(launcher: str) -> Any:
    """A launcher of Hydra's. Where its package is not installed, `launchers.prepare` says how to install it."""
    module, _, name = launcher.rpartition(".")
    try:
        return getattr(import_module(f"hydra_plugins.{module}"), name)
    except ImportError:
        return Launcher


HydraRayLauncher: Any = _hydras("hydra_ray_launcher.ray_launcher.RayLauncher")
HydraSlurmLauncher: Any = _hydras("hydra_submitit_launcher.submitit_launcher.SlurmLauncher")


class RayLauncher(HydraRayLauncher):
    """A Ray task for each run."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Start all runs, and wait for them. A run whose worker died has an error as its result."""
        hydras: Any = import_module("hydra_plugins.hydra_ray_launcher._launcher_util")
        setup_globals()
        hydras.start_ray(self.ray_cfg.init)
        runs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = f"job_id_for_{number}", number
            state = Singleton.get_state()
            given = (self.hydra_context, self.ray_cfg.remote, config, self.task_function, state)
            runs.append(hydras.launch_job_on_ray(*given))
        return [result_of_ray(run) for run in runs]


class SlurmLauncher(HydraSlurmLauncher):
    """A Slurm job for each run, all in one array."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Submit all runs, and wait for them. A run whose job ended without a result has an error as its result."""
        from single_directions.runs.slurm import JobStates

        submitit: Any = import_module("submitit")

        class Job(submitit.SlurmJob):
            watcher = JobStates()

        given = {key: value for key, value in self.params.items() if value is not None}
        executor = submitit.SlurmExecutor(given.pop("submitit_folder"), max_num_timeout=given.pop("max_num_timeout"))
        executor.update_parameters(**executor._convert_parameters(given))
        jobs = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        submitted = executor.map_array(self, *zip(*jobs, strict=True))
        return [result_of_slurm(Job(executor.folder, job.job_id)) for job in submitted]


def result_of_ray(run: Any) -> JobReturn:
    """The result of a Ray task, or an error where its worker died."""
    from single_directions.runs.queue import lost

    ray: Any = import_module("ray")
    try:
        result: JobReturn = ray.get(run)
    except ray.exceptions.RayTaskError:  # the code of the worker raised: it did not die
        raise
    except ray.exceptions.RayError as error:
        return lost(type(error).__name__)
    return result


def result_of_slurm(job: Any) -> JobReturn:
    """The result of a job of submitit's, or an error where the job ended without one."""
    from single_directions.runs.queue import lost
    from single_directions.runs.slurm import last_of_traceback

    errors: Any = import_module("submitit.core.utils")
    try:
        result: JobReturn = job.results()[0]
    except errors.FailedJobError as error:
        return lost(last_of_traceback(str(error)))
    except errors.UncompletedJobError:
        return lost(job.state)
    return result
