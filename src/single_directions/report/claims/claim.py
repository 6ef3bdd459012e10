"""What a claim is, and the rule by which numbers become a verdict: fixed here, whatever the numbers are."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, nan
from typing import Any, Literal

import pandas as pd

from single_directions.report.experiments import PAPERS
from single_directions.report.statistics import LEAST_NETWORKS, Estimate
from single_directions.report.table import Tables

LEVEL = 0.05
"""Of corrected p values."""
MARGIN = 0.05
"""Of accuracy and of AUC, both from 0 to 1: within it two are alike; beyond it they differ much, or substantially."""
NEGATIVE, POSITIVE, SUBSTANTIAL, ALIKE = (-inf, 0.0), (0.0, inf), (MARGIN, inf), (-MARGIN, MARGIN)
"""Where the paper says that a number lies."""
PAPERS_FIGURES = ("1a", "1b", "1c", "2a", "2b", "3a", "3b", "4a", "4b")
"""Each has one main claim; these nine are corrected for being nine."""
OF_THE_PAPER = tuple(one.name for one in PAPERS)
"""The experiments that the figures are of; others ask the same with more than the paper varied."""
RULE = (
    "reproduced where the 95 % interval {every}lies wholly {where} and its p{corrected} is below 0.05; not reproduced "
    "where {an} interval lies wholly outside and its p{so_corrected} is below 0.05; else, and with fewer than 4 "
    "networks a side, inconclusive{few}"
)
CHECK = "met where the 95 % interval {every}lies wholly {where}; not met where {an} interval lies wholly outside{few}"

Role = Literal["main", "further", "check"]
"""A figure's main claim is the paper's main sentence on it. A check is what the figure presupposes, not a claim."""


@dataclass(frozen=True)
class Finding:
    """What the runs of one sweep say about a claim.

    Attributes:
        parts: the numbers that must all lie where the claim says, by what each is of (a level of corruption, ...).
        details: what else the page shows; numbers, text, lists and dicts of them.
        caveats: a sentence each.
        descriptive: whether the numbers are shown but not judged.
        measured: whether there are the networks that the claim is about at all.
    """

    parts: Mapping[str, Estimate]
    details: Mapping[str, Any] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    descriptive: bool = False
    measured: bool = True


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that can be judged.

    Attributes:
        name: what follows the experiment in the claim's id.
        figures: the experiments that it is judged in, and the figure that each makes.
        paper: the paper's words, in short.
        statistic: what number is judged.
        where: in words, where the paper says that the number lies; `region` in numbers.
        find: what the tables of one sweep say.
        role: which part it plays for its figure.
        paper_values: the paper's number, where it gives one, by experiment.
        several: what the parts are called, where there are several.
        trained_to_the_end: whether networks below 99 % training accuracy are out of place.
        unless: in words, where the numbers are described and not judged.
        of_shares: whether the numbers are shares of the networks, which an exact test compares with one half.
    """

    name: str
    figures: Mapping[str, str]
    paper: str
    statistic: str
    where: str
    region: tuple[float, float]
    find: Callable[[Tables], Finding]
    role: Role = "further"
    paper_values: Mapping[str, float] = field(default_factory=dict)
    several: str = "parts"
    trained_to_the_end: bool = True
    unless: str = ""
    of_shares: bool = False

    def rule(self, parts: int, family: int) -> str:
        """The rule of the verdict on so many parts, of one of so many claims, in words."""
        corrected = "" if family == 1 else f", corrected for {family} {self._siblings},"
        told = (CHECK if self.role == "check" else RULE).format(
            every=f"of every one of the {self.several} judged " if parts > 1 else "",
            an="any such" if parts > 1 else "the",
            few=f"; of the {self.several}, those with fewer are left out" if parts > 1 else "",
            where=self.where,
            corrected=corrected,
            so_corrected=", so corrected," if corrected else "",
        )
        return f"{told}; described, not judged, {self.unless}" if self.unless else told

    @property
    def _siblings(self) -> str:
        return "main claims" if self.role == "main" else "further claims"


@dataclass(frozen=True)
class Outcome:
    """The part of a finding that decides: the weakest or, of parts against the claim, the farthest from it.

    Parts with fewer than 4 networks a side are left out, unless all have fewer.

    Attributes:
        label: which part.
        estimate: its numbers; `n` is the smallest of the parts judged.
        p: that every part lies where it is said to (the largest p of all parts), or for a refuted claim that some part
            lies elsewhere (Bonferroni's); NaN for what is not judged.
        holds: True, False, or None where the intervals do not decide.
        left_out: the parts that were not judged, and their `n`.
        p_label: the part that `p` comes from.
    """

    label: str
    estimate: Estimate
    p: float
    holds: bool | None
    left_out: Mapping[str, int] = field(default_factory=dict)
    p_label: str = ""


