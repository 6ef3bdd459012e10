"""Figure 2: among networks that differ in their seed alone, do those that generalize worst rely most on directions?"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from single_directions.experiments.claim import NEGATIVE, POSITIVE, Claim, Finding, holds
from single_directions.experiments.conditions import LEARNING_RATE
from single_directions.experiments.departures import CONVNET
from single_directions.experiments.drawing.ablation import Line, ablation_figure
from single_directions.experiments.drawing.ensemble import leverage_figure, scatter_figure
from single_directions.experiments.drawing.style import BLUE, VERMILLION
from single_directions.experiments.experiment import Experiment, Picture, register
from single_directions.experiments.pictures import areas, heading, lines_and_bands
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import (
    Estimate,
    Floats,
    clusters,
    correlation,
    difference,
    leave_one_out,
    partial_correlation,
    spearman,
)
from single_directions.experiments.sweeps import conditions
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import count, interval, number

EXTREMES = 5
"""Networks in each of the groups with the best and the worst generalization."""
ENOUGH_FOR_EXTREMES = 50
"""The extremes of fewer networks are shown but not judged."""
NEEDED = ("generalization_error", "auc", "auc_normalized", "train_accuracy", "train_loss", "seed")
ESTIMATES = {"auc": "estimate_auc", "auc_normalized": "estimate_auc_normalized"}
"""Columns of estimates of the AUC. They are less noisy than the mean over a few orderings."""
BY_CURVE, ESTIMATED = "the mean over its orderings", "estimated with separate masks for each image"
"""How a network's AUC was measured."""


def estimated(runs: pd.DataFrame) -> bool:
    """Whether all networks have an estimate of their AUC. The estimate is then used, not the mean over orderings."""
    return not runs.empty and bool(runs.reindex(columns=list(ESTIMATES.values())).notna().all(axis=None))


def networks(runs: pd.DataFrame) -> pd.DataFrame:
    """The networks that have all the numbers needed, one row each, sorted by generalization error.

    `auc` and `auc_normalized` are the estimates if all networks have one. `auc_normalized_se` is the standard error.
    """
    known = runs.reindex(columns=["auc_normalized_std", "orderings", "estimate_auc_normalized_se"])
    known = known.apply(pd.to_numeric, errors="coerce")
    errors = known["auc_normalized_std"] / known["orderings"] ** 0.5
    if estimated(runs):
        runs = runs.assign(**{column: runs[estimate] for column, estimate in ESTIMATES.items()})
        errors = known["estimate_auc_normalized_se"]
    runs = runs.assign(auc_normalized_se=errors)
    numbers = runs.reindex(columns=[*NEEDED]).apply(pd.to_numeric, errors="coerce")
    whole = runs.assign(**numbers)[np.isfinite(numbers).all(axis=1)]
    return whole.sort_values(["generalization_error", "run"], ignore_index=True)


