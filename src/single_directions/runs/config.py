"""How a run's configuration is composed, and what its values must be."""

import os
from collections.abc import Sequence
from functools import cache
from math import isfinite, isinf, isnan
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from single_directions.errors import BadInput, one_line

# The least value of keys that take a whole number. Those of networks and data sets are checked by themselves.
_WHOLE = {
    "seed": 0,
    "batch_size": 1,
    "trainer.max_epochs": 1,
    "trainer.check_val_every_n_epoch": 1,
    "checkpoint.every_n_epochs": 1,
}
_WHOLE_OR_NULL = {"threads": 1, "data.seed": 0, "data.train_samples": 1, "data.test_samples": 1}

_OF_THE_RUN = {
    "logger": "a run has its own; tracking= chooses it",
    "callbacks": "a run has its own; ablation.every_epoch, early_stopping and stop_at_train_accuracy add some",
    "plugins": "a run has its own, for its checkpoints",
    "enable_checkpointing": "a run always keeps checkpoints; checkpoint.keep says which stay",
    "default_root_dir": "a run's files are in its own folder; runs= says where that is",
    "enable_progress_bar": "a run has a progress bar of its own; progress= switches it",
    "enable_model_summary": "a run shows none",
    "num_sanity_val_steps": "a run has no such steps",
    "use_distributed_sampler": "a run's loaders know what each process trains on",
    "fast_dev_run": "a run needs whole epochs; set trainer.max_epochs=1 and data.train_samples=100 for a quick one",
}
"""Arguments of Lightning's Trainer that the run sets itself, and the keys to use instead."""


def at_scale(demo: Any, paper: Any, *, _root_: DictConfig) -> Any:
    """The resolver `${at_scale:demo,paper}`: one line of an experiment gives a key's value at both scales."""
    if _root_.scale not in ("demo", "paper"):
        raise BadInput(f"scale must be demo or paper, not {_root_.scale!r}")
    value = {"demo": demo, "paper": paper}[_root_.scale]
    return OmegaConf.create(value) if isinstance(value, list | dict) else value


def first(*values: Any) -> Any:
    """The resolver `${first:a,b}`: the first of some values that is not null."""
    return next((value for value in values if value is not None), None)


OmegaConf.register_new_resolver("at_scale", at_scale, replace=True)
OmegaConf.register_new_resolver("first", first, replace=True)
OmegaConf.register_new_resolver("within", os.path.join, replace=True)  # ${within:folder,path}: relative to the folder


