"""Launchers run the runs of a sweep side by side: whether they are installed, and have what a run asks for."""

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from single_directions.commands import called
from single_directions.errors import BadInput, first_line
from single_directions.runs.build import build
from single_directions.runs.config import check_one_device, check_place, check_resources
from single_directions.runs.keys import check_keys
from single_directions.runs.messages import CodeFailed
from single_directions.runs.optimized import check_optimized
from single_directions.runs.preview import check_jobs
from single_directions.runs.queue import LaunchFailed
from single_directions.runs.sweep import Job

_PACKAGES = {"ray": "hydra_plugins.hydra_ray_launcher", "slurm": "hydra_plugins.hydra_submitit_launcher"}


def prepare(config: DictConfig) -> None:
    """Check what a sweep needs before its first run starts; `config` is Hydra's, with `hydra.launcher` in it.

    Raises `BadInput` for a launcher that is not installed, and for resources that it cannot give.
    """
    name, launcher = config.hydra.runtime.choices["hydra/launcher"], config.hydra.launcher
    check_place(config.runs)  # before Hydra makes a folder of that name
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    check_keys(own, config.hydra)
    check_one_device(OmegaConf.to_container(config.trainer, resolve=True))
    check_optimized(config)
    resources = {key: config[key] for key in ("gpus_per_run", "cpus_per_run")}
    check_resources(resources)
    if name not in _PACKAGES:
        if set(resources.values()) != {None}:
            raise BadInput("gpus_per_run and cpus_per_run need hydra/launcher=ray or slurm")
        return
    if find_spec(_PACKAGES[name]) is None:
        raise BadInput(f"hydra/launcher={name} is not installed: {installing(name)}")
    if name == "ray":
        _prepare_ray(OmegaConf.to_container(launcher.ray, resolve=True))
    elif shutil.which("srun") is None:
        raise BadInput("hydra/launcher=slurm: there is no srun here; start the sweep where Slurm's commands are")
    elif resources["gpus_per_run"] not in (None, 0, 1):
        raise BadInput(f"gpus_per_run={resources['gpus_per_run']}: Slurm gives whole GPUs; set 0 or 1")


def installing(extra: str) -> str:
    """How to install what an extra of this package names."""
    wheel = called("train").startswith("single-directions")
    return f"pip install 'single-directions[{extra}]'" if wheel else f"pip install -e '.[{extra}]', in the checkout"


def look(runs: Sequence[Job], here: bool) -> None:
    """Raises `BadInput` if a run that is left to do cannot work, and if all of these would be refused for one reason.

    Such a reason is missing data. It is looked for where runs are executed `here`: they are built as at their start, up
    to the first that is not refused.
    """
    left = [job for job in runs if not job.is_done()]
    check_jobs(left)
    if here and len(left) > 1:
        reason = _refusal(left[0])
        if reason and all(_refusal(job) == reason for job in left[1:]):
            raise BadInput(f"{reason} (the same for all {len(left)} runs)")


def _refusal(job: Job) -> str:
    """Why a run would be refused at its start; "" where it begins, or fails and keeps a traceback."""
    try:
        build(job.config)
    except CodeFailed:
        return ""
    except BadInput as error:
        return str(error)
    except Exception:  # the run itself reports it
        return ""
    return ""


def is_here(launcher: DictConfig) -> bool:
    """Whether runs are executed on this machine, so that their data can be checked before."""
    address = OmegaConf.select(launcher, "ray.init.address")
    return "Slurm" not in str(launcher.get("_target_")) and address in (None, "local")


def launched(launcher: Launcher, left: list[list[str]], first: int = 0) -> Sequence[JobReturn]:
    """The results of jobs, by their overrides; `first` is the number of the first.

    Raises `LaunchFailed` where the launcher raises an exception of its own.
    """
    name = type(launcher).__name__
    try:
        return launcher.launch(left, initial_job_idx=first)
    except KeyboardInterrupt:
        ends = "runs in Slurm go on, scancel ends them" if "Slurm" in name else "runs were cut off"
        print(f"interrupted: {ends}; the same command continues with what is left", file=sys.stderr)
        raise SystemExit(130) from None
    except (HydraException, OmegaConfBaseException, BadInput):
        raise
    except Exception as error:  # Ray, Slurm and the network have many types
        raise LaunchFailed(
            f"hydra/launcher: {first_line(error)}; the same command continues with what is left"
        ) from error


def _prepare_ray(ray: Any) -> None:
    """Set how Ray shows the lines of its runs. Raises `BadInput` for resources that this machine does not have."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # Ray takes the lines of two runs for one line repeated
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not sys.stdout.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    if ray["init"]["address"] != "local":  # a cluster may grow
        _check_listens(str(ray["init"]["address"]))
        return
    for kind, there in (("gpus", torch.cuda.device_count()), ("cpus", os.cpu_count() or 1)):
        given, asked = ray["init"].get(f"num_{kind}"), ray["remote"][f"num_{kind}"]
        number = there if given is None else given
        if asked > number:
            raise BadInput(f"{kind}_per_run={asked}, but this machine has {number}: set {kind}_per_run={int(number)}")


def _check_listens(address: str) -> None:
    """Raises `BadInput` if nothing answers at HOST:PORT. Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():  # Ray looks up `auto`
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise BadInput(f"hydra.launcher.ray.init.address={address}: nothing answers ({first_line(error)})") from error
