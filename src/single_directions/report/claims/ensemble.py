"""Figure 2: of networks that differ in their seed alone, those that generalize worse rely more on single directions."""

from typing import Any

import numpy as np
import pandas as pd

from single_directions.report.claims.claim import NEGATIVE, POSITIVE, Claim, Finding, holds
from single_directions.report.statistics import (
    Estimate,
    clusters,
    correlation,
    difference,
    leave_one_out,
    partial_correlation,
)
from single_directions.report.sweeps import conditions
from single_directions.report.table import Tables

EXPERIMENTS = ("ensemble", "ensemble_learning_rates")
EXTREMES = 5
"""Networks in each of the groups with the best and the worst generalization."""
ENOUGH_FOR_EXTREMES = 50
"""Networks below which the extremes of an ensemble are shown but not judged."""
NEEDED = ("generalization_error", "auc", "auc_normalized", "train_accuracy", "train_loss", "seed")
ESTIMATES = {"auc": "estimate_auc", "auc_normalized": "estimate_auc_normalized"}
"""Columns of estimates of the AUC, which are less noisy than the mean over a few orderings."""
BY_CURVE, ESTIMATED = "the mean over its orderings", "estimated from masks of its own for each image"
"""How a network's AUC was measured."""


def estimated(runs: pd.DataFrame) -> bool:
    """Whether all networks have an estimate of their AUC; it is then taken in place of the curve's mean."""
    return not runs.empty and bool(runs.reindex(columns=list(ESTIMATES.values())).notna().all(axis=None))