def best_and_worst(ensemble: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The networks with the smallest and those with the largest generalization error: 5 each, or half where fewer."""
    each = min(EXTREMES, len(ensemble) // 2)
    return ensemble.head(each), ensemble.tail(each)


def generalization(tables: Tables) -> Finding:
    """The correlation over all networks, and what else could cause it: clusters, training accuracy, single networks."""
    ensemble = networks(tables.runs)
    error, normalized, seeds = (ensemble[key] for key in ("generalization_error", "auc_normalized", "seed"))
    main = _correlation(ensemble)
    given = {"training accuracy": ["train_accuracy"], "training loss": ["train_loss"]}
    given["training accuracy and loss"] = ["train_accuracy", "train_loss"]
    details = {
        "auc": ESTIMATED if estimated(tables.runs) else BY_CURVE,
        "raw": correlation(error, ensemble["auc"], blocks=seeds),
        "normalized": main,
        "pearson": correlation(error, normalized, "pearson", seeds),
        "partial": {
            name: partial_correlation(error, normalized, [ensemble[key] for key in keys], seeds)
            for name, keys in given.items()
        },
        "auc_with_train_accuracy": correlation(ensemble["train_accuracy"], normalized, blocks=seeds),
        "auc_with_train_loss": correlation(ensemble["train_loss"], normalized, blocks=seeds),
        "leave_one_out": _leverage(ensemble),
        "by_condition": {  # such as a learning rate
            str(condition): _correlation(own)
            for condition, own in ensemble.assign(condition=conditions(ensemble)).groupby("condition")
            if condition
        },
        "clusters": _clusters(ensemble),
    }
    return Finding({"all networks": main}, details, tuple(_caveats(main, len(ensemble), details)))


def within_clusters(tables: Tables) -> Finding:
    """The correlation within each cluster of networks."""
    found = _clusters(networks(tables.runs))
    if found["number"] < 2:
        single = "the networks form a single cluster (no mixture of several has a BIC lower by more than 10)"
        why = single if found["number"] else "no network has all the numbers needed"
        return Finding({}, {"clusters": found}, (f"{why}, so there is nothing to judge",))
    return Finding(dict(zip(found["names"], found["correlations"], strict=True)), {"clusters": found})


def extremes(tables: Tables) -> Finding:
    """The AUC of the networks with the best generalization minus that of the networks with the worst."""
    ensemble = networks(tables.runs)
    best, worst = (group.set_index("run") for group in best_and_worst(ensemble))
    details = {"best": [*best.index], "worst": [*worst.index], "raw": difference(best["auc"], worst["auc"])}
    caveats = []
    if len(ensemble) < ENOUGH_FOR_EXTREMES:
        caveats.append(f"{len(ensemble)} networks, fewer than {ENOUGH_FOR_EXTREMES}: described, not judged")
    if (seeds := ensemble["seed"].nunique()) < len(ensemble):
        # Compared within seeds, most of the ten would be left out; as independent groups, a seed would count twice.
        caveats.append(f"{len(ensemble)} networks of {seeds} seeds do not vary independently: described, not judged")
    compared = difference(best["auc_normalized"], worst["auc_normalized"])
    return Finding({f"best and worst {len(best)}": compared}, details, tuple(caveats), descriptive=bool(caveats))


def _correlation(ensemble: pd.DataFrame) -> Estimate:
    """Spearman's correlation of normalized AUC and generalization error."""
    return correlation(ensemble["generalization_error"], ensemble["auc_normalized"], blocks=ensemble["seed"])


def _clusters(ensemble: pd.DataFrame) -> dict[str, Any]:
    """The clusters in the plane of generalization error and normalized AUC, and the correlation within each."""
    labels = clusters(ensemble["generalization_error"], ensemble["auc_normalized"])
    members = [ensemble[labels == label] for label in range(labels.max() + 1)] if len(labels) else []
    return {
        "number": len(members),
        "names": [f"cluster {i + 1}" for i in range(len(members))],
        "sizes": [len(group) for group in members],
        "runs": [list(group["run"]) for group in members],
        "correlations": [_correlation(group) for group in members],
    }


def _leverage(ensemble: pd.DataFrame) -> dict[str, Any]:
    """The lowest and the highest correlation when one network is left out, and which network that is."""
    values = leave_one_out(ensemble["generalization_error"], ensemble["auc_normalized"])
    if not len(values) or not np.isfinite(values).all():
        return {"low": None, "high": None}
    low, high = int(values.argmin()), int(values.argmax())
    runs = ensemble["run"]
    return {"low": values[low], "high": values[high], "low_without": runs[low], "high_without": runs[high]}


def _caveats(main: Estimate, networks: int, details: dict[str, Any]) -> Iterator[str]:
    """What the correlation rests on: networks that share seeds, other numbers, clusters, a single network."""
    if 0 < main.n < networks:
        yield f"n is {main.n} seeds: of the {networks} networks, those of one seed count as one for interval and p"
    if holds(main, NEGATIVE) is not None or holds(main, POSITIVE) is not None:
        for given, part in details["partial"].items():
            if not (part.low > 0 or part.high < 0):
                yield f"given {given} the correlation is {interval(part, 2)}: {given} alone may explain it"
    found = details["clusters"]
    if found["number"] > 1:
        each = zip(found["sizes"], found["correlations"], strict=True)
        parts = ", ".join(f"{size} networks with {number(part.value, 2)}" for size, part in each)
        evidence = "a Gaussian mixture with this many components has a BIC lower by over 10"
        yield f"the networks fall into {found['number']} clusters ({evidence}): {parts}"
    low, high = details["leave_one_out"]["low"], details["leave_one_out"]["high"]
    if low is not None and low * high <= 0:
        yield f"leaving out one network changes its sign: it lies between {number(low, 2)} and {number(high, 2)}"


CLAIMS = (
    Claim(
        name="generalization",
        role="main",  # the caption's title
        figure="2b",
        paper="networks that generalize worse rely more on single directions: AUC falls with generalization error",
        statistic="Spearman's correlation of normalized AUC and generalization error",
        where="below 0",
        region=NEGATIVE,
        find=generalization,
    ),
    Claim(
        name="within_clusters",  # a footnote of the paper's
        figure="2b",
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
        figure="2a",
        paper="the 5 networks with the best generalization are more robust to ablation than the 5 with the worst",
        statistic="normalized AUC of the best 5 networks minus that of the worst 5",
        where="above 0",
        region=POSITIVE,
        find=extremes,
        unless=f"with fewer than {ENOUGH_FOR_EXTREMES} networks or with several of one seed",
    ),
)


def draw(section: Section) -> Iterator[Picture]:
    """Figures 2a and 2b, how much the correlation rests on single networks and, by learning rate, the AUC."""
    ensemble = networks(section.runs)
    rates = bool(section.experiment.conditions)
    place = f"{'_learning_rates' if rates else ''}{section.suffix}"
    if len(ensemble) > 1:
        yield _extremes(section, ensemble, f"figure_2a{place}")
    if len(ensemble):
        yield _scatter(section, ensemble, f"figure_2b{place}")
    without = leave_one_out(ensemble["generalization_error"], ensemble["auc_normalized"])
    if len(ensemble) > 3 and np.isfinite(without).all():
        yield _leverages(section, ensemble, without, f"figure_2_leverage{place}")
    if rates:
        yield areas(section, section.conditions(), f"figure_2_auc{place}", heading(section), raw=False)


def _extremes(section: Section, ensemble: pd.DataFrame, name: str) -> Picture:
    best, worst = best_and_worst(ensemble)
    lines = [
        Line(f"{len(best)} smallest", section.curves_of(best), BLUE),
        Line(f"{len(worst)} largest", section.curves_of(worst), VERMILLION),
    ]
    title = section.heading(f"{len(best) + len(worst)} of {count(len(ensemble), 'network')}")
    return Picture(
        name,
        ablation_figure(lines, section.chance, title, legend="generalization error", spread="curves"),
        f"Accuracy on the training images as ever more units are ablated, for the {len(best)} networks with the "
        f"smallest and the {len(worst)} with the largest generalization error. "
        f"{lines_and_bands(section, pd.concat([best, worst]), 'curves')}",
    )


def _scatter(section: Section, ensemble: pd.DataFrame, name: str) -> Picture:
    claim = next((claim for claim in section.claims if claim.id.endswith(".generalization")), None)
    rho = f": ρ {interval(claim)}" if claim and np.isfinite(claim.value) else ""
    found: dict[str, Any] = claim.details["clusters"] if claim else {"number": 0}
    groups, legend = None, "cluster"
    if found["number"] > 1:
        cluster = {run: name for name, runs in zip(found["names"], found["runs"], strict=True) for run in runs}
        groups = ensemble["run"].map(cluster).sort_values()
    if section.experiment.conditions:
        groups, legend = ensemble[LEARNING_RATE].sort_values().map("{:g}".format), "learning rate"
    return Picture(
        name,
        scatter_figure(ensemble, groups, legend, section.heading(count(len(ensemble), "network")) + rho),
        "One mark for each network. Normalized AUC: the area under its curve, divided by its accuracy with nothing "
        f"ablated; {ESTIMATED if estimated(ensemble) else BY_CURVE}."
        + (" Bars: one standard error." if ensemble["auc_normalized_se"].notna().any() else "")
        + (f" Colours and marks: {legend}." if groups is not None else "")
        + (" ρ: Spearman's correlation, with its 95 % interval." if rho else ""),
    )


def _leverages(section: Section, ensemble: pd.DataFrame, without: Floats, name: str) -> Picture:
    names = [f"seed {seed:.0f}" for seed in ensemble["seed"]]
    if section.experiment.conditions:
        names = [f"{one}, learning rate {rate:g}" for one, rate in zip(names, ensemble[LEARNING_RATE], strict=True)]
    whole = spearman(ensemble["generalization_error"], ensemble["auc_normalized"])
    return Picture(
        name,
        leverage_figure(names, without, whole, section.heading(count(len(ensemble), "network"))),
        "ρ: Spearman's correlation of normalized AUC and generalization error when one network is left out. The three "
        f"networks that change it most are named. Dashed line: the correlation of all networks, {number(whole, 2)}.",
    )


_ASKS = "Networks that differ in {} were trained alike. Do those that generalize better rely less on single directions?"
_experiment = partial(Experiment, figure="2", claims=CLAIMS, pictures=draw, settings=CONVNET)
register(
    _experiment(
        name="ensemble",
        heading="Networks of different seeds",
        asks=_ASKS.format("their seed alone"),
        papers=True,
    ),
    _experiment(
        name="ensemble_learning_rates",
        heading="Networks of different seeds and learning rates",
        asks=_ASKS.format("seed and learning rate"),
        conditions=(LEARNING_RATE,),
    ),
)
