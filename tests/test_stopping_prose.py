"""What the pages say about stopping signals, against the committed table of that study."""

import re

import pandas as pd
import pytest
from test_stopping import RESULT, ROOT, stopping

START, END = "<!-- stopping signals", "<!-- end of stopping signals -->"
RULES = {
    "the corrected AUC": "auc_corrected",
    "the normalized AUC (the paper's)": "auc_normalized",
    "the raw AUC": "auc",
    "loss on a held-out tenth of the training images": "held_out",
    "first minimum of changed predictions (Label Wave)": "label_wave_first",
    "nothing": "none",
}
ROW = re.compile(r"^\| ([^|]+) \| ([\d.]+) \[([\d.]+), ([\d.]+)\] \| ([\d.]+) \|$", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(RESULT / "stopping.csv")


@pytest.fixture(scope="module")
def told():
    """The marked parts of README.md and of the guide, each on one line for a paragraph or a row."""
    texts = [file.read_text() for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    parts = [part for text in texts for part in re.findall(f"{START}.*?-->(.*?){END}", text, flags=re.DOTALL)]
    assert parts
    return [re.sub(r"(?<!\|)\n(?![\n|])", " ", part) for part in parts]


def numbers(text):
    return re.findall(r"\d+(?:[.,]\d+)*", text)


def without(text, pattern):
    """The text without the one passage of the pattern, and the numbers of its groups."""
    [match] = re.finditer(pattern, text)
    return text[: match.start()] + text[match.end() :], [float(group.replace(",", "")) for group in match.groups()]


def same(number, value):
    """Whether a number with one digit after the point is the value, up to a rounding that another machine may do."""
    return abs(float(number) - value) <= 0.0501


def test_each_row_has_the_losses_of_its_rule(told, table):
    for part in told:
        rows = {name: shown for name, *shown in ROW.findall(part)}
        assert rows.keys() == RULES.keys()
        for name, (mean, low, high, worst) in rows.items():
            losses = 100 * stopping.by_condition(table, RULES[name])
            found = stopping.mean_interval(losses)
            assert same(mean, found.value), name
            assert same(low, found.low), name
            assert same(high, found.high), name
            assert same(worst, losses.max()), name


def test_the_conditions_are_those_of_the_table(told, table):
    conditions = table.groupby(stopping.CONDITION)["seed"].nunique()
    for part in told:
        rest, found = without(
            ROW.sub("", part),
            r"(\d+) conditions on MNIST\W+(\d+), (\d+) or (\d+) % of the labels shuffled, SGD or Adam, ([\d,]+) or "
            r"([\d,]+) images, n = (\d+)\s",
        )
        levels = [100 * level for level in sorted(table["corruption"].unique())]
        assert found == [len(conditions), *levels, *sorted(table["images"].unique()), conditions.iloc[0]]
        assert conditions.nunique() == 1
        rest, [patience] = without(rest, r"patience (\d+)")
        assert patience == stopping.patience.__defaults__[1]
        assert numbers(rest) == []


def test_what_is_said_in_short_holds(table):
    text = (RESULT / "README.md").read_text()
    text = " ".join(text.partition("## In short")[2].partition(stopping.MARK)[0].split())
    fell = table[table["rule"].isin(["auc_normalized", "auc_corrected"])]

    text, [points, epochs] = without(text, r"once lost ([\d.]+) points, by stopping after (\d+) epochs")
    for rule in ("auc_normalized", "auc_corrected"):
        worst = table.loc[table[(table["rule"] == rule) & (table["corruption"] == 0)]["loss"].idxmax()]
        assert same(points, 100 * worst["loss"])
        assert worst["ended"] == epochs
    text, [images] = without(
        text,
        r"on ([\d,]+) images with shuffled labels they are highest after one of the first four epochs, up to three "
        r"epochs before the best network",
    )
    early = fell[(fell["corruption"] > 0) & (fell["images"] == images)]
    assert early["kept"].max() == 4
    assert (early["best"] - early["kept"]).max() == 3
    text, [same_epoch, trainings] = without(text, r"they keep the same epoch in (\d+) of (\d+) trainings")
    kept = fell.pivot(index=stopping.TRAINING, columns="rule", values="kept")
    assert [same_epoch, trainings] == [(kept["auc_normalized"] == kept["auc_corrected"]).sum(), len(kept)]
    text, ends = without(text, r"loses as much, ends after (\d+) to (\d+) epochs")
    first = table[table["rule"] == "label_wave_first"]["ended"]
    assert ends == [first.min(), first.max()]
    text, [patience, images] = without(
        text, r"With patience (\d+) in place of the first minimum Label Wave fails on ([\d,]+) images"
    )
    assert patience == stopping.patience.__defaults__[1]
    lost = {rule: stopping.by_condition(table, rule) for rule in ("label_wave", "label_wave_first", "none", "auc")}
    few = lost["label_wave"].xs(images, level="images").drop(0, level="corruption")
    assert few.min() > 4 * stopping.FAILS
    assert numbers(text) == []

    half = [lost[rule].xs(0.5, level="corruption") for rule in ("auc", "none")]
    assert (half[0] - half[1]).abs().max() < 0.02  # "as bad as those of the last epoch"
    assert lost["none"].xs(0, level="corruption").max() < 0.001  # "the last epoch is as good as the best"
    assert stopping.recommended(table) == "auc_corrected"
