"""The command line: `python scripts/report.py runs`."""

import argparse
import sys
from pathlib import Path

from single_directions.errors import BadInput
from single_directions.report.figures import ablation_figure, save
from single_directions.report.sweeps import SWEEP, by_condition
from single_directions.report.table import Tables, read_tables


def report() -> None:
    """Print a table for each memorization sweep among the runs, and draw its figure."""
    parser = argparse.ArgumentParser(description="Tables and figures of the runs in a folder.")
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="the folder of all runs")
    parser.add_argument("--output", type=Path, default=Path("report"), help="where figures go")
    arguments = parser.parse_args()
    try:
        _report(read_tables([arguments.runs]), arguments.output)
    except BadInput as error:
        sys.exit(str(error))


def _report(tables: Tables, output: Path) -> None:
    runs = tables.runs
    for state, others in runs[runs["state"] != "done"].groupby("state"):
        print(f"{len(others)} {state}, left out: {', '.join(others['run'])}")
    memorization = runs[(runs["state"] == "done") & (runs["experiment"] == "memorization")]
    if memorization.empty:
        raise BadInput("no memorization run is done: python scripts/train.py -m experiment=memorization")
    sweeps = memorization.groupby(SWEEP)
    for key, sweep in sweeps:
        _, scale, data, variant = map(str, key)
        place = ", ".join(filter(None, (f"{data} at {scale} scale", variant)))
        orderings = int(sweep["orderings"].min())
        networks = sweep["corruption"].value_counts()
        count = f"{networks.min()}" if networks.min() == networks.max() else f"{networks.min()} to {networks.max()}"
        print(f"\nmemorization (Figure 1): {place}\n{by_condition(sweep).to_string(index=False)}")
        title = (
            f"{place}: {count} {'networks' if networks.max() > 1 else 'network'} a level, {orderings} orderings each"
        )
        curves = tables.of(sweep).final_curves.merge(sweep[["run", "corruption"]])
        figure = ablation_figure(curves, 1 / sweep["classes"].iloc[0], title)
        name = "figure_1a" if len(sweeps) == 1 else "_".join(filter(None, ("figure_1a", f"{scale}-{data}", variant)))
        print(f"figure: {save(figure, output / name)[0]}")
