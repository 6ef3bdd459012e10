"""What a choice of settings without a test set loses: a table for experiments of the user's own."""

import pandas as pd

from single_directions.experiments.section import Section
from single_directions.experiments.statistics import mean_interval
from single_directions.experiments.sweeps import is_own
from single_directions.experiments.wording import interval, number
from single_directions.report.markup import Markup, table, tag

RULES = {
    "highest normalized AUC": ("auc_normalized", True),
    "highest AUC": ("auc", True),
    "highest corrected AUC": ("auc_corrected", True),
    "least training loss": ("train_loss", False),
}
"""Ways to choose a run by training images alone: a column, and whether its greatest value is chosen."""


def choices(runs: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """The test accuracy of what each rule chooses among the conditions of one seed, and of what a test set would.

    A row a seed that has all conditions; columns are `RULES`, `at random` (the mean) and `highest test accuracy`.
    """
    found = {}
    amount = len(runs.drop_duplicates(conditions))
    for seed, alike in runs.dropna(subset=["test_accuracy"]).groupby("seed"):
        if len(alike.drop_duplicates(conditions)) < amount:
            continue
        accuracy = alike["test_accuracy"].astype(float)
        chosen = {"highest test accuracy": accuracy.max(), "at random": accuracy.mean()}
        for rule, (column, greatest) in RULES.items():
            values = alike[column].astype(float) if column in alike else pd.Series(dtype=float)
            if values.notna().any():
                chosen[rule] = accuracy.iloc[int(values.argmax() if greatest else values.argmin())]
        found[seed] = chosen
    return pd.DataFrame.from_dict(found, orient="index")


def choice(section: Section) -> Markup | None:
    """The table; None where nothing was to be chosen, as among trainings on different labels."""
    runs, conditions = section.runs, list(section.experiment.conditions)
    if not (is_own(section.experiment.name) and conditions) or runs["label_hash"].nunique() != 1:
        return None
    found = choices(runs, conditions)
    if found.empty:
        return None
    rows = []
    for rule in ("highest test accuracy", *RULES, "at random"):
        if rule in found:
            lost = mean_interval(found["highest test accuracy"] - found[rule])
            rows.append((rule, number(found[rule].mean()), interval(lost)))
    amount = len(runs.drop_duplicates(conditions))
    told = (
        f"Of {amount} settings, one is chosen for each of {len(found)} seeds by training images alone: its accuracy on "
        "test images, and what it loses against the highest of all; means over seeds with 95 % intervals (Student's t)."
    )
    heads = ("Chosen by", "Test accuracy", "Lost")
    return tag("div", tag("h3", "If settings were chosen without a test set"), tag("p", told), table(heads, rows))
