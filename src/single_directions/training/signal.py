"""What `AblationAUC` logs of an estimate, made so that stock callbacks can act on it."""

import math

from scipy.special import log_ndtr, ndtri_exp

from single_directions.ablation.estimated import NAMES, AblationEstimate

LOGGED = (*NAMES, *(f"{name}_se" for name in NAMES), "fall")
"""What is logged, each name after `ablation/`."""


def logged(estimate: AblationEstimate) -> dict[str, float]:
    """The numbers of an estimate, and their standard errors.

    `auc_corrected` divides by the accuracy that there is to lose, `auc_normalized` by accuracy. Where that is not above
    0 by two standard errors, the ratio is not defined or only noise, and 0 is logged: the least that a network which
    has something to lose would have. A stopper goes on, and takes no such epoch for the best.
    """
    values = {name: getattr(estimate, name) for name in LOGGED if name != "fall"}
    for name in NAMES:
        if not is_defined(estimate, name):
            values[name] = values[f"{name}_se"] = 0.0
    return values


def diverged() -> dict[str, float]:
    """What is logged of a network whose answers are not finite: `EarlyStopping` stops at it."""
    return dict.fromkeys(LOGGED, math.nan)


def is_defined(estimate: AblationEstimate, name: str) -> bool:
    """Whether what a number divides by is more than noise."""
    if name not in ("auc_normalized", "auc_corrected"):
        return True
    accuracy, floor = estimate.curve[[0, -1]].tolist()
    least = floor if name == "auc_corrected" else 0.0
    variance = (accuracy * (1 - accuracy) + least * (1 - least)) / estimate.images
    return accuracy - least > 2 * math.sqrt(variance)


def fall(estimate: AblationEstimate, best: AblationEstimate | None, signal: str, measurements: int) -> float:
    """How far a number is below its best value so far, in standard errors of that change; 0 where it is not below.

    `best` was measured on the same images and masks, so most of the noise is in both and falls out. It is the best of
    so many `measurements`, in part by luck: the more pairs there are of them, the likelier is a fall by chance. So the
    p value of the fall is multiplied by the number of pairs (Bonferroni); what is returned has that p value.

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
    """A fall in standard errors, for the pairs that there are of some measurements; 0 at least."""
    pairs = max(1, measurements * (measurements - 1) // 2)
    log_p = min(float(log_ndtr(-errors)) + math.log(pairs), math.log(0.5))
    return max(0.0, -float(ndtri_exp(log_p)))


def is_better(estimate: AblationEstimate, best: AblationEstimate | None, signal: str) -> bool:
    """Whether an estimate is to be the best from now on."""
    above = best is None or getattr(estimate, signal) > getattr(best, signal)
    return above and _has_learned(estimate, signal)


def _has_learned(estimate: AblationEstimate, signal: str) -> bool:
    """Whether there is accuracy to lose: `auc_normalized` is near 1 if the network guesses, however it is ablated."""
    return signal == "auc" or is_defined(estimate, "auc_corrected")
