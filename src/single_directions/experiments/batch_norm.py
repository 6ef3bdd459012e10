"""Figure 4b: does batch normalization make networks robust to ablation?"""

from functools import partial

from single_directions.experiments.claim import MARGIN, SUBSTANTIAL, Claim, Finding, by_seed
from single_directions.experiments.conditions import BATCH_NORM
from single_directions.experiments.departures import CONVNET
from single_directions.experiments.experiment import Experiment, register
from single_directions.experiments.pictures import by_condition
from single_directions.experiments.statistics import difference
from single_directions.experiments.tables import Tables


def auc(tables: Tables) -> Finding:
    """The AUC with batch normalization minus that without, within seeds."""
    runs = tables.runs
    if BATCH_NORM not in runs:
        return Finding({})
    on = runs[BATCH_NORM].astype(str) == "True"
    parts = {name: difference(by_seed(runs[on], name), by_seed(runs[~on], name)) for name in ("auc", "auc_normalized")}
    opposed = parts["auc"].value * parts["auc_normalized"].value < 0
    caveats = ("raw and normalized AUC differ in opposite directions",) if opposed else ()
    details = {"normalized": parts["auc_normalized"], "margin": MARGIN}
    return Finding({"batch norm": parts["auc"]}, details, caveats)


CLAIMS = (
    Claim(
        name="auc",
        role="main",
        paper="networks trained with batch normalization are consistently and substantially more robust to ablation",
        statistic="AUC with batch norm minus AUC without",
        where=f"above {MARGIN}",
        region=SUBSTANTIAL,
        find=auc,
    ),
)

register(
    Experiment(
        name="batch_norm",
        figure="4b",
        heading="Batch normalization",
        asks="The same network with and without batch norm. Does it rely less on single directions with it?",
        conditions=(BATCH_NORM,),
        claims=CLAIMS,
        pictures=partial(by_condition, spread="curves"),
        papers=True,
        settings=CONVNET,
    )
)