def networks(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a network that has all the numbers needed, the best generalization first; other columns as they were.

    `auc` and `auc_normalized` are the estimates where all networks have one.
    """
    if estimated(runs):
        runs = runs.assign(**{column: runs[estimate] for column, estimate in ESTIMATES.items()})
    if missing := set(NEEDED) - set(runs):
        return runs.assign(**dict.fromkeys(missing, np.nan)).iloc[:0]
    numbers = runs[[*NEEDED]].apply(pd.to_numeric, errors="coerce")
    whole = runs.assign(**numbers)[np.isfinite(numbers).all(axis=1)]
    return whole.sort_values(["generalization_error", "run"], ignore_index=True)


def best_and_worst(ensemble: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The networks with the smallest and those with the largest generalization error: 5 each, or half where fewer."""
    each = min(EXTREMES, len(ensemble) // 2)
    return ensemble.head(each), ensemble.tail(each)


def generalization(tables: Tables) -> Finding:
    """The correlation over all networks, and what else could make it: clusters, training accuracy, single networks."""
    ensemble = networks(tables.runs)
    error, normalized, seeds = (ensemble[key] for key in ("generalization_error", "auc_normalized", "seed"))
    main = correlation(error, normalized, blocks=seeds)
    given = {"training accuracy": ["train_accuracy"], "training loss": ["train_loss"]}
    given["training accuracy and loss"] = ["train_accuracy", "train_loss"]
    explanations = {
        what: partial_correlation(error, normalized, [ensemble[key] for key in keys], seeds)
        for what, keys in given.items()
    }
    found = _clusters(ensemble)
    without = _leverage(ensemble)
    details = {
        "auc": ESTIMATED if estimated(tables.runs) else BY_CURVE,
        "raw": correlation(error, ensemble["auc"], blocks=seeds),
        "normalized": main,
        "pearson": correlation(error, normalized, "pearson", seeds),
        "partial": explanations,
        "auc_with_train_accuracy": correlation(ensemble["train_accuracy"], normalized, blocks=seeds),
        "auc_with_train_loss": correlation(ensemble["train_loss"], normalized, blocks=seeds),
        "leave_one_out": without,
        "by_condition": _by_condition(ensemble),
        "clusters": found,
    }
    caveats = [
        *_blocked(main, len(ensemble)),
        *_explained(main, explanations),
        *_clustered(found),
        *_rests_on_single(main, without),
    ]
    return Finding({"all networks": main}, details, tuple(caveats))


def within_clusters(tables: Tables) -> Finding:
    """The correlation within each cluster of networks."""
    found = _clusters(networks(tables.runs))
    if found["number"] < 2:
        single = "the networks form a single cluster (no mixture of several has a BIC lower by more than 10)"
        why = single if found["number"] else "no network has all the numbers needed"
        return Finding({}, {"clusters": found}, (f"{why}, so there is nothing to judge",))
    return Finding(dict(zip(found["names"], found["correlations"], strict=True)), {"clusters": found})


def extremes(tables: Tables) -> Finding:
    """The AUC of the networks with the best generalization minus that of those with the worst."""
    ensemble = networks(tables.runs)
    best, worst = (group.set_index("run") for group in best_and_worst(ensemble))
    details = {
        "best": list(best.index),
        "worst": list(worst.index),
        "raw": difference(best["auc"], worst["auc"]),
    }
    caveats = []
    if len(ensemble) < ENOUGH_FOR_EXTREMES:
        caveats.append(f"{len(ensemble)} networks, fewer than {ENOUGH_FOR_EXTREMES}: described, not judged")
    if (seeds := ensemble["seed"].nunique()) < len(ensemble):
        # A difference within seeds would leave out most of the ten, one of independent groups count a seed twice.
        caveats.append(f"{len(ensemble)} networks of {seeds} seeds do not vary independently: described, not judged")
    compared = difference(best["auc_normalized"], worst["auc_normalized"])
    return Finding({f"best and worst {len(best)}": compared}, details, tuple(caveats), descriptive=bool(caveats))


def _clusters(ensemble: pd.DataFrame) -> dict[str, Any]:
    """The clusters in the plane of generalization error and normalized AUC, and the correlation within each."""
    labels = clusters(ensemble["generalization_error"], ensemble["auc_normalized"])
    members = [ensemble[labels == label] for label in range(labels.max() + 1)] if len(labels) else []
    return {
        "number": len(members),
        "names": [f"cluster {i + 1}" for i in range(len(members))],
        "sizes": [len(group) for group in members],
        "runs": [list(group["run"]) for group in members],
        "correlations": [
            correlation(group["generalization_error"], group["auc_normalized"], blocks=group["seed"])
            for group in members
        ],
    }


def _by_condition(ensemble: pd.DataFrame) -> dict[str, Estimate]:
    """The correlation within each value of what is swept beside the seed, such as the learning rate."""
    return {
        str(condition): correlation(own["generalization_error"], own["auc_normalized"], blocks=own["seed"])
        for condition, own in ensemble.assign(condition=conditions(ensemble)).groupby("condition")
        if condition
    }


def _leverage(ensemble: pd.DataFrame) -> dict[str, Any]:
    """The range of the correlation when each network is left out in turn, and the networks at its ends."""
    values = leave_one_out(ensemble["generalization_error"], ensemble["auc_normalized"])
    if not len(values) or not np.isfinite(values).all():
        return {"low": None, "high": None}
    low, high = int(values.argmin()), int(values.argmax())
    runs = ensemble["run"]
    return {"low": values[low], "high": values[high], "low_without": runs[low], "high_without": runs[high]}


def _blocked(main: Estimate, networks: int) -> list[str]:
    """That networks share seeds, where they do."""
    if not 0 < main.n < networks:
        return []
    return [f"n is {main.n} seeds: of the {networks} networks, those of one seed count as one for interval and p"]


def _explained(main: Estimate, explanations: dict[str, Estimate]) -> list[str]:
    """Where the correlation is clear, but not once training accuracy or loss is given."""
    if holds(main, NEGATIVE) is None and holds(main, POSITIVE) is None:
        return []
    return [
        f"given {what} the correlation is {part.value:.2f} [{part.low:.2f}, {part.high:.2f}]: "
        f"{what} alone may explain it"
        for what, part in explanations.items()
        if not (part.low > 0 or part.high < 0)
    ]


def _clustered(found: dict[str, Any]) -> list[str]:
    if found["number"] < 2:
        return []
    each = zip(found["sizes"], found["correlations"], strict=True)
    parts = [f"{size} networks with {part.value:.2f}" for size, part in each]
    told = (
        f"the networks fall into {found['number']} clusters (a Gaussian mixture of so many has a BIC lower by over 10)"
    )
    return [f"{told}: {', '.join(parts)}"]


def _rests_on_single(main: Estimate, without: dict[str, Any]) -> list[str]:
    if without["low"] is None or without["low"] * without["high"] > 0:
        return []
    return [f"leaving out one network changes its sign: it lies between {without['low']:.2f} and {without['high']:.2f}"]


CLAIMS = (
    Claim(
        name="generalization",
        role="main",  # the caption's title
        figures=dict.fromkeys(EXPERIMENTS, "2b"),
        paper="networks that generalize worse rely more on single directions: AUC falls with generalization error",
        statistic="Spearman's correlation of normalized AUC and generalization error",
        where="below 0",
        region=NEGATIVE,
        find=generalization,
    ),
    Claim(
        name="within_clusters",  # a footnote of the paper's
        figures=dict.fromkeys(EXPERIMENTS, "2b"),
        paper="there was also a negative correlation present within clusters",
        statistic="Spearman's correlation of normalized AUC and generalization error",
        where="below 0",
        region=NEGATIVE,
        find=within_clusters,
        several="clusters",
    ),
    Claim(
        name="best_and_worst",
        role="main",  # 2a shows nothing else
        figures=dict.fromkeys(EXPERIMENTS, "2a"),
        paper="the 5 networks with the best generalization are more robust to ablation than the 5 with the worst",
        statistic="normalized AUC of the best 5 networks minus that of the worst 5",
        where="above 0",
        region=POSITIVE,
        find=extremes,
        unless=f"with fewer than {ENOUGH_FOR_EXTREMES} networks or with several of one seed",
    ),
)  # fmt: skip
