"""What the report says about the runs of own.yaml: the question, the conditions, a claim and the figures."""

from collections.abc import Iterator

from single_directions.experiments import (
    POSITIVE,
    Claim,
    Experiment,
    Finding,
    Picture,
    Section,
    Tables,
    by_column,
    by_condition,
    by_seed,
    difference,
    register,
)

CORRUPTION, WIDTH = "config.data.corruption", "config.network.width"  # columns of the table of runs, runs.csv


def auc(tables: Tables) -> Finding:
    """How much higher the AUC is with true labels than with shuffled ones: at each width, within seeds."""
    parts = {}
    for width, runs in by_column(tables.runs, WIDTH).items():
        by_corruption = {level: by_seed(own, "auc") for level, own in by_column(runs, CORRUPTION).items()}
        if {0, 1} <= by_corruption.keys():
            parts[f"width {width:g}"] = difference(by_corruption[0], by_corruption[1])
    return Finding(parts)


def draw(section: Section) -> Iterator[Picture]:
    """Accuracy against units ablated, and the area under each curve, by condition."""
    yield from by_condition(section)


register(
    Experiment(
        name="own",
        heading="Memorization at two widths",
        asks="Do networks that memorize shuffled labels rely more on single directions, whatever their width?",
        conditions=(CORRUPTION, WIDTH),
        claims=(
            Claim(
                name="auc",
                role="main",
                paper="networks that memorize shuffled labels have a lower AUC, at either width",
                statistic="AUC with true labels minus AUC with shuffled labels",
                where="above 0",
                region=POSITIVE,  # the interval of every width must lie there
                find=auc,
                several="widths",
            ),
        ),
        pictures=draw,
    )
)
