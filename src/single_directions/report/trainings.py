"""Trainings whose AUC was measured after every epoch, in tables."""

from collections.abc import Mapping

import pandas as pd

from single_directions.experiments.section import Section
from single_directions.experiments.training import FOLLOWED, Training, by_run
from single_directions.experiments.wording import number
from single_directions.report.markup import Markup, table, tag


def trainings(section: Section) -> list[Markup] | None:
    """A row a training: where its AUC and its test loss turned; and a row a condition: what the AUC follows."""
    if section.measured_epochs.empty:
        return None
    measured = by_run(section.tables)
    heads = ("Condition", "Seed", "Spearman(normalized AUC, test loss)", "Highest AUC", "at epoch", "test loss there",
             "Least test loss", "at epoch", "Epochs")  # fmt: skip
    rows = []
    for condition in section.conditions():
        for run, seed in zip(condition.runs["run"], condition.runs["seed"], strict=True):
            if run not in measured:
                continue
            one = measured[run].epochs.dropna(subset=["test_loss"]).set_index("epoch")
            if one.empty:
                continue
            peak, least = one["auc"].idxmax(), one["test_loss"].idxmin()
            rows.append(
                (
                    tag("span", condition.label, class_="nowrap"),
                    f"{seed:.0f}",
                    number(measured[run].correlation),
                    number(one.at[peak, "auc"]),
                    peak,
                    number(one.at[peak, "test_loss"]),
                    number(one.at[least, "test_loss"]),
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
            "Spearman's correlation of normalized AUC and test loss before and after the epoch of the least test loss "
            "(the smoothed one), that of AUC and training loss over all epochs, and the best test accuracy minus the "
            "last (both smoothed): the mean over trainings, and the least to the most.",
        ),
        _followed(section, measured),
    ]


def _followed(section: Section, measured: Mapping[str, Training]) -> Markup:
    rows = []
    for condition in section.conditions():
        each = [measured[run].followed for run in condition.runs["run"] if run in measured]
        told = pd.DataFrame(each, columns=FOLLOWED)
        rows.append((tag("span", condition.label, class_="nowrap"), len(told), *(_spread(told[name]) for name in told)))
    return table(("Condition", "n", *FOLLOWED), rows)


def _spread(values: pd.Series) -> str:
    """The mean, and the least to the most where there are several."""
    mean = number(values.mean(), 2)
    return f"{mean} ({number(values.min(), 2)} to {number(values.max(), 2)})" if values.count() > 1 else mean
