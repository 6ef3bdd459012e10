"""What a section of the report is about: one sweep of one of the paper's experiments."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pandas as pd

from single_directions.report.claims.departures import reductions
from single_directions.report.claims.matched import Matched, matched
from single_directions.report.claims.memorization import FIGURES
from single_directions.report.experiments import EXPERIMENTS, Condition, Experiment, conditions_of
from single_directions.report.planned import not_done
from single_directions.report.sweeps import is_own, overrides, own_conditions
from single_directions.report.table import Tables
from single_directions.report.wording import place, setting

Claim = dict[str, Any]
"""An entry of `claims.json`."""
LONGEST_SUFFIX = 150
"""Characters; file systems allow 255 bytes for a whole name."""
TRAINING = ["train/loss", "test/loss", "ablation/auc_normalized"]


@dataclass(frozen=True)
class Section:
    """The runs that may be compared with each other, and what they say.

    `tables` are those of the runs that are done, `others` the rows of the rest. `alone` says that the experiment has no
    other sweep; `apart` are the overrides that not all of its sweeps at this scale on this data have. `not_done` tells
    of the runs that the sweep names and that are not done, `matched` compares Figure 1's conditions at equal training
    loss, where trainings of other experiments allow it.
    """

    experiment: Experiment
    scale: str
    data: str
    variant: str
    tables: Tables
    others: pd.DataFrame
    claims: Sequence[Claim]
    alone: bool
    apart: tuple[str, ...] = ()
    not_done: Sequence[str] = ()
    matched: Matched | None = None

    @property
    def runs(self) -> pd.DataFrame:
        """A row a network."""
        return self.tables.runs

    @property
    def place(self) -> str:
        """What a reader calls it: "digits at demo scale", "cifar10 (a folder of images) at paper scale, width 0.25"."""
        return place(self.data, self.scale, overrides(self.variant) if self.variant else {})

    @property
    def brief(self) -> str:
        """The same in few words, for figures: "mnist at paper scale (reduced)"; its settings stand above them."""
        root = (overrides(self.variant) if self.variant else {}).get("data.root")
        data = root if self.data == "image_folder" and root else self.data
        reduced = self.scale == "paper" and not self.runs.empty and reductions(self.runs)
        return f"{data} at {self.scale} scale{' (reduced)' if reduced else ''}"

    @property
    def title(self) -> str:
        """`brief`, and what tells it from the experiment's other sweeps."""
        told = overrides(self.variant) if self.variant else {}
        return ", ".join([self.brief, *(setting(key, told[key]) for key in self.apart)])

    @property
    def suffix(self) -> str:
        """What tells its files from those of the experiment's other sweeps."""
        if self.alone:
            return ""
        whole = "_".join(filter(None, (f"{self.scale}-{self.data}", self.variant)))
        name = re.sub(r"[^\w.,=+~\[\]-]", "_", whole)
        if len(name) > LONGEST_SUFFIX:
            name = f"{name[: LONGEST_SUFFIX - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
        return f"_{name}"

    @property
    def id(self) -> str:
        """Its place on the page, for links."""
        return re.sub(r"[^\w.-]+", "-", f"{self.experiment.name}{self.suffix}")

    @property
    def chance(self) -> float:
        """The accuracy of guessing, at the top-k counted."""
        top_k = self.runs["config.ablation.top_k"].iloc[0] if "config.ablation.top_k" in self.runs else 1
        return float((1 if pd.isna(top_k) else top_k) / self.runs["classes"].iloc[0])

    @property
    def measured_epochs(self) -> pd.DataFrame:
        """The epochs after which the AUC was measured and losses were finite.

        The normalized AUC is filled in where it was not yet logged.
        """
        epochs = self.tables.epochs.replace([inf, -inf], nan)
        if {"ablation/auc", "ablation/accuracy"} <= set(epochs):
            accuracy = epochs["ablation/accuracy"].where(epochs["ablation/accuracy"] > 0)
            logged = epochs.get("ablation/auc_normalized", pd.Series(nan, epochs.index))
            epochs = epochs.assign(**{"ablation/auc_normalized": logged.fillna(epochs["ablation/auc"] / accuracy)})
        return epochs.dropna(subset=TRAINING) if set(TRAINING) <= set(epochs) else epochs.head(0)

    def conditions(self) -> list[Condition]:
        """Networks that differ in their seed alone, in groups."""
        return conditions_of(self.experiment, self.runs)

    def curves_of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The final curves of some of its runs."""
        curves = self.tables.final_curves
        return curves[curves["run"].isin(runs["run"])]


def sections_of(tables: Tables, claims: Sequence[Claim]) -> list[Section]:
    """A section for each sweep of the paper's experiments, in its order, then for each of the user's own."""
    found = []
    for experiment in [*EXPERIMENTS.values(), *_own(tables.runs)]:
        own = tables.runs[tables.runs["experiment"] == experiment.name]
        sweeps = list(own.groupby(["scale", "data", "variant"]))
        for (scale, data, variant), runs in sweeps:
            sweep = {"experiment": experiment.name, "scale": scale, "data": data, "variant": variant}
            done = runs["state"] == "done"
            judged = [claim for claim in claims if all(claim[key] == sweep[key] for key in sweep)]
            section = Section(
                experiment, str(scale), str(data), str(variant), tables.of(runs[done]), runs[~done], judged,
                alone=len(sweeps) == 1,
                apart=_apart(str(variant), [one[2] for one, _ in sweeps if one[:2] == (scale, data)]),
                not_done=not_done(tables.runs, (experiment.name, str(scale), str(data), str(variant))),
                matched=matched(tables, runs[done]) if experiment.name in FIGURES else None,
            )  # fmt: skip
            found.append(section)
    return found


def _own(runs: pd.DataFrame) -> list[Experiment]:
    """The user's experiments, by name."""
    return [
        Experiment(name, "", f"Own experiment: {name}", "", "", own_conditions(own), papers=False)
        for name, own in ((str(key), group) for key, group in runs[runs["state"] == "done"].groupby("experiment"))
        if is_own(name)
    ]


def _apart(variant: str, variants: Sequence[Any]) -> tuple[str, ...]:
    """The keys of a variant's overrides that some other variant lacks or has other values for."""
    each = [overrides(str(one)) if one else {} for one in variants]
    own = overrides(variant) if variant else {}
    # The name of a folder of images is told with the data.
    return tuple(key for key in own if key != "data.root" and any(other.get(key) != own[key] for other in each))
