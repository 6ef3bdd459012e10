"""A run's final numbers, and where they come from."""

import platform
from math import isfinite
from typing import Any

import torch

from single_directions.ablation import AblationCurve, AblationEstimate
from single_directions.runs.build import Parts
from single_directions.runs.fit import Training
from single_directions.runs.identity import installed_version
from single_directions.runs.precise import areas

PACKAGES = ("single-directions", "torch", "torchvision", "pytorch-lightning", "torchmetrics")


def summarize(
    record: dict[str, Any],
    config: dict[str, Any],
    parts: Parts,
    training: Training,
    curve: AblationCurve,
    estimate: AblationEstimate,
    measuring: float,
) -> dict[str, Any]:
    """What `summary.json` holds: the run's record (see `identity.record_of`) and its final numbers.

    `measuring` is the time that the final curve and estimate took, in seconds. `auc` and `auc_normalized` are means
    over orderings, `auc_std` and `auc_normalized_std` their standard deviations (null where they are not defined).
    `estimate_auc` and the like are means over all orderings; the standard errors of the raw and the normalized one are
    at most 0.002 as a rule. Accuracies and losses are those of the last epoch that measured them. What `AblationAUC`
    measured after epochs is in `metrics.csv` alone.
    """
    history, device, during = training.history, training.device, parts.every_epoch
    last = history.rows[-1]
    names = ("epoch", "ablation/")  # the AUC of a run is that of its curve
    newest = {name: value for row in history.rows for name, value in row.items() if not name.startswith(names)}
    final = {name.replace("/", "_"): value if isfinite(value) else None for name, value in newest.items()}
    return {
        **{key: value for key, value in record.items() if key != "settings"},
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
        **areas(estimate),
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
        "every_epoch": during.form if during else None,
        "seconds_of_every_epoch": None if during is None else round(during.seconds, 3),
        "seconds": {"training": round(history.seconds, 3), "measuring": round(measuring, 3)},
        "device": {
            "type": device.type,
            "name": _name(device),
            "threads": torch.get_num_threads(),
            "number": training.devices,
        },
        "versions": {
            "python": platform.python_version(),
            **{package: installed_version(package) for package in PACKAGES},
        },
        "settings": record["settings"],
    }


def _number(value: torch.Tensor) -> float | None:
    """A finite number, or None: a normalized AUC is NaN where nothing was right to begin with."""
    return value.item() if value.isfinite() else None


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