def conf_folder() -> Path:
    """The folder of the configuration: inside an installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration with nothing left to interpolate; `trainer.devices=auto` becomes the number of GPUs here.

    Raises `BadInput` for what cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        message = one_line(error)
        if (own := message.removeprefix("BadInput raised while resolving interpolation: ")) != message:
            raise BadInput(own) from error
        raise BadInput(f"{error.full_key}: {message}; set it with {error.full_key}=...") from error
    assert isinstance(plain, dict)
    trainer = plain.get("trainer")
    if isinstance(trainer, dict) and trainer.get("devices") in ("auto", -1, "-1"):
        trainer["devices"] = _devices_here(trainer)
    return {str(key): value for key, value in plain.items()}


def _devices_here(trainer: dict[str, Any]) -> Any:
    """The number of GPUs where a training takes all of them, 1 where there is only the CPU, else what was given."""
    import torch  # only here: other configurations need not wait for it

    if trainer.get("accelerator") not in ("auto", "gpu", "cuda"):
        return 1 if trainer.get("accelerator") == "cpu" else trainer["devices"]
    return torch.cuda.device_count() or (1 if trainer["accelerator"] == "auto" else trainer["devices"])


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of some overrides, outside of a run. Raises `BadInput` where there is none."""
    try:
        return resolved(compose_config(*overrides))
    except HydraException as error:
        raise BadInput(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from error


SPLITS = ("train", "test", "held_out")
"""The images that `Classifier` measures, the last only with `data.held_out`; as in `training`, which imports torch."""
_ESTIMATED = ("auc", "auc_normalized", "auc_corrected", "accuracy")
"""What `AblationAUC` logs, each with its standard error; as in `training` too."""


def check(config: dict[str, Any]) -> None:
    """Raises `BadInput` for the first key with an invalid value."""
    values = flat(config)
    for key, least in {**_WHOLE, **_WHOLE_OR_NULL}.items():
        _check_whole(key, values.get(key), least, null=key in _WHOLE_OR_NULL)
    check_resources(config)
    _check_number("data.corruption", config["data"].get("corruption", 0), 0, 1)
    held_out = config["data"].get("held_out", 0)
    _check_number("data.held_out", held_out, 0, 1)
    if config["stop_at_train_accuracy"] is not None:
        _check_number("stop_at_train_accuracy", config["stop_at_train_accuracy"], 0, 1)
    check_ablation(config["ablation"])
    if config["checkpoint"]["keep"] not in ("weights", "all", "none"):
        raise BadInput(f"checkpoint.keep must be weights, all or none, not {config['checkpoint']['keep']!r}")
    for key in ("progress", "channels_last"):
        if not isinstance(config[key], bool):
            raise BadInput(f"{key} must be true or false, not {config[key]!r}")
    _check_compile(config["compile"])
    for key, instead in _OF_THE_RUN.items():
        if key in config["trainer"]:
            raise BadInput(f"trainer.{key} cannot be set: {instead}")
    _check_batches(config["trainer"])
    _check_finite(config)
    measured = config["ablation"]["every_epoch"] is not None
    _check_validation(config["trainer"], each_epoch=measured or config["early_stopping"] is not None)
    _check_early_stopping(config["early_stopping"], measured, bool(held_out))


def check_ablation(keys: dict[str, Any]) -> None:
    """Raises `BadInput` for the first key of the final measurement with an invalid value."""
    for key, least in {"orderings": 1, "top_k": 1, "seed": 0}.items():
        _check_whole(f"ablation.{key}", keys[key], least)
    if not (keys["every_epoch"] is None or isinstance(keys["every_epoch"], dict)):
        raise BadInput(
            f"ablation.every_epoch must be null or have keys, such as {{cost: 0.05}}, not {keys['every_epoch']!r}"
        )
    _check_whole("ablation.samples", keys["samples"], 1, null=True)
    if isinstance(keys["points"], str) and keys["points"] != "all":
        raise BadInput(f"ablation.points must be a number, a list, all or null, not {keys['points']!r}")
    if keys["clamp"] not in ("zero", "mean"):
        _check_number("ablation.clamp", keys["clamp"], float("-inf"), float("inf"), "zero, mean or ")


def _check_compile(backend: Any) -> None:
    """Raises `BadInput` for an unknown backend of torch.compile."""
    if backend is None:
        return
    import torch  # status.py, which compiles nothing, starts without it

    if backend not in torch.compiler.list_backends(exclude_tags=()):
        usual = ", ".join(torch.compiler.list_backends())
        raise BadInput(f"compile must be null or a backend of torch.compile ({usual}), not {backend!r}")


def _check_validation(keys: dict[str, Any], each_epoch: bool) -> None:
    """Raises `BadInput` for trainer settings that leave unmeasured epochs whose numbers are needed."""
    every = keys["check_val_every_n_epoch"]
    if each_epoch and every != 1:
        raise BadInput(
            f"trainer.check_val_every_n_epoch must be 1, not {every!r}, with ablation.every_epoch or early_stopping"
        )
    if keys["max_epochs"] % every:
        raise BadInput(
            f"trainer.max_epochs={keys['max_epochs']} must be a multiple of trainer.check_val_every_n_epoch={every}, "
            "so that the last epoch has its test accuracy"
        )
    for key, unlimited in (("max_steps", -1), ("max_time", None)):
        if every != 1 and keys.get(key, unlimited) != unlimited:
            raise BadInput(
                f"trainer.{key} may end training in an epoch without test accuracy: "
                f"set trainer.check_val_every_n_epoch=1, not {every!r}"
            )


def _check_batches(keys: dict[str, Any]) -> None:
    """Raises `BadInput` for trainer settings by which an epoch has no images."""
    for key, has in (("train", "each epoch trains"), ("val", "the last epoch has its test accuracy")):
        batches = keys.get(f"limit_{key}_batches")
        if batches is not None and not (is_number(batches) and batches > 0):
            raise BadInput(f"trainer.limit_{key}_batches must be a number above 0, not {batches!r}: {has}")


def _check_early_stopping(keys: Any, measured: bool, held_out: bool) -> None:
    """Raises `BadInput` for invalid keys of early stopping, and where what it monitors is not logged."""
    if keys is None:
        return
    _check_whole("early_stopping.patience", keys.get("patience"), 0)
    if keys.get("mode") not in ("min", "max"):
        raise BadInput(f"early_stopping.mode must be min or max, not {keys.get('mode')!r}")
    for key in ("min_delta", "stopping_threshold", "divergence_threshold"):
        if keys.get(key) is not None:
            _check_number(f"early_stopping.{key}", keys[key], float("-inf"), float("inf"))
    monitored = keys.get("monitor")
    if str(monitored).startswith("ablation/") and not measured:
        raise BadInput(
            f"early_stopping.monitor={monitored} is measured only during training: add ablation.every_epoch={{}}"
        )
    if str(monitored).startswith("held_out/") and not held_out:
        raise BadInput(f"early_stopping.monitor={monitored} needs held-out training images: add data.held_out=0.1")
    logged = [f"{split}/{name}" for split in SPLITS for name in ("loss", "accuracy")]
    logged += [f"ablation/{name}{se}" for se in ("", "_se") for name in _ESTIMATED] + ["ablation/fall"]
    if monitored not in logged:
        raise BadInput(f"early_stopping.monitor must be one of {', '.join(logged)}, not {monitored!r}")


def check_place(runs: Any) -> None:
    """Raises `BadInput` where `runs` is no path."""
    if not isinstance(runs, str) or not runs:
        raise BadInput(f"runs must be the path of a folder, not {runs!r}")


def check_one_device(trainer: Any) -> None:
    """Raises `BadInput` where a run of a sweep asks for several devices: each would start the whole sweep again."""
    devices = trainer.get("devices")
    if devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise BadInput(f"trainer.devices={devices}: a run of a sweep uses one device; for several, run it without -m")
    if trainer.get("num_nodes", 1) != 1:
        raise BadInput(f"trainer.num_nodes={trainer['num_nodes']}: a run of a sweep uses one device; run it without -m")


def check_resources(config: dict[str, Any]) -> None:
    """Raises `BadInput` for invalid `gpus_per_run` or `cpus_per_run`."""
    if config["gpus_per_run"] is not None:
        _check_number("gpus_per_run", config["gpus_per_run"], 0, 1, "null or ")
    _check_whole("cpus_per_run", config["cpus_per_run"], 1, null=True)


@cache
def compose_config(*overrides: str) -> DictConfig:
    """The configuration of some overrides, to be copied."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # there is one Hydra at a time, and a sweep may be running
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = compose("train", list(overrides))
    finally:
        GlobalHydra.instance().hydra = running
    OmegaConf.set_struct(config, False)
    return config


def _check_finite(config: dict[str, Any]) -> None:
    """Raises `BadInput` for a number that is NaN, and for an infinite one of the optimizer or its schedule."""
    for key, value in flat(config).items():
        for number in value if isinstance(value, list) else [value]:
            steps = key.startswith(("optimizer.", "scheduler."))
            if isinstance(number, float) and (isnan(number) or (steps and isinf(number))):
                raise BadInput(f"{key} must be {'a finite number' if steps else 'a number'}, not {value}")


def _check_whole(key: str, value: Any, least: int, null: bool = False) -> None:
    if null and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"{key} must be a whole number of at least {least}{' or null' if null else ''}, not {value!r}")


def _check_number(key: str, value: Any, least: float, most: float, also: str = "") -> None:
    if not (is_number(value) and isfinite(value) and least <= value <= most):
        span = f"a number from {least} to {most}" if isfinite(least) else "a number"
        raise BadInput(f"{key} must be {also}{span}, not {value!r}")


def is_number(value: Any) -> bool:
    """Whether a value is a number, which True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """A configuration as dotted keys and values; an empty group counts as a value."""
    if not isinstance(config, dict) or not config:
        return {prefix: config}
    return {
        dotted: leaf
        for key, value in config.items()
        for dotted, leaf in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }
