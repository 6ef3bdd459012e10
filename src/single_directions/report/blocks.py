"""The tables of a section that stand beside its claims."""

from collections.abc import Iterator
from math import inf

import pandas as pd

from single_directions.experiments.claim import accuracy_column
from single_directions.experiments.equal_loss import Matched
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import mean_interval
from single_directions.experiments.sweeps import is_own
from single_directions.experiments.training import FOLLOWED, by_run
from single_directions.experiments.wording import interval, number
from single_directions.report.views import Block, Cell, interval_cell, table

RULES = {
    "highest normalized AUC": ("auc_normalized", True),
    "highest AUC": ("auc", True),
    "highest corrected AUC": ("auc_corrected", True),
    "least training loss": ("train_loss", False),
}
"""Ways to choose a run by training images alone: a column, and whether its greatest value is chosen."""


def blocks(section: Section) -> Iterator[Block]:
    """All of a section's tables, but for that at equal training loss."""
    yield conditions(section)
    if (chosen := choice(section)) is not None:
        yield chosen
    if not section.measured_epochs.empty:
        yield from trainings(section)


def conditions(section: Section) -> Block:
    """One row per condition: accuracies, losses and AUC, means over networks."""
    heads = ("Condition", "Networks", "Train accuracy", "Test accuracy", "Train loss", "Test loss",
             "AUC [95 % interval]", "Normalized AUC [95 % interval]",
             "SD over orderings", "SD over networks")  # fmt: skip
    rows = [
        (
            Cell(one.label, "number"),
            len(one.runs),
            *(number(one.runs[accuracy_column(one.runs, split)].mean()) for split in ("train", "test")),
            *(_loss(one.runs, split) for split in ("train", "test")),
            _mean(one.runs["auc"], (0, 1)),
            _mean(one.runs["auc_normalized"], (0, inf)),
            number((one.runs["auc_std"].astype(float) ** 2).mean() ** 0.5),
            number(one.runs["auc"].astype(float).std()),
        )
        for one in section.conditions()
    ]
    return Block("By condition", table=table(heads, rows))


def _loss(runs: pd.DataFrame, split: str) -> str:
    """The mean loss to two digits, since training losses range over orders of magnitude."""
    mean = runs.get(f"{split}_loss", pd.Series(dtype=float)).mean()
    return f"{mean:#.2g}" if mean < 9.95 else number(mean, 0)


def _mean(values: pd.Series, bounds: tuple[float, float] = (-inf, inf)) -> Cell:
    return interval_cell(mean_interval(values.astype(float), bounds))


def equal_loss(matched: Matched) -> Block:
    """Figure 1 at equal training loss: whether the gap remains, and the gap at each loss that all trainings reach."""
    findings = [
        f"At training loss {level.loss:.2g}, the least that all reach, the normalized AUC is {number(level.true)} with "
        f"true labels and {number(level.corrupted)} with {100 * level.corruption:.0f} % of the labels corrupted: lower "
        f"by {interval(level.gap)}, n = {level.gap.n}. After the last epoch it is lower by "
        f"{interval(matched.at_the_end[level.corruption])}. {_remains(level.gap.low, level.gap.high)}"
        for level in matched.levels
        if level.loss == matched.reached
    ]
    rows = [
        (f"{level.loss:.2g}", f"{100 * level.corruption:.0f} %", number(level.true), number(level.corrupted),
         interval_cell(level.gap), level.gap.n)
        for level in matched.levels
    ]  # fmt: skip
    heads = ("Training loss", "Corrupted", "AUC with true labels", "AUC with corrupted labels", "Lower by", "n")
    asked = (
        "Networks that memorize reach a given training loss later. Is that the whole difference? To check it, "
        "trainings with the same settings that measured their AUC after every epoch are compared at equal training "
        "loss (interpolated between epochs on the logarithm of the loss). This check is not in the paper."
    )
    return Block("At equal training loss", (asked, *findings), table(heads, rows))


def _remains(low: float, high: float) -> str:
    if low > 0:
        return "So the gap remains at equal training loss."
    return "So the gap is the other way at equal training loss." if high < 0 else "So a gap at equal loss is not shown."


def choices(runs: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """The test accuracy of what each rule chooses among the conditions of one seed, and of what a test set would.

    One row per seed that has all conditions; columns are `RULES`, `at random` (the mean) and `highest test accuracy`.
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


def choice(section: Section) -> Block | None:
    """What a choice of settings without a test set loses, for the user's own experiments.

    None where there was nothing to choose, as among trainings on different labels.
    """
    runs, keys = section.runs, list(section.experiment.conditions)
    if not (is_own(section.experiment.name) and keys) or runs["label_hash"].nunique() != 1:
        return None
    found = choices(runs, keys)
    if found.empty:
        return None
    rows = [
        (rule, number(found[rule].mean()), _mean(found["highest test accuracy"] - found[rule]))
        for rule in ("highest test accuracy", *RULES, "at random")
        if rule in found
    ]
    text = (
        f"For each of {len(found)} seeds, one of {len(runs.drop_duplicates(keys))} settings is chosen by training "
        "images alone. The table shows the test accuracy of what was chosen, and how much that is below the highest: "
        "means over seeds with 95 % intervals (Student's t)."
    )
    return Block(
        "If settings were chosen without a test set", (text,), table(("Chosen by", "Test accuracy", "Lost"), rows)
    )


def trainings(section: Section) -> Iterator[Block]:
    """One row per training: where its AUC and test loss turned; and one per condition: what the AUC follows."""
    measured = by_run(section.tables)
    rows: list[tuple[object, ...]] = []
    followed: list[tuple[object, ...]] = []
    for condition in section.conditions():
        label, runs = Cell(condition.label, "number"), condition.runs
        own = [(measured[run], seed) for run, seed in zip(runs["run"], runs["seed"], strict=True) if run in measured]
        for training, seed in own:
            one = training.epochs.dropna(subset=["test_loss"]).set_index("epoch")
            if one.empty:
                continue
            peak, least = one["auc"].idxmax(), one["test_loss"].idxmin()
            rows.append((label, f"{seed:.0f}", number(training.correlation), number(one.at[peak, "auc"]), peak,
                         number(one.at[peak, "test_loss"]), number(one.at[least, "test_loss"]), least,
                         len(one)))  # fmt: skip
        each = pd.DataFrame([training.followed for training, _ in own], columns=FOLLOWED)
        followed.append((label, len(each), *(_spread(each[name]) for name in FOLLOWED)))
    heads = ("Condition", "Seed", "Spearman(normalized AUC, test loss)", "Highest normalized AUC", "at epoch",
             "test loss there", "Least test loss", "at epoch", "Epochs")  # fmt: skip
    single = "These are single measurements; the claims go by running medians over five of them."
    yield Block("By training", (single,), table(heads, rows))
    text = (
        "Spearman's correlation of normalized AUC and test loss, before and after the epoch with the least (smoothed) "
        "test loss; that of AUC and training loss over all epochs; and the best minus the last test accuracy (both "
        "smoothed). The table shows the mean over trainings and, in brackets, the range."
    )
    yield Block("What the AUC follows", (text,), table(("Condition", "n", *FOLLOWED), followed))


def _spread(values: pd.Series) -> str:
    """The mean, and the least to the most where there are several."""
    mean = number(values.mean(), 2)
    return f"{mean} ({number(values.min(), 2)} to {number(values.max(), 2)})" if values.count() > 1 else mean
