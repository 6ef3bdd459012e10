"""What a way to measure the AUC resolves of a training's changes, and the choice of the callback's defaults.

The rules below were fixed before any of the trainings was measured for them.
"""

from typing import Any

import pandas as pd

from single_directions.benchmark.measured import ITSELF, LAGS, PATIENCES, PEAK, UNIT, Measured, error, orderings_to_see
from single_directions.benchmark.watch import FINEST, Setting

TIMES = 2
"""A change is seen if it is larger than so many of its standard errors."""
RESOLVED = 0.8
"""A kind of change is resolved if at least this share of its changes is seen."""
PATIENCE = 10
"""The fall from the peak to so many epochs later is what the defaults are to measure most precisely."""
BUDGET, FEWEST = 0.06, 500
"""They may cost this share of an epoch of 60,000 images, and take no fewer images: accuracy on them is logged, too."""
MNIST = 60_000
NEEDED = f"orderings to see {PATIENCE} later"
AFTER = f"peak to {PATIENCE} later"
KEYS = ("orderings", "points", "images")


def peaks(measured: Measured) -> dict[int, int]:
    """The epoch of each training's largest AUC."""
    series = {number: measured.auc(number, FINEST) for number in measured.changes["training"].unique()}
    return {number: int(auc.index[int(auc.to_numpy().argmax())]) for number, auc in series.items()}


def turned(measured: Measured) -> list[int]:
    """The trainings whose AUC is largest before the last tenth of their epochs."""
    return [number for number, peak in peaks(measured).items() if peak <= 0.9 * len(measured.auc(number, FINEST))]


def kinds(measured: Measured) -> dict[str, pd.DataFrame]:
    """The changes of each kind: over so many epochs up to the peak, and, where the AUC turns down, those after it."""
    rows = measured.changes.assign(peak=measured.changes["training"].map(peaks(measured)))
    falling = rows[rows["training"].isin(turned(measured))]
    rises = {f"rise in {lag}": rows[(rows["since"] == str(lag)) & (rows["epoch"] <= rows["peak"])] for lag in LAGS}
    falls = {
        f"fall in {lag}": falling[(falling["since"] == str(lag)) & (falling["epoch"] - lag >= falling["peak"])]
        for lag in LAGS
    }
    since = falling[falling["since"] == PEAK]
    since_peak = {f"peak to {wait} later": since[since["epoch"] - wait == since["peak"]] for wait in PATIENCES}
    return {**rises, **falls, **since_peak}


def is_seen(rows: pd.DataFrame, setting: Setting) -> pd.Series:
    """Of each change, whether it is larger than twice the error that a setting has of it."""
    return (rows[f"change_{FINEST}"] / UNIT).abs() > TIMES * error(rows, setting)


def precision(measured: Measured) -> pd.DataFrame:
    """A row a setting: its errors of an AUC, of its changes and of the fall, and what it costs."""
    itself = measured.changes[measured.changes["since"] == ITSELF]
    of_kind = kinds(measured)
    rows = []
    for setting, cost in measured.costs.items():
        off = (itself[f"change_{setting[1]}"] - itself[f"change_{FINEST}"]) / UNIT
        row: dict[str, Any] = dict(zip(KEYS, setting, strict=True))
        row |= {"AUC ±": error(itself, setting).median(), "by points": (off**2).mean() ** 0.5}
        row |= {f"{kind} ±": error(of_kind[kind], setting).median() for kind in ("rise in 10", "fall in 10", AFTER)}
        rows.append({**row, "cost": cost, "of an epoch": cost / MNIST})
    return pd.DataFrame(rows)


def seen(measured: Measured) -> pd.DataFrame:
    """A row a setting of at most half the orderings by which changes are known: the share of each kind that it sees."""
    rows, of_kind = [], kinds(measured)
    for setting in measured.costs:
        if 2 * setting[0] <= measured.about["orderings"]:
            row: dict[str, Any] = dict(zip(KEYS, setting, strict=True))
            rows.append(row | {kind: is_seen(changes, setting).mean() for kind, changes in of_kind.items()})
    return pd.DataFrame(rows)


def sizes(measured: Measured) -> pd.DataFrame:
    """A row a kind of change: how many there are, how large the median is, and how well that is known."""
    whole = (measured.about["orderings"], FINEST, measured.about["images"])
    rows = [
        {
            "change": kind,
            "how many": len(changes),
            "size": (changes[f"change_{FINEST}"] / UNIT).abs().median(),
            "known ±": error(changes, whole).median(),
        }
        for kind, changes in kinds(measured).items()
    ]
    return pd.DataFrame(rows)


def falls(measured: Measured, setting: Setting) -> pd.DataFrame:
    """A row a training that turns down: its peak, how far it falls, and how that is seen by a setting.

    This is by how many orderings instead it would be after `PATIENCE` epochs, and after how many epochs it is for good.
    """
    rows = []
    for number in turned(measured):
        own = measured.changes[measured.changes["training"] == number]
        since, peak = own[own["since"] == PEAK], peaks(measured)[number]
        by_wait = dict(zip(since["epoch"] - peak, -since[f"change_{FINEST}"] / UNIT, strict=True))
        unseen = since["epoch"][~is_seen(since, setting)]
        last = int(unseen.max()) if len(unseen) else peak
        row: dict[str, Any] = {"training": number, "peak": peak, "AUC": measured.auc(number, FINEST)[peak]}
        row |= {f"fallen by {wait} later": by_wait.get(wait, float("nan")) for wait in PATIENCES}
        row["at the end"] = by_wait[max(by_wait)]
        at_patience = since[since["epoch"] - peak == PATIENCE]
        row[NEEDED] = next(iter(orderings_to_see(at_patience, TIMES, *setting[1:])), float("nan"))
        row["seen for good after"] = last + 1 - peak if last < since["epoch"].max() else None
        rows.append(row)
    return pd.DataFrame(rows)


def choice(measured: Measured) -> Setting:
    """The setting that measures the fall with the least error, of those that are cheap and take enough images."""
    table = precision(measured)
    allowed = table[(table["of an epoch"] <= BUDGET) & (table["images"] >= FEWEST)]
    best = allowed.iloc[int(allowed[f"{AFTER} ±"].to_numpy().argmin())]
    return int(best["orderings"]), int(best["points"]), int(best["images"])
