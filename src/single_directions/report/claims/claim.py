"""What a claim is, and the rule by which numbers become a verdict: fixed here, whatever the numbers are."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, nan
from typing import Any

import pandas as pd

from single_directions.report.statistics import Estimate
from single_directions.report.table import Tables

LEAST_NETWORKS = 4
"""A side with fewer networks decides nothing."""
LEVEL = 0.05
"""Of Holm's corrected p values."""
NEGATIVE, POSITIVE = (-inf, 0.0), (0.0, inf)
"""Where the paper says that a number lies."""
RULE = (
    "reproduced where the 95 % interval {every}lies wholly {where}{corrected}; not reproduced where {an} interval "
    "lies wholly outside{corrected}; else, and with fewer than 4 networks a side, inconclusive{few}"
)


@dataclass(frozen=True)
class Finding:
    """What the runs of one sweep say about a claim.

    Attributes:
        parts: the numbers that must all lie where the claim says, by what each is of (a level of corruption, ...).
        details: what else the page shows; numbers, text, lists and dicts of them.
        caveats: a sentence each.
        descriptive: whether the numbers are shown but not judged.
    """

    parts: Mapping[str, Estimate]
    details: Mapping[str, Any] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    descriptive: bool = False


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
        paper_values: the paper's number, where it gives one, by experiment.
        several: what the parts are called, where there are several.
        trained_to_the_end: whether networks below 99 % training accuracy are out of place.
        unless: in words, where the numbers are described and not judged.
    """

    name: str
    figures: Mapping[str, str]
    paper: str
    statistic: str
    where: str
    region: tuple[float, float]
    find: Callable[[Tables], Finding]
    paper_values: Mapping[str, float] = field(default_factory=dict)
    several: str = "parts"
    trained_to_the_end: bool = True
    unless: str = ""

    @property
    def tested(self) -> bool:
        """Whether a p value goes with it: of a direction, not of a margin."""
        return self.region in (NEGATIVE, POSITIVE)

    def rule(self, parts: int) -> str:
        """The rule of the verdict on so many parts, in words."""
        told = RULE.format(
            every=f"of every one of the {self.several} judged " if parts > 1 else "",
            an="any such" if parts > 1 else "the",
            few=f"; of the {self.several}, those with fewer are left out" if parts > 1 else "",
            where=self.where,
            corrected=" and Holm's corrected p is below 0.05" if self.tested else "",
        )
        return f"{told}; described, not judged, {self.unless}" if self.unless else told


@dataclass(frozen=True)
class Outcome:
    """The weakest part of a finding: the one that decides.

    Parts with fewer than 4 networks a side are left out, unless all have fewer.

    Attributes:
        label: which part.
        estimate: its numbers; `n` is the smallest of the parts judged.
        p: that every part lies where it is said to (the largest p of all parts), or for a refuted claim that some part
            lies elsewhere (Bonferroni's); NaN for claims of a margin, and for what is not judged.
        holds: True, False, or None where the intervals do not decide.
        left_out: the parts that were not judged, and their `n`.
    """

    label: str
    estimate: Estimate
    p: float
    holds: bool | None
    left_out: Mapping[str, int] = field(default_factory=dict)


def outcome(finding: Finding, claim: Claim) -> Outcome:
    """What the intervals of a finding say, before p values are corrected for the number of claims."""
    if not finding.parts:
        return Outcome("", Estimate(), nan, None)
    judged = {label: part for label, part in finding.parts.items() if part.n >= LEAST_NETWORKS} or finding.parts
    left_out = {label: part.n for label, part in finding.parts.items() if label not in judged}
    label, weakest = min(judged.items(), key=lambda part: _strength(part[1], claim.region))
    said = holds(weakest, claim.region)
    several = [part.p for part in judged.values()]
    p = min(1.0, len(several) * weakest.p) if said is False else max(several, key=lambda p: p if p == p else inf)
    n = min(part.n for part in judged.values())
    estimate = Estimate(**{**asdict(weakest), "n": n})
    if finding.descriptive:
        return Outcome(label, estimate, nan, None, left_out)
    return Outcome(label, estimate, p if claim.tested else nan, said, left_out)


def holds(estimate: Estimate, region: tuple[float, float]) -> bool | None:
    """Whether an interval lies inside a region (True), wholly outside (False) or neither (None).

    An end that touches the region's decides nothing, so a tie does not.
    """
    if estimate.n < LEAST_NETWORKS or not (isfinite(estimate.low) and isfinite(estimate.high)):
        return None
    if region[0] < estimate.low and estimate.high < region[1]:
        return True
    return False if estimate.low > region[1] or estimate.high < region[0] else None


def verdict(said: bool | None, p_holm: float, scale: str, data: str) -> str:
    """The verdict in words; a p value that is a number must be small besides."""
    if p_holm == p_holm and p_holm >= LEVEL:
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


def _strength(estimate: Estimate, region: tuple[float, float]) -> tuple[int, float]:
    """How well a part supports the claim, for finding the weakest."""
    rank = {False: 0, None: 1, True: 2}[holds(estimate, region)]
    margin = min(estimate.low - region[0], region[1] - estimate.high)
    return rank, margin if margin == margin else -inf
