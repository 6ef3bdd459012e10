"""Figure 4a: does dropout make networks robust to ablation past the dropout fraction?"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import inf
from typing import Any

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from single_directions.experiments.claim import ALIKE, MARGIN, SUBSTANTIAL, Claim, Finding, by_seed
from single_directions.experiments.conditions import CORRUPTION, DROPOUT
from single_directions.experiments.departures import mlp
from single_directions.experiments.experiment import Experiment, Picture, register
from single_directions.experiments.pictures import by_condition
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import difference, mean_interval
from single_directions.experiments.tables import Tables


def by_dropout(runs: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    """The runs at each (dropout fraction, corruption); without dropout the fraction is 0."""
    columns = [DROPOUT, "corruption"]
    return dict(iter(runs.groupby(columns))) if set(columns) <= set(runs) else {}


def mean_curves(tables: Tables) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each run's curve, the mean over its orderings: fractions ablated and accuracies, both (points,)."""
    means = tables.final_curves.groupby(["run", "fraction_ablated"])["accuracy"].mean().reset_index()
    return {
        str(run): (curve["fraction_ablated"].to_numpy(), curve["accuracy"].to_numpy())
        for run, curve in means.groupby("run")
    }


def lost_before(fraction: np.ndarray, accuracy: np.ndarray, dropout: float) -> float:
    """The accuracy lost when the ablated fraction is the dropout fraction."""
    return float(accuracy[0] - np.interp(dropout, fraction, accuracy))


def kept_past(fraction: np.ndarray, accuracy: np.ndarray, dropout: float) -> float:
    """Mean accuracy past the dropout fraction, divided by the accuracy with nothing ablated (NaN if that is 0)."""
    past = fraction > dropout
    x = np.concatenate([[dropout], fraction[past]])
    y = np.concatenate([[np.interp(dropout, fraction, accuracy)], accuracy[past]])
    return float(trapezoid(y, x) / (1 - dropout) / accuracy[0]) if accuracy[0] > 0 and dropout < 1 else float("nan")


def up_to_the_fraction(tables: Tables) -> Finding:
    """The accuracy lost at the dropout fraction, for each fraction and for true and corrupted labels."""
    curves = mean_curves(tables)
    parts = {}
    for (dropout, corruption), own in by_dropout(tables.runs).items():
        if dropout > 0:
            lost = [lost_before(*curves[run], dropout) for run in own["run"] if run in curves]
            parts[f"dropout {dropout:g}, corruption {corruption:g}"] = mean_interval(lost)
    return Finding(parts)


def against_none(tables: Tables) -> Finding:
    """What networks that memorize keep past the dropout fraction, with dropout minus without."""
    by_condition = by_dropout(tables.runs)
    if (0.0, 1.0) not in by_condition:
        caveat = "there are no networks without dropout on corrupted labels at these settings: not measured"
        return Finding({}, caveats=(caveat,), measured=False)
    curves = mean_curves(tables)
    parts = {
        f"dropout {dropout:g}": difference(_kept(own, curves, dropout), _kept(by_condition[0.0, 1.0], curves, dropout))
        for (dropout, corruption), own in by_condition.items()
        if dropout > 0 and corruption == 1
    }
    return Finding(parts, {"margin": MARGIN})


def past_the_fraction(tables: Tables) -> Finding:
    """What networks keep past the dropout fraction, with true labels minus with corrupted ones."""
    curves = mean_curves(tables)
    by_condition = by_dropout(tables.runs)
    none = tables.runs.iloc[:0]
    parts = {
        f"dropout {dropout:g}": difference(
            *(_kept(by_condition.get((dropout, corruption), none), curves, dropout) for corruption in (0.0, 1.0))
        )
        for dropout in sorted({dropout for dropout, _ in by_condition if dropout > 0})
    }
    return Finding(parts, {"margin": MARGIN})


def _kept(runs: pd.DataFrame, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], dropout: float) -> pd.Series:
    """The share of its accuracy that each network keeps past a fraction, by seed."""
    kept = [kept_past(*curves[run], dropout) if run in curves else np.nan for run in runs["run"]]
    return by_seed(runs.assign(kept=kept), "kept")


def alike(tables: Tables) -> Finding:
    """The differences in AUC between dropout fractions, with true labels."""
    true = {
        dropout: by_seed(own, "auc")
        for (dropout, corruption), own in by_dropout(tables.runs).items()
        if corruption == 0 and dropout > 0
    }
    parts = {f"dropout {a:g} and {b:g}": difference(true[a], true[b]) for a, b in combinations(sorted(true), 2)}
    return Finding(parts, {"margin": MARGIN})


CLAIMS = (
    Claim(
        name="against_none",
        role="main",  # the section concludes this, and the abstract repeats it
        paper="dropout does not prevent over-reliance on single directions past the dropout fraction used in training",
        statistic="share of accuracy kept past the dropout fraction by networks that memorize, trained with dropout "
        "minus without any",
        where=f"below {MARGIN}",
        region=(-inf, MARGIN),
        find=against_none,
        several="dropout fractions",
    ),
    Claim(
        name="up_to_the_fraction",
        paper="networks trained with dropout lose little training accuracy as units are ablated up to the dropout "
        "fraction, on corrupted and unmodified labels alike",
        statistic="accuracy lost with as large a fraction of units ablated as was dropped in training",
        where=f"between -{MARGIN} and {MARGIN}",
        region=ALIKE,
        find=up_to_the_fraction,
        several="dropout fractions with true and with corrupted labels",
    ),
    Claim(
        name="past_the_fraction",
        paper="past the dropout fraction, networks trained on randomized labels are much more sensitive to ablation "
        "than those trained on unmodified labels",
        statistic="share of accuracy kept past the dropout fraction, true labels minus corrupted",
        where=f"above {MARGIN}",
        region=SUBSTANTIAL,
        find=past_the_fraction,
        several="dropout fractions",
    ),
    Claim(
        name="alike",
        paper="networks trained on unmodified labels with different dropout fractions are all similarly robust",
        statistic="difference in AUC between two dropout fractions, true labels",
        where=f"between -{MARGIN} and {MARGIN}",
        region=ALIKE,
        find=alike,
        several="pairs of dropout fractions",
    ),
)


def draw(section: Section) -> Iterator[Picture]:
    """Figure 4a, with a line at each dropout fraction, and the area under each curve."""
    conditions = section.conditions()
    fractions = [(float(one.runs[DROPOUT].iloc[0]), one.colour) for one in conditions if DROPOUT in one.runs]
    yield from by_condition(section, verticals=list(dict.fromkeys(one for one in fractions if one[0] > 0)))


register(
    Experiment(
        name="dropout",
        figure="4a",
        heading="Dropout",
        asks="True and shuffled labels were learnt with dropout. Does it guard against ablation past its own fraction?",
        conditions=(DROPOUT, CORRUPTION),
        claims=CLAIMS,
        pictures=draw,
        papers=True,
        settings=mlp(2048, epochs=5000),
    )
)
