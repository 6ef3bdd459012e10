"""The number that a run returns, for a search over settings such as Optuna's."""

from collections.abc import Sequence
from typing import Any

from single_directions.errors import BadInput
from single_directions.runs.config import SPLITS, flat

NUMBERS = (
    *("auc", "auc_std", "auc_normalized", "auc_normalized_std", "auc_corrected"),
    *("estimate_auc", "estimate_auc_normalized", "estimate_auc_corrected"),
    *("estimate_auc_se", "estimate_auc_normalized_se", "estimate_auc_corrected_se", "estimate_masks"),
    *("generalization_error", "train_changed_predictions", "epochs", "units", "seconds.training", "seconds.measuring"),
)
"""The numbers of `summary.json` that say how a run came out, but for losses and accuracies: see `known_numbers`."""


def check_optimized(config: Any) -> None:
    """Raises `BadInput` if `optimized_metric` names a number that a run of this configuration does not have."""
    for name in names(config["optimized_metric"]):
        if name not in (known := known_numbers(config)):
            raise BadInput(f"optimized_metric must be a number of summary.json ({', '.join(known)}), not {name!r}")


def optimized(config: dict[str, Any], summary: dict[str, Any]) -> float | list[float] | None:
    """The number that `optimized_metric` names, several as a list, or None for `optimized_metric=null`.

    A number that is not defined, such as the normalized AUC of a network that gets nothing right, is NaN.
    """
    metric, values = config["optimized_metric"], flat(summary)
    numbers = [float("nan") if values.get(name) is None else float(values[name]) for name in names(metric)]
    return numbers if isinstance(metric, list) else numbers[0] if numbers else None


def known_numbers(config: Any) -> list[str]:
    """The names of a run's results: numbers of `summary.json`, nested keys joined by dots."""
    top_k = config["ablation"]["top_k"]
    measured = ("loss", "accuracy") if top_k == 1 else ("loss", "accuracy", f"accuracy_top{top_k}")
    splits = SPLITS if config["data"].get("held_out") else SPLITS[:2]
    return [*NUMBERS, *(f"{split}_{name}" for split in splits for name in measured)]


def names(metric: Any) -> list[Any]:
    """The numbers that `optimized_metric` names: none, one, or several."""
    if isinstance(metric, Sequence) and not isinstance(metric, str):
        return [*metric]
    return [] if metric is None else [metric]
