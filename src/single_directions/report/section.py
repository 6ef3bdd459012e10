"""What a section of the report is about: one sweep's runs, curves, epochs and claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from single_directions.report.experiments import EXPERIMENTS, Condition, Experiment, conditions_of

Claim = dict[str, Any]
TRAINING = ["train/loss", "test/loss", "ablation/auc"]
"""Columns of epochs at which the AUC was measured too."""


@dataclass(frozen=True)
class Section:
    """The runs of one experiment that may be compared, with their curves, epochs and claims.

    `runs` are those that are done, `others` the rest. `alone` says that the experiment has no other sweep.
    """

    experiment: Experiment
    scale: str
    data: str
    variant: str
    runs: pd.DataFrame
    others: pd.DataFrame
    curves: pd.DataFrame
    epochs: pd.DataFrame
    claims: Sequence[Claim]
    alone: bool

    @property
    def place(self) -> str:
        """What a reader calls it: "digits at demo scale"."""
        return ", ".join(filter(None, (f"{self.data} at {self.scale} scale", self.variant)))

    @property
    def suffix(self) -> str:
        """What tells its files from those of the experiment's other sweeps."""
        return "" if self.alone else "_" + "_".join(filter(None, (f"{self.scale}-{self.data}", self.variant)))

    @property
    def chance(self) -> float:
        """Accuracy of guessing, at the top-k counted."""
        top_k = self.runs["config.ablation.top_k"].iloc[0] if "config.ablation.top_k" in self.runs else 1
        return float((1 if pd.isna(top_k) else top_k) / self.runs["classes"].iloc[0])

    @property
    def measured_epochs(self) -> pd.DataFrame:
        """The epochs after which the AUC was measured."""
        return self.epochs.dropna(subset=TRAINING) if set(TRAINING) <= set(self.epochs) else self.epochs.head(0)

    def conditions(self) -> list[Condition]:
        """Networks that differ in their seed alone, in groups."""
        return conditions_of(self.experiment, self.runs)

    def curves_of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The final curves of some of its runs."""
        return self.curves[self.curves["run"].isin(runs["run"])]


def spearman_of(epochs: pd.DataFrame) -> float:
    """Spearman(AUC, test loss) over the epochs of one training: NaN where one of them stays as it is."""
    if len(epochs) < 3 or (epochs[["ablation/auc", "test/loss"]].nunique() < 2).any():
        return float("nan")
    return float(stats.spearmanr(epochs["ablation/auc"], epochs["test/loss"]).statistic)


def sections_of(
    runs: pd.DataFrame, curves: pd.DataFrame, epochs: pd.DataFrame, claims: Sequence[Claim]
) -> list[Section]:
    """A section for each sweep of the paper's experiments, in its order. `runs` has a column `variant`."""
    found = []
    for experiment in EXPERIMENTS.values():
        places = list(runs[runs["experiment"] == experiment.name].groupby(["scale", "data", "variant"]))
        for (scale, data, variant), rows in places:
            done = rows["state"] == "done"
            names = rows.loc[done, "run"]
            place = {"experiment": experiment.name, "scale": scale, "data": data, "variant": variant}
            found.append(
                Section(
                    experiment, str(scale), str(data), str(variant),
                    runs=rows[done],
                    others=rows[~done],
                    curves=curves[curves["run"].isin(names)],
                    epochs=epochs[epochs["run"].isin(names)],
                    claims=[claim for claim in claims if all(claim.get(key) == place[key] for key in place)],
                    alone=len(places) == 1,
                )
            )  # fmt: skip
    return found