def outcome(finding: Finding, claim: Claim) -> Outcome:
    """What the intervals of a finding say, before p values are corrected for the number of claims."""
    if not finding.parts:
        return Outcome("", Estimate(), nan, None)
    judged = {label: part for label, part in finding.parts.items() if part.n >= LEAST_NETWORKS} or finding.parts
    left_out = {label: part.n for label, part in finding.parts.items() if label not in judged}
    label, shown = min(judged.items(), key=lambda part: _strength(part[1], claim.region))
    said = holds(shown, claim.region)
    chances = {label: p_of(part, claim.region) for label, part in judged.items()}
    against = [label for label, part in judged.items() if holds(part, claim.region) is False]
    p_label = min(against or chances, key=lambda label: chances[label] if against else -_known(chances[label]))
    p = min(1.0, len(judged) * chances[p_label]) if against else chances[p_label]
    estimate = Estimate(**{**asdict(shown), "n": min(part.n for part in judged.values())})
    if finding.descriptive:
        return Outcome(label, estimate, nan, None, left_out)
    return Outcome(label, estimate, p, said, left_out, p_label)


def _known(p: float) -> float:
    """A p value; infinite where it is not known."""
    return p if p == p else inf


def holds(estimate: Estimate, region: tuple[float, float]) -> bool | None:
    """Whether an interval lies inside a region (True), wholly outside (False) or neither (None).

    An end that touches the region's decides nothing, so a tie does not.
    """
    if estimate.n < LEAST_NETWORKS or not (isfinite(estimate.low) and isfinite(estimate.high)):
        return None
    if region[0] < estimate.low and estimate.high < region[1]:
        return True
    return False if estimate.low > region[1] or estimate.high < region[0] else None


def p_of(estimate: Estimate, region: tuple[float, float]) -> float:
    """The p that goes with `holds`: that a number is on the other side of a region's edge.

    For a number within, it is that of the edge that is less clear; for one outside, that of the edge that it is beyond.
    """
    edges = [edge for edge in region if isfinite(edge)]
    if not region[0] < estimate.value < region[1]:
        edges = [min(edges, key=lambda edge: abs(edge - estimate.value))]
    return max(estimate.p_of(edge) for edge in edges)


def family(claim: Claim, experiment: str, claims: Iterable[Claim]) -> int:
    """For how many claims a p value is corrected: as many as the code knows, so that it is the same in any folder.

    The main claims of the paper's own experiments are one family, one for each of its nine figures. An experiment
    beyond the paper is a family of its own, and so are an experiment's further claims. Bonferroni's correction is used,
    since Holm's depends on the p values of the other claims, and so on what else lies in the folder.
    """
    if claim.role == "check":
        return 1
    own = [one for one in claims if experiment in one.figures and one.role == claim.role]
    return len(PAPERS_FIGURES) if claim.role == "main" and experiment in OF_THE_PAPER else len(own)


def verdict(said: bool | None, p: float, scale: str, data: str, role: Role = "main", measured: bool = True) -> str:
    """The verdict in words; the corrected p must be small besides."""
    if role == "check":
        return {True: "met", False: "not met", None: "undecided"}[said]
    if not measured:
        return "not measured"
    if p == p and p >= LEVEL:
        said = None
    if scale == "demo":
        return {True: f"holds on {data}", False: f"does not hold on {data}", None: f"inconclusive on {data}"}[said]
    return {True: "reproduced", False: "not reproduced", None: "inconclusive"}[said]


def by_seed(runs: pd.DataFrame, column: str) -> pd.Series:
    """One number a network, by its seed; empty where there is no such column."""
    if column not in runs or "seed" not in runs:
        return pd.Series(dtype=float)
    return pd.to_numeric(runs.set_index("seed")[column], errors="coerce").astype(float)


def accuracy_column(runs: pd.DataFrame, split: str) -> str:
    """The column of the accuracy that curves are of: top-5 for ImageNet, as in the paper."""
    top_k = runs["config.ablation.top_k"].max() if "config.ablation.top_k" in runs else 1
    column = f"{split}_accuracy_top{top_k:g}"
    return column if top_k > 1 and column in runs else f"{split}_accuracy"


def plain(value: Any) -> Any:
    """Numbers, text, lists and dicts as JSON knows them; what is not finite is None.

    Floats are rounded to 10 significant digits: the last ones differ between processors.
    """
    if isinstance(value, Estimate):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.10g}") if isfinite(value) else None
    return value


def _strength(estimate: Estimate, region: tuple[float, float]) -> tuple[int, float, float]:
    """How well a part supports the claim, for finding the one that decides: the least.

    Of parts against the claim that is the one farthest beyond the edge, by the nearer end of its interval. Parts
    without an interval, as of single networks, are the least clear, and of several the one with the least value.
    """
    said = holds(estimate, region)
    margin = min(estimate.low - region[0], region[1] - estimate.high)
    if said is False:
        margin = -max(estimate.low - region[1], region[0] - estimate.high)
    value = min(estimate.value - region[0], region[1] - estimate.value)
    known = (-inf if number != number else number for number in (margin, value))
    return ({False: 0, None: 1, True: 2}[said], *known)  # type: ignore[return-value]
