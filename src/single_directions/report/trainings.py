"""Trainings whose AUC was measured after every epoch, in tables."""

import pandas as pd

from single_directions.report.claims.early_stopping import FOLLOWED, by_run
from single_directions.report.markup import Markup, table, tag
from single_directions.report.section import Section
from single_directions.report.statistics import spearman
from single_directions.report.wording import number


def trainings(section: Section) -> list[Markup] | None:
    """A row a training: where its AUC and its test loss turned; and a row a condition: what the AUC follows."""
    epochs = section.measured_epochs
    if epochs.empty:
        return None
    heads = ("Condition", "Seed", "Spearman(AUC, test loss)", "Highest AUC", "at epoch", "test loss there",
             "Least test loss", "at epoch", "Epochs")  # fmt: skip
    rows = []
    for condition in section.conditions():
        for run, seed in zip(condition.runs["run"], condition.runs["seed"], strict=True):
            one = epochs[epochs["run"] == run].set_index("epoch")
            if one.empty:
                continue
            peak, least = one["ablation/auc"].idxmax(), one["test/loss"].idxmin()
            rows.append(
                (
                    tag("span", condition.label, class_="nowrap"),
                    f"{seed:.0f}",
                    number(spearman(one["ablation/auc"], one["test/loss"])),
                    number(one.at[peak, "ablation/auc"]),
                    peak,
                    number(one.at[peak, "test/loss"]),
                    number(one.at[least, "test/loss"]),
                    least,
                    len(one),
                )
            )
    return [
        tag("h3", "By training"),
        table(heads, rows),
        tag("h3", "What the AUC follows"),
        tag(
            "p",
            "Spearman's correlation of AUC and test loss before and after the epoch of the least test loss (the "
            "smoothed one), that of AUC and training loss over all epochs, and the best test accuracy minus the last "
            "(both smoothed): the mean over trainings, and the least to the most.",
        ),
        _followed(section),
    ]


def _followed(section: Section) -> Markup:
    of_run = by_run(section.tables)
    rows = []
    for condition in section.conditions():
        told = pd.DataFrame([of_run[run].followed for run in condition.runs["run"] if run in of_run])
        rows.append((tag("span", condition.label, class_="nowrap"), len(told), *(_spread(told[name]) for name in told)))
    return table(("Condition", "n", *FOLLOWED), rows)


def _spread(values: pd.Series) -> str:
    """The mean, and the least to the most where there are several."""
    mean = number(values.mean(), 2)
    return f"{mean} ({number(values.min(), 2)} to {number(values.max(), 2)})" if values.count() > 1 else mean
