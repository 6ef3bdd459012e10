"""A section of the report: one sweep of one experiment."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import pandas as pd

from single_directions.experiments.conditions import Condition, conditions_of
from single_directions.experiments.departures import reductions
from single_directions.experiments.drawing.style import TITLE_WIDTH
from single_directions.experiments.equal_loss import Matched, matched
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, in_order
from single_directions.experiments.judge import Judgement
from single_directions.experiments.sweeps import Sweep, is_own, not_done, overrides, own_conditions
from single_directions.experiments.tables import Tables
from single_directions.experiments.training import NORMALIZED
from single_directions.experiments.wording import DATA, place, setting

LONGEST_SUFFIX = 150
"""Characters; file systems allow 255 bytes for a file's name."""
TRAINING = ["train/loss", "test/loss", NORMALIZED]


@dataclass(frozen=True)
class Section:
    """The runs of one sweep, which may be compared with each other, and its claims.

    Attributes:
        tables: of the runs that are done.
        alone: whether the experiment has no other sweep.
        apart: the overrides that not all sweeps of the experiment at this scale on this data have.
        not_done: a sentence on the runs that are planned but not done, if there are any.
        matched: the conditions compared at equal training loss, where there are trainings for it.
    """

    experiment: Experiment
    scale: str
    data: str
    variant: str
    tables: Tables
    claims: Sequence[Judgement]
    alone: bool
    apart: tuple[str, ...] = ()
    not_done: Sequence[str] = ()
    matched: Matched | None = None

    @property
    def runs(self) -> pd.DataFrame:
        """One row per network."""
        return self.tables.runs

    @property
    def place(self) -> str:
        """Data, scale and settings: "cifar10 (a folder of images) at paper scale, width 0.25"."""
        return place(self.data, self.scale, overrides(self.variant))

    @property
    def source(self) -> str:
        """The name of the data set; for a folder of images, the folder's name."""
        root = overrides(self.variant).get("data.root")
        return root if self.data == "image_folder" and root else self.data

    @property
    def brief(self) -> str:
        """Data and scale: "mnist at paper scale (reduced)"."""
        reduced = self.scale == "paper" and not self.runs.empty and reductions(self.runs)
        return f"{self.source} at {self.scale} scale{' (reduced)' if reduced else ''}"

    @property
    def title(self) -> str:
        """`brief`, and the settings that the experiment's other sweeps do not have."""
        settings = overrides(self.variant)
        return ", ".join([self.brief, *(setting(key, settings[key]) for key in self.apart)])

    @property
    def suffix(self) -> str:
        """The end of its files' names, which differs from those of the experiment's other sweeps."""
        if self.alone:
            return ""
        whole = "_".join(filter(None, (f"{self.scale}-{self.data}", self.variant)))
        name = re.sub(r"[^\w.,=+~\[\]-]", "_", whole)
        if len(name) > LONGEST_SUFFIX:
            name = f"{name[: LONGEST_SUFFIX - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
        return f"_{name}"

    @property
    def id(self) -> str:
        """Its id on the page, for links."""
        return re.sub(r"[^\w.-]+", "-", f"{self.experiment.name}{self.suffix}")

    @property
    def chance(self) -> float:
        """The accuracy of guessing, at the top-k counted."""
        top_k = self.runs["config.ablation.top_k"].iloc[0] if "config.ablation.top_k" in self.runs else 1
        return float((1 if pd.isna(top_k) else top_k) / self.runs["classes"].iloc[0])

    @property
    def measured_epochs(self) -> pd.DataFrame:
        """The epochs after which the AUC was measured and losses were finite."""
        epochs = self.tables.epochs.replace([inf, -inf], nan)
        return epochs.dropna(subset=TRAINING) if set(TRAINING) <= set(epochs) else epochs.head(0)

    def heading(self, amount: str = "") -> str:
        """The title of a figure: data, network, the settings that the experiment's other sweeps lack, and `amount`.

        For example "MNIST (10,000 images), MLP 2 × 512, 4 networks per condition". A part in which runs differ is left
        out, since the conditions show it. If the line is too long, `amount` is on the next.
        """
        variant = overrides(self.variant)
        images, network = _only(self.runs, "train_images"), _network(self.runs)
        shown = {"data.train_samples"} if images is not None else set()
        shown |= {"network", "network.hidden", "network.width"} if network else set()
        parts = [
            DATA.get(self.source, self.source) + (f" ({images:,.0f} images)" if images is not None else ""),
            network,
            *(setting(key, variant[key]) for key in self.apart if key not in shown),
        ]
        text = ", ".join(filter(None, parts))
        between = ", " if len(text) + len(amount) + 2 <= TITLE_WIDTH else "\n"
        return between.join(filter(None, (text, amount)))

    def conditions(self) -> list[Condition]:
        """Groups of networks that differ in their seed alone."""
        return conditions_of(self.experiment.conditions, self.runs)

    def curves_of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The final curves of some of its runs."""
        return self.tables.of(runs).final_curves


def sections_of(tables: Tables, claims: Sequence[Judgement]) -> list[Section]:
    """A section for each sweep: of the paper's experiments in its order, then of the user's own."""
    found = []
    for experiment in _experiments(tables.runs):
        own = tables.runs[tables.runs["experiment"] == experiment.name]
        sweeps = list(own.groupby(["scale", "data", "variant"]))
        for (scale, data, variant), runs in sweeps:
            sweep = Sweep(experiment.name, str(scale), str(data), str(variant))
            done = runs["state"] == "done"
            section = Section(
                *(experiment, *sweep[1:]), tables.of(runs[done]),
                [claim for claim in claims if claim.sweep == sweep],
                alone=len(sweeps) == 1,
                apart=_apart(str(variant), [one[2] for one, _ in sweeps if one[:2] == (scale, data)]),
                not_done=not_done(tables.runs, sweep),
                matched=matched(tables, runs[done]) if experiment.equal_loss else None,
            )  # fmt: skip
            found.append(section)
    return found


def _experiments(runs: pd.DataFrame) -> list[Experiment]:
    """The registered experiments and all others in the runs, with a heading and conditions where they have none."""
    known = [one for one in in_order() if not is_own(one.name)]
    for name, own in runs[runs["state"] == "done"].groupby("experiment"):
        if is_own(str(name)):
            one = EXPERIMENTS.get(str(name), Experiment(str(name)))
            heading = one.heading or f"Own experiment: {name}"
            known.append(replace(one, heading=heading, conditions=one.conditions or own_conditions(own)))
    return known


def _apart(variant: str, variants: Sequence[Any]) -> tuple[str, ...]:
    """The keys of a variant's overrides that some other variant lacks or has other values for."""
    each = [overrides(str(one)) for one in variants]
    own = overrides(variant)
    # The name of a folder of images stands with the data.
    return tuple(key for key in own if key != "data.root" and any(other.get(key) != own[key] for other in each))


def _network(runs: pd.DataFrame) -> str:
    """The network and its size: "MLP 2 x 512", "ConvNet (width 0.25)"."""
    name = str(_only(runs, "config.network._target_") or "").rpartition(".")[2].replace("ResNet50", "ResNet-50")
    width = _only(runs, "config.network.width")
    hidden = json.loads(_only(runs, "config.network.hidden") or "[]") if name == "MLP" else []
    if hidden:
        alike = len(set(hidden)) == 1
        return f"{name} {len(hidden)} × {hidden[0]:,}" if alike else f"{name} {', '.join(map(str, hidden))}"
    return f"{name} (width {width:g})" if name and width not in (None, 1) else name


def _only(runs: pd.DataFrame, column: str) -> Any:
    """The value that all runs share in a column, or None."""
    values = list(runs[column].dropna().unique()) if column in runs else []
    return values[0] if len(values) == 1 else None
