"""A run's final numbers, and where they come from."""

import platform
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any

import torch

from single_directions.ablation import AblationCurve
from single_directions.runs.build import Parts
from single_directions.runs.fit import Training

PACKAGES = ("single-directions", "torch", "torchvision", "pytorch-lightning", "torchmetrics")


def summarize(
    config: dict[str, Any], parts: Parts, training: Training, curve: AblationCurve, measuring: float
) -> dict[str, Any]:
    """What `summary.json` holds; `measuring` is the time that the final curve took, in seconds.

    `auc` and `auc_normalized` are means over orderings, `auc_std` and `auc_normalized_std` their standard deviations
    (null where they are not defined). Accuracies and losses are those of the last epoch, `ablation_auc`
    and the like those of the last epoch that measured them, by the orderings, points and images of `every_epoch`.
    """
    history, device, during = training.history, training.device, parts.every_epoch
    last = history.rows[-1]
    newest = {name: value for row in history.rows for name, value in row.items() if name != "epoch"}
    final = {name.replace("/", "_"): value if isfinite(value) else None for name, value in newest.items()}
    return {
        "experiment": config["experiment"],
        "scale": config["scale"],
        "data": parts.data.name,
        "corruption": config["data"].get("corruption", 0),
        "seed": config["seed"],
        "data_seed": config["data"].get("seed"),
        "ablation_seed": config["ablation"]["seed"],
        "auc": _number(curve.auc.mean()),
        "auc_std": _number(curve.auc.std()) if len(curve.auc) > 1 else None,
        "auc_normalized": _number(curve.auc_normalized.mean()),
        "auc_normalized_std": _number(curve.auc_normalized.std()) if len(curve.auc) > 1 else None,
        "auc_corrected": _number(curve.auc_corrected.mean()),
        "generalization_error": last["train/accuracy"] - last["test/accuracy"],
        **final,
        "epochs": len(history.rows),
        "train_images": len(parts.data.train),
        "test_images": len(parts.data.test),
        "held_out_images": len(parts.data.held_out) if parts.data.held_out is not None else 0,
        "classes": parts.data.classes,
        "corrupted": parts.data.corrupted,
        "label_hash": parts.data.label_hash,
        "sites": {site.name: site.units for site in curve.sites},
        "units": curve.units,
        "orderings": len(curve.auc),
        "points": len(curve.units_ablated),
        "images_measured": curve.images,
        "method": curve.method,
        "every_epoch": _form(during.curves[max(during.curves)]) if during and during.curves else None,
        "seconds_of_every_epoch": None if during is None else round(during.seconds, 3),
        "seconds": {"training": round(history.seconds, 3), "measuring": round(measuring, 3)},
        "device": {
            "type": device.type,
            "name": _name(device),
            "threads": torch.get_num_threads(),
            "number": training.devices,
        },
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
    }


def _form(curve: AblationCurve) -> dict[str, int | None]:
    orderings, points = curve.accuracy.shape
    return {"orderings": orderings, "points": points, "images": curve.images}


def _number(value: torch.Tensor) -> float | None:
    """A finite number, or None: a normalized AUC is NaN where nothing was right to begin with."""
    return value.item() if value.isfinite() else None


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # a source tree that was not installed
        return None
