"""Runs that were never trained: their folders, with numbers made up so that tables can be worked out by hand."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from single_directions.runs.folder import RunFolder, write_json, write_text

Runs = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Runs:
    """Makes the folder of a run that is done and returns the folder of all runs."""

    def make(
        corruption: float = 0,
        seed: int = 0,
        auc: tuple[float, float] = (0.4, 0.6),
        variant: str = "",
        place: str = "demo-digits",
        experiment: str = "memorization",
        root: str = "runs",
        epochs: int = 0,
        config: dict[str, Any] | None = None,
    ) -> Path:
        own = re.split(r",(?=[a-z~])", variant) if variant else []
        overrides = [f"data.corruption={corruption}", *own, f"seed={seed}"]
        name = ",".join(overrides).replace("/", "_")
        folder = RunFolder(tmp_path / root / experiment / place / name)
        folder.path.mkdir(parents=True)
        scale, _, data = place.partition("-")
        keys = {
            "experiment": experiment,
            "scale": scale,
            "seed": seed,
            "runs": str(tmp_path / root),
            "data": {"_target_": f"single_directions.data.{data}", "corruption": corruption, "root": "/home/me/data"},
            "network": {"_target_": "single_directions.networks.MLP", "hidden": [128, 128]},
            "ablation": {"points": None, "top_k": 1},
        }
        write_text(folder.config, OmegaConf.to_yaml(OmegaConf.merge(keys, config or {})))
        # Straight lines from accuracy 2 auc - 0.1 down to chance have these areas.
        curves = pd.DataFrame(
            {
                "ordering": [0, 0, 1, 1],
                "units_ablated": [0, 10, 0, 10],
                "fraction_ablated": [0.0, 1.0, 0.0, 1.0],
                "accuracy": [2 * auc[0] - 0.1, 0.1, 2 * auc[1] - 0.1, 0.1],
            }
        )
        folder.write_frame(folder.curves, curves)
        if epochs:
            during = pd.concat([curves.assign(epoch=epoch + 1) for epoch in range(epochs)])
            folder.write_frame(folder.epoch_curves, during)
        losses = pd.DataFrame({"train/loss": [1.0, 1 / 3], "test/loss": [1.1, 0.1 + 0.2], "epoch": [1, 2]})
        folder.write_frame(folder.metrics, losses)
        summary = {
            "command": f"python scripts/train.py experiment={experiment} {' '.join(overrides)}",
            "overrides": [f"experiment={experiment}", "tracking=off", *overrides],
            "commit": "0123456789",
            "identity": "1234567890123456",
            "settings": {"seed": seed},
            "experiment": experiment,
            "corruption": corruption,
            "seed": seed,
            "auc": sum(auc) / 2,
            "auc_std": float(pd.Series(auc).std()),
            "auc_normalized": sum(auc) / 2,
            "train_accuracy": 1.0,
            "test_accuracy": 0.9 - corruption / 2,
            "classes": 10,
            "orderings": 2,
            "points": 2,
            "epochs": 2,
            "label_hash": "123456",
            "seconds": {"training": 1.5, "measuring": 0.5},
        }
        write_json(folder.summary, summary)
        folder.set_state("done")
        return tmp_path / root

    return make
