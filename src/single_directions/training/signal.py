"""The numbers that `AblationAUC` logs, made so that stock callbacks can act on them."""

import math

import torch
from scipy.special import log_ndtr, ndtri_exp

from single_directions.ablation.estimated import NAMES, AblationEstimate

LOGGED = (*NAMES, *(f"{name}_se" for name in NAMES), "fall")
"""The names logged, each after `ablation/`."""
LOWEST = -1.0
"""The least `auc_corrected` that is logged where it is defined."""
UNDEFINED = {"auc_normalized": 0.0, "auc_corrected": -2.0}
"""What is logged where a number is not defined: less than where it is."""


def logged(estimate: AblationEstimate) -> dict[str, float]:
    """The numbers of an estimate and their standard errors.

    `auc_normalized` divides by the accuracy, `auc_corrected` by the accuracy above the floor. Where this is undefined,
    or says nothing since the network has learned nothing yet, 0 and -2 are logged, with an error of 0. Where
    `auc_normalized` is defined it is above 0. `auc_corrected` has no such bound: it is below 0 if clamping some units
    costs more accuracy than clamping all, as it can where one class is common. So less than -1 is logged as -1. Then no
    epoch in which a number is not defined becomes the best.
    """
    values = {name: getattr(estimate, name) for name in LOGGED if name != "fall"}
    values["auc_corrected"] = max(values["auc_corrected"], LOWEST)
    for name, value in UNDEFINED.items():
        if not is_defined(estimate, name):
            values[name], values[f"{name}_se"] = value, 0.0
    return values


def diverged() -> dict[str, float]:
    """NaN for each name: logged if the network's outputs are not finite. `EarlyStopping` stops at NaN."""
    return dict.fromkeys(LOGGED, math.nan)


def is_defined(estimate: AblationEstimate, name: str) -> bool:
    """Whether the accuracy is two standard errors above 0, for `auc_normalized`, or for `auc_corrected` above chance.

    Chance is the accuracy with all units clamped, or that of always naming the most common class if this is higher.
    """
    if name not in ("auc_normalized", "auc_corrected"):
        return True
    accuracy, floor = estimate.curve[[0, -1]].tolist()
    least = max(floor, _largest_share(estimate)) if name == "auc_corrected" else 0.0
    variance = (accuracy * (1 - accuracy) + least * (1 - least)) / estimate.images
    return accuracy - least > 2 * math.sqrt(variance)


def fall(estimate: AblationEstimate, best: AblationEstimate | None, signal: str, measurements: int) -> float:
    """How far a number is below its best so far, in standard errors of that change; 0 if it is not below.

    `best` was measured on the same images and masks, so most of the noise cancels. But it is the best of so many
    `measurements`, in part by chance. So the p value of the fall is multiplied by the number of pairs of measurements
    (Bonferroni), and the number of standard errors with that p value is returned.

    >>> round(corrected(4.0, measurements=1), 2), round(corrected(4.0, measurements=50), 2)
    (4.0, 1.76)
    """
    if best is None or not _has_learned(estimate, signal):
        return 0.0
    change = estimate.change_from(best)[signal]
    if not change.value < 0 or change.se == 0:
        return 0.0
    return corrected(-change.value / change.se, measurements)


def corrected(errors: float, measurements: int) -> float:
    """A fall in standard errors, corrected for the number of pairs of measurements; at least 0."""
    pairs = max(1, measurements * (measurements - 1) // 2)
    log_p = min(float(log_ndtr(-errors)) + math.log(pairs), math.log(0.5))
    return max(0.0, -float(ndtri_exp(log_p)))


def is_better(estimate: AblationEstimate, best: AblationEstimate | None, signal: str) -> bool:
    """Whether an estimate is better than the best so far."""
    above = best is None or getattr(estimate, signal) > getattr(best, signal)
    return above and _has_learned(estimate, signal)


def _has_learned(estimate: AblationEstimate, signal: str) -> bool:
    """Whether accuracy is above chance. `auc_normalized` needs this too: it is near 1 for a network that guesses."""
    return signal == "auc" or is_defined(estimate, "auc_corrected")


def _largest_share(estimate: AblationEstimate) -> float:
    """The share of the most common class, 0 if classes are not known."""
    counts = estimate.class_counts
    if counts is None:
        if estimate.classes is None:
            return 0.0
        counts = torch.bincount(estimate.classes)
    return float(counts.max() / counts.sum())
