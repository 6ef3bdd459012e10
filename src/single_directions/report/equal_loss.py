"""Figure 1 at equal training loss, in words and as a table."""

from single_directions.experiments.equal_loss import Matched
from single_directions.experiments.wording import interval, number
from single_directions.report.markup import Markup, table, tag


def equal_loss(matched: Matched) -> list[Markup]:
    """Whether the gap remains, and the gap at each training loss that all trainings reach."""
    told = [
        f"At training loss {level.loss:.2g}, the least that all reach, the normalized AUC is {number(level.true)} with "
        f"true labels and {number(level.corrupted)} with {100 * level.corruption:.0f} % of the labels corrupted: lower "
        f"by {interval(level.gap)}, n = {level.gap.n}. After the last epoch it is lower by "
        f"{interval(matched.at_the_end[level.corruption])}. {_remains(level.gap.low, level.gap.high)}"
        for level in matched.levels
        if level.loss == matched.reached
    ]
    rows = [
        (f"{level.loss:.2g}", f"{100 * level.corruption:.0f} %", number(level.true), number(level.corrupted),
         tag("span", interval(level.gap), class_="nowrap"), level.gap.n)
        for level in matched.levels
    ]  # fmt: skip
    heads = ("Training loss", "Corrupted", "AUC with true labels", "with corrupted ones", "lower by", "n")
    asked = (
        "Networks that memorize come down to a given training loss later. Is that all that sets them apart? Trainings "
        "of the same settings, of whatever experiment, that measured their AUC after every epoch are compared where "
        "their training losses are equal (by the losses' logarithm between epochs). This check is not in the paper."
    )
    return [
        tag("h3", "At equal training loss"),
        tag("p", asked),
        *(tag("p", one) for one in told),
        table(heads, rows),
    ]


def _remains(low: float, high: float) -> str:
    if low > 0:
        return "So the gap remains at equal training loss."
    return "So the gap is the other way at equal training loss." if high < 0 else "So a gap at equal loss is not shown."
