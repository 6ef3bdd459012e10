"""Figure 4: dropout does not discourage reliance on single directions past its fraction, batch normalization does."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from single_directions.report.claims.claim import POSITIVE, Claim, Finding, by_seed
from single_directions.report.statistics import difference, mean_interval
from single_directions.report.table import Tables

MARGIN = 0.05
"""Of accuracy and of AUC, both from 0 to 1: what counts as a minimal loss, and as alike."""


def by_dropout(runs: pd.DataFrame) -> dict[tuple[float, float], pd.DataFrame]:
    """The runs at each (dropout fraction above 0, corruption)."""
    if "config.network.dropout" not in runs or "corruption" not in runs:
        return {}
    dropped = runs[runs["config.network.dropout"] > 0]
    grouped = dropped.groupby(["config.network.dropout", "corruption"])
    return {(float(dropout), float(corruption)): own for (dropout, corruption), own in grouped}  # type: ignore[arg-type]


def mean_curves(tables: Tables) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each run's curve, the mean over its orderings: fractions ablated and accuracies, both (points,)."""
    means = tables.final_curves.groupby(["run", "fraction_ablated"])["accuracy"].mean().reset_index()
    return {
        str(run): (curve["fraction_ablated"].to_numpy(), curve["accuracy"].to_numpy())
        for run, curve in means.groupby("run")
    }


def lost_before(fraction: np.ndarray, accuracy: np.ndarray, dropout: float) -> float:
    """How much accuracy is lost when as large a fraction of units is ablated as was dropped in training."""
    return float(accuracy[0] - np.interp(dropout, fraction, accuracy))


def kept_past(fraction: np.ndarray, accuracy: np.ndarray, dropout: float) -> float:
    """Mean accuracy past the dropout fraction, as a share of that with nothing ablated: NaN where that is 0."""
    past = fraction > dropout
    x = np.concatenate([[dropout], fraction[past]])
    y = np.concatenate([[np.interp(dropout, fraction, accuracy)], accuracy[past]])
    return float(trapezoid(y, x) / (1 - dropout) / accuracy[0]) if accuracy[0] > 0 and dropout < 1 else float("nan")


def up_to_the_fraction(tables: Tables) -> Finding:
    """The accuracy lost at the dropout fraction, for each fraction and for true and corrupted labels."""
    curves = mean_curves(tables)
    parts = {}
    for (dropout, corruption), own in by_dropout(tables.runs).items():
        lost = [lost_before(*curves[run], dropout) for run in own["run"] if run in curves]
        parts[f"dropout {dropout:g}, corruption {corruption:g}"] = mean_interval(lost)
    return Finding(parts)


def past_the_fraction(tables: Tables) -> Finding:
    """How much more accuracy is kept past the dropout fraction with true labels than with corrupted ones."""
    curves = mean_curves(tables)
    by_condition = by_dropout(tables.runs)
    parts = {}
    for dropout in sorted({dropout for dropout, _ in by_condition}):
        kept = {}
        for corruption in (0.0, 1.0):
            own = by_condition.get((dropout, corruption), tables.runs.iloc[:0])
            shares = own.assign(
                kept=[kept_past(*curves[run], dropout) if run in curves else np.nan for run in own["run"]]
            )
            kept[corruption] = by_seed(shares, "kept")
        parts[f"dropout {dropout:g}"] = difference(kept[0.0], kept[1.0])
    return Finding(parts)


def alike(tables: Tables) -> Finding:
    """The differences in AUC between dropout fractions, with true labels."""
    true = {
        dropout: by_seed(own, "auc")
        for (dropout, corruption), own in by_dropout(tables.runs).items()
        if corruption == 0
    }
    parts = {f"dropout {a:g} and {b:g}": difference(true[a], true[b]) for a, b in combinations(sorted(true), 2)}
    return Finding(parts, {"margin": MARGIN})


def batch_norm(tables: Tables) -> Finding:
    """How much higher the AUC is with batch normalization, within seeds."""
    runs = tables.runs
    if "config.network.batch_norm" not in runs:
        return Finding({})
    on = runs["config.network.batch_norm"].astype(str) == "True"
    parts = {name: difference(by_seed(runs[on], name), by_seed(runs[~on], name)) for name in ("auc", "auc_normalized")}
    opposed = parts["auc"].value * parts["auc_normalized"].value < 0
    caveats = ("raw and normalized AUC differ in opposite directions",) if opposed else ()
    return Finding({"batch norm": parts["auc"]}, {"normalized": parts["auc_normalized"]}, caveats)


CLAIMS = (
    Claim(
        name="up_to_the_fraction",
        figures={"dropout": "4a"},
        paper="networks trained with dropout lose little training accuracy as units are ablated up to the dropout "
        "fraction, on corrupted and unmodified labels alike",
        statistic="accuracy lost with as large a fraction of units ablated as was dropped in training",
        where=f"between -{MARGIN} and {MARGIN}",
        region=(-MARGIN, MARGIN),
        find=up_to_the_fraction,
        several="dropout fractions with true and with corrupted labels",
    ),
    Claim(
        name="past_the_fraction",
        figures={"dropout": "4a"},
        paper="past the dropout fraction, networks trained on randomized labels are much more sensitive to ablation "
        "than those trained on unmodified labels",
        statistic="share of accuracy kept past the dropout fraction, true labels minus corrupted",
        where="above 0",
        region=POSITIVE,
        find=past_the_fraction,
        several="dropout fractions",
    ),
    Claim(
        name="alike",
        figures={"dropout": "4a"},
        paper="networks trained on unmodified labels with different dropout fractions are all similarly robust",
        statistic="difference in AUC between two dropout fractions, true labels",
        where=f"between -{MARGIN} and {MARGIN}",
        region=(-MARGIN, MARGIN),
        find=alike,
        several="pairs of dropout fractions",
    ),
    Claim(
        name="auc",
        figures={"batch_norm": "4b"},
        paper="networks trained with batch normalization are consistently and substantially more robust to ablation",
        statistic="AUC with batch norm minus AUC without",
        where="above 0",
        region=POSITIVE,
        find=batch_norm,
    ),
)  # fmt: skip
