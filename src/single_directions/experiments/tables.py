"""The three tables that a report is made of, and their files."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from single_directions.runs.folder import write_text


@dataclass(frozen=True, eq=False)
class Tables:
    """All that a report is made of, without the paths of the machine that it came from.

    Attributes:
        runs: a row for each run, sorted by name. `run` is "<experiment>/<scale>-<data>/<name>" with the name of
            `identity.full_name`; `state` that of `status.json`, or "broken" where files are missing or cannot be read;
            `reason` says why a run failed or is broken; then `experiment`, `scale`, `data`, `variant` (see
            `sweeps.variants`); `overrides` (a JSON list, see `identity.assignments`), `command`, `commit` and
            `identity` as the run recorded them; `finished`, everything else in `summary.json` (nested keys joined by
            dots), and every key of `config.yaml` after the prefix `config.`.
        curves: `run`, `epoch`, `ordering`, `units_ablated`, `fraction_ablated`, `accuracy`, of runs that are done. The
            curve measured after training has no epoch (NaN), those of `epoch_curves.csv` have theirs.
        epochs: `run`, then the columns of `metrics.csv`, of runs that are done.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    epochs: pd.DataFrame

    @property
    def final_curves(self) -> pd.DataFrame:
        """The curves measured after training: `curves` without epochs."""
        return self.curves[self.curves["epoch"].isna()].drop(columns="epoch")

    def of(self, runs: pd.DataFrame) -> "Tables":
        """The tables of some of the runs, which may have gained columns."""
        names = set(runs["run"])
        return Tables(runs, *(table[table["run"].isin(names)] for table in (self.curves, self.epochs)))

    def write(self, folder: Path, small: bool = False) -> None:
        """Write `runs.csv`, `curves.csv` and `epochs.csv`; `reading.read_tables` gives them back equal.

        If `small`, it gives back what a report needs: six digits of curves and epochs, without the curves of single
        epochs. A run's name then stands in the first of its rows alone.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("runs", "curves", "epochs"):
            table, digits = getattr(self, name), None
            if small and name != "runs":
                table = table[table["epoch"].isna()] if name == "curves" else table
                table, digits = table.assign(run=table["run"].mask(table["run"].eq(table["run"].shift()))), "%.6g"
            write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format=digits))
