"""What a claim is, and the rule that turns its numbers into a verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, isnan, nan
from typing import Any, Literal

import pandas as pd

from single_directions.experiments.statistics import LEAST_NETWORKS, Estimate
from single_directions.experiments.tables import Tables

LEVEL = 0.05
"""A verdict needs a corrected p below this."""
MARGIN = 0.05
"""Accuracies and AUCs (0 to 1) that differ by less are alike; those that differ by more differ substantially."""
NEGATIVE, POSITIVE, SUBSTANTIAL, ALIKE = (-inf, 0.0), (0.0, inf), (MARGIN, inf), (-MARGIN, MARGIN)
"""Regions in which a claim can say that a number lies."""
RULE = (
    "{yes} where the 95 % interval {every}lies wholly {where} and its p{corrected} is below 0.05; {no} where {an} "
    "interval lies wholly outside and its p{so_corrected} is below 0.05; otherwise, or with fewer than 4 "
    "networks in a group, inconclusive{few}"
)
CHECK = "met where the 95 % interval {every}lies wholly {where}; not met where {an} interval lies wholly outside{few}"

Role = Literal["main", "further", "check"]
"""A main claim is the paper's main sentence on a figure. A check is what the figure presupposes, not a claim."""


@dataclass(frozen=True)
class Finding:
    """What the runs of one sweep say about a claim.

    Attributes:
        parts: the numbers that must all lie in the claim's region, by what each is of (a level of corruption, ...).
        details: what else the page shows.
        caveats: a sentence each.
        descriptive: whether the numbers are shown but not judged.
        measured: whether the sweep has the networks that the claim is about.
    """

    parts: Mapping[str, Estimate]
    details: Mapping[str, Any] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    descriptive: bool = False
    measured: bool = True


@dataclass(frozen=True)
class Claim:
    """A sentence that runs can support or contradict.

    Attributes:
        name: the second part of its id, "<experiment>.<name>".
        paper: the sentence, in the paper's words where it is the paper's.
        statistic: the number that is judged.
        where: the region in words; `region` in numbers.
        find: computes the number from the tables of one sweep.
        role: main, further or check.
        figure: the figure of the paper that it is about, where that is not the experiment's.
        paper_value: the paper's number, if it gives one.
        several: what the parts of a finding are called.
        trained_to_the_end: whether networks below 99 % training accuracy are out of place.
        unless: in words, when the numbers are described and not judged.
        of_shares: whether the numbers are shares of the networks, which an exact test compares with one half.
    """

    name: str
    paper: str
    statistic: str
    where: str
    region: tuple[float, float]
    find: Callable[[Tables], Finding]
    role: Role = "further"
    figure: str = ""
    paper_value: float | None = None
    several: str = "parts"
    trained_to_the_end: bool = True
    unless: str = ""
    of_shares: bool = False

    def rule(self, parts: int, family: int, own: bool = False) -> str:
        """The rule of the verdict in words, for a claim of so many parts that is one of `family` claims."""
        corrected = f", corrected for {family} {self.role} claims," if family > 1 else ""
        rule = (CHECK if self.role == "check" else RULE).format(
            yes="holds" if own else "reproduced",
            no="does not hold" if own else "not reproduced",
            every=f"of every one of the {self.several} judged " if parts > 1 else "",
            an="any such" if parts > 1 else "the",
            few=f"; {self.several} that have fewer than 4 networks in a group are left out" if parts > 1 else "",
            where=self.where,
            corrected=corrected,
            so_corrected=", so corrected," if corrected else "",
        )
        return f"{rule}; described, not judged, {self.unless}" if self.unless else rule


@dataclass(frozen=True)
class Part(Estimate):
    """One of a claim's numbers. `p` is that of the claim's region; `holds` is as `holds` below returns it."""

    holds: bool | None = None


@dataclass(frozen=True)
class Outcome(Part):
    """The part of a finding that decides: the weakest or, of parts against the claim, the farthest from its region.

    Parts with fewer than 4 networks in a group are left out, unless all have fewer. `n` is the least of those judged.
    `p` is the largest p of all parts. For a refuted claim it is the smallest p of the parts outside the region, times
    the number of parts (Bonferroni's). It is NaN for what is not judged.

    Attributes:
        parts: all numbers of the claim, by what each is of (a level of corruption, ...).
        label: which part decides.
        p_label: the part that `p` comes from.
        left_out: the parts that were not judged, and their `n`.
    """

    parts: Mapping[str, Part] = field(default_factory=dict)
    label: str = ""
    p_label: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)


def outcome(finding: Finding, claim: Claim) -> Outcome:
    """What the intervals of a finding say, before p values are corrected for the number of claims."""
    if not finding.parts:
        return Outcome()
    parts = {
        label: Part(**vars(one) | {"p": p_of(one, claim.region), "holds": holds(one, claim.region)})
        for label, one in finding.parts.items()
    }
    judged = {label: part for label, part in parts.items() if part.n >= LEAST_NETWORKS} or parts
    label, weakest = min(judged.items(), key=lambda item: _strength(item[1], claim.region))
    against = {label: part.p for label, part in judged.items() if part.holds is False}
    if finding.descriptive:
        p, p_label = nan, ""
    elif against:
        p_label = min(against, key=lambda label: against[label])
        p = min(1.0, len(judged) * against[p_label])
    else:
        p_label = max(judged, key=lambda label: inf if isnan(judged[label].p) else judged[label].p)
        p = judged[p_label].p
    decided = {
        "n": min(part.n for part in judged.values()),
        "p": p,
        "holds": None if finding.descriptive else weakest.holds,
    }
    left_out = {label: part.n for label, part in parts.items() if label not in judged}
    return Outcome(**vars(weakest) | decided, parts=parts, label=label, p_label=p_label, left_out=left_out)


def holds(estimate: Estimate, region: tuple[float, float]) -> bool | None:
    """Whether an interval lies inside a region (True), wholly outside (False) or neither (None).

    An interval that touches an edge of the region from outside decides nothing, so a tie does not.
    """
    if estimate.n < LEAST_NETWORKS or not (isfinite(estimate.low) and isfinite(estimate.high)):
        return None
    if region[0] < estimate.low and estimate.high < region[1]:
        return True
    return False if estimate.low > region[1] or estimate.high < region[0] else None


def p_of(estimate: Estimate, region: tuple[float, float]) -> float:
    """The p that goes with `holds`: the p of the number lying on the other side of an edge of the region.

    For a number inside it is the larger p of the edges; for one outside, the p of the edge nearest to it.
    """
    edges = [edge for edge in region if isfinite(edge)]
    if not region[0] < estimate.value < region[1]:
        edges = [min(edges, key=lambda edge: abs(edge - estimate.value))]
    return max(estimate.p_of(edge) for edge in edges)


def by_seed(runs: pd.DataFrame, column: str) -> pd.Series:
    """One number per network, by its seed; empty where there is no such column."""
    if column not in runs or "seed" not in runs:
        return pd.Series(dtype=float)
    return pd.to_numeric(runs.set_index("seed")[column], errors="coerce").astype(float)


def accuracy_column(runs: pd.DataFrame, split: str) -> str:
    """The column of the accuracy that curves are of: top-5 for ImageNet, as in the paper."""
    top_k = runs["config.ablation.top_k"].max() if "config.ablation.top_k" in runs else 1
    column = f"{split}_accuracy_top{top_k:g}"
    return column if top_k > 1 and column in runs else f"{split}_accuracy"


def _strength(part: Part, region: tuple[float, float]) -> tuple[int, float, float]:
    """How well a part supports a claim; the part with the least strength decides.

    Parts against the claim are weaker than undecided ones, these weaker than those in the region. Among equals the
    distance of the interval from the edge counts, then that of the value; what is not known counts as the least.
    """
    margin = min(part.low - region[0], region[1] - part.high)
    if part.holds is False:
        margin = -max(part.low - region[1], region[0] - part.high)
    value = min(part.value - region[0], region[1] - part.value)
    margin, value = (-inf if isnan(number) else number for number in (margin, value))
    return {False: 0, None: 1, True: 2}[part.holds], margin, value
