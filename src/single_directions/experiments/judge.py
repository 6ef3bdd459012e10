"""All claims judged on all sweeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pandas as pd

from single_directions.errors import BadInput, first_line
from single_directions.experiments.claim import (
    LEVEL,
    Claim,
    Finding,
    Outcome,
    Role,
    accuracy_column,
    family,
    holds,
    outcome,
    p_of,
)
from single_directions.experiments.copies import first_of
from single_directions.experiments.departures import departures, reductions
from single_directions.experiments.experiment import EXPERIMENTS, Experiment
from single_directions.experiments.planned import not_done
from single_directions.experiments.statistics import LEAST_NETWORKS, Estimate, least_decisive
from single_directions.experiments.sweeps import said, sweeps, swept_keys
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import count, some
from single_directions.runs.folder import write_json

LEAST_TRAIN_ACCURACY = 0.99
"""A network below it does not know its training images by heart, and is named."""
REDUCED = "reduced: not the paper's data, network or training in full"
"""The caveat of claims at the paper's scale that were judged by less."""


@dataclass(frozen=True)
class Part(Estimate):
    """One of a claim's numbers, with the p of the claim's region, and whether its interval lies there."""

    holds: bool | None = None


@dataclass(frozen=True)
class Before:
    """The verdict on a claim before it was changed, and its number where it had one."""

    verdict: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Change:
    """What was changed about a claim after its outcome was seen, and why; and the verdict before."""

    changed: str
    before: Before


@dataclass(frozen=True)
class Judgement:
    """One claim, judged by the runs of one sweep. It depends on no other runs.

    Attributes:
        id: "<experiment>.<claim>".
        experiment, scale, data, variant: the sweep.
        figure: of the paper; "" for a claim of a user's experiment.
        role: main, further or check.
        family: for how many claims p is corrected, see `claim.family`.
        paper, statistic, paper_value, several: those of the claim.
        value, low, high, effect_size: the number that decides, and its 95 % interval.
        n: how many networks, on the side with fewer.
        p, p_corrected: NaN where nothing is judged, as from fewer than 4 networks.
        holds: whether the claim holds: True, False, or None if that is undecided. The corrected p is considered.
        measured: whether the sweep has the networks that the claim is about.
        rule: the rule of the verdict in words.
        caveats: a sentence each.
        parts: all numbers of the claim, by what each is of (a level of corruption, ...).
        weakest: the part that `value` is of, out of `judged` parts; `p_of` is the part that `p` is of.
        details: what else the page shows.
        below_99: the networks below 99 % training accuracy, where they are out of place; `without_below_99` is the
            claim's number without them.
        runs: how many networks the sweep has. A network that was trained twice counts once.
        reason: why the claim holds or not, most likely, in the words of the results' authors.
        history: what was changed about the claim after its outcome was seen.
    """

    id: str
    experiment: str
    figure: str
    role: Role
    family: int
    scale: str
    data: str
    variant: str
    paper: str
    statistic: str
    value: float
    low: float
    high: float
    n: int
    paper_value: float | None
    p: float
    p_corrected: float
    effect_size: float
    holds: bool | None
    measured: bool
    rule: str
    caveats: Sequence[str]
    parts: Mapping[str, Part]
    weakest: str
    p_of: str
    several: str
    judged: int
    details: Mapping[str, Any]
    below_99: Sequence[str]
    without_below_99: Part | None
    runs: int
    reason: str | None = None
    history: Change | None = None

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.role == "check":
            return {True: "met", False: "not met", None: "undecided"}[self.holds]
        if not self.measured:
            return "not measured"
        if self.scale == "demo" or not self.figure:
            words = {True: "holds", False: "does not hold", None: "inconclusive"}
            return f"{words[self.holds]} on {self.data}"
        return {True: "reproduced", False: "not reproduced", None: "inconclusive"}[self.holds]

    @property
    def counts(self) -> bool:
        """Whether it is the main claim of one of the paper's figures."""
        return self.role == "main" and self.experiment in EXPERIMENTS and EXPERIMENTS[self.experiment].papers

    @property
    def name(self) -> str:
        """Its id with the sweep: ``batch_norm.auc/paper/image_folder/network.width=0.25``."""
        return "/".join(filter(None, (self.id, self.scale, self.data, self.variant)))

    def as_json(self) -> dict[str, Any]:
        """The entry of `claims.json`. A number that is not known is None; floats have 10 significant digits."""
        below = ("below_99", "without_below_99")
        nested = ("parts", "weakest", "p_of", "several", "judged", *(below if self.below_99 else ()))
        entry: dict[str, Any] = {}
        for name in (one.name for one in fields(self)):
            if name == "holds":
                entry["verdict"] = self.verdict
            elif name == "details":
                entry["details"] = {**self.details, **{inner: getattr(self, inner) for inner in nested}}
            elif name not in (*nested, *below, "measured"):
                entry[name] = getattr(self, name)
        return {name: plain(value) for name, value in entry.items()}


def judge(tables: Tables) -> list[Judgement]:
    """Each claim judged by each sweep of its experiment, in the order of the paper's figures, then the user's."""
    found = [
        _judgement(experiment, sweep, own, claim, caveats)
        for experiment, sweep, own, caveats in _sweeps(tables)
        for claim in experiment.claims
    ]
    return sorted(found, key=lambda one: (not one.figure, one.figure))


def write_claims(claims: Sequence[Judgement], path: Path) -> None:
    """Write `claims.json`."""
    write_json(path, [claim.as_json() for claim in claims])


def as_text(claims: Sequence[Judgement]) -> str:
    """The claims as a table for a terminal, one line each; a line above names the runs that they are judged by."""
    if not claims:
        return "no claim can be judged yet"
    lines = [
        {
            "figure": claim.figure,
            "claim": claim.id,
            "n": claim.n,
            "value": f"{claim.value:.3f}" if isfinite(claim.value) else "-",
            "95 %": f"{claim.low:.3f} to {claim.high:.3f}" if isfinite(claim.low) else "-",
            "p corrected": f"{claim.p_corrected:.2g}" if isfinite(claim.p_corrected) else "-",
            "verdict": claim.verdict,
        }
        for claim in claims
    ]
    head, *rows = pd.DataFrame(lines).to_string(index=False).splitlines()
    text, before = [head], ""
    for claim, row in zip(claims, rows, strict=True):
        runs = "/".join(filter(None, (claim.experiment, claim.scale, claim.data, claim.variant)))
        text += [row] if runs == before else [runs, row]
        before = runs
    return "\n".join(text)


def plain(value: Any) -> Any:
    """Dataclasses, numbers, text, lists and dicts as JSON knows them; what is not finite is None.

    Floats are rounded to 10 significant digits: the last ones differ between processors.
    """
    if is_dataclass(value) and not isinstance(value, type):
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


Sweep = tuple[str, str, str, str]
"""Experiment, scale, data, variant."""


def _sweeps(tables: Tables) -> Iterator[tuple[Experiment, Sweep, Tables, list[str]]]:
    """The sweeps of experiments with claims: the different networks of each, and what is to be said of all claims."""
    for sweep, runs in sweeps(tables.runs):
        if (experiment := EXPERIMENTS.get(sweep[0])) is None or not experiment.claims:
            continue
        copies = first_of(runs)
        caveats = not_done(tables.runs, sweep)
        if copies:
            caveats.append(f"{len(copies)} of {len(runs)} runs are networks that others here are too: counted once")
        yield experiment, sweep, tables.of(runs[~runs["run"].isin(copies)]), caveats


def _judgement(experiment: Experiment, sweep: Sweep, tables: Tables, claim: Claim, caveats: Sequence[str]) -> Judgement:
    finding = _found(experiment, claim, tables)
    result = outcome(finding, claim)
    number = result.estimate
    siblings = family(claim, experiment)
    p_corrected = min(1.0, siblings * result.p) if number.n >= LEAST_NETWORKS else nan
    undone = claim.role != "check" and p_corrected >= LEVEL
    short, without, below = _below_99(experiment, claim, tables)
    caveats = [
        *caveats,
        *([REDUCED] if (tables.runs["scale"] == "paper").all() and reductions(tables.runs) else []),
        *departures(tables.runs),
        *finding.caveats,
        *_few(result, claim, len(finding.parts)),
        *_unpaired(finding),
        *_undefined(number),
        *below,
        *_undecidable(finding, claim, siblings),
    ]
    if undone and result.holds is not None:
        caveats.append(
            f"the interval alone would decide, but p is {p_corrected:.2g} once corrected for {siblings} claims"
        )
    return Judgement(
        id=f"{experiment.name}.{claim.name}",
        experiment=experiment.name,
        figure=claim.figure or experiment.figure,
        role=claim.role,
        family=siblings,
        scale=sweep[1],
        data=sweep[2],
        variant=sweep[3],
        paper=claim.paper,
        statistic=claim.statistic,
        value=number.value,
        low=number.low,
        high=number.high,
        n=number.n,
        paper_value=claim.paper_value,
        p=result.p,
        p_corrected=p_corrected,
        effect_size=number.effect_size,
        holds=None if undone else result.holds,
        measured=finding.measured,
        rule=claim.rule(len(finding.parts), siblings, own=not experiment.figure),
        caveats=caveats,
        parts={label: _part(estimate, claim) for label, estimate in finding.parts.items()},
        weakest=result.label,
        p_of=result.p_label,
        several=claim.several,
        judged=len(finding.parts) - len(result.left_out),
        details=finding.details,
        below_99=short,
        without_below_99=without,
        runs=len(tables.runs),
    )


def _found(experiment: Experiment, claim: Claim, tables: Tables) -> Finding:
    """What the claim's own function finds. A user's function that raises gives one clear error."""
    try:
        return claim.find(tables)
    except Exception as error:
        if experiment.figure:  # of the paper, and so ours
            raise
        raise BadInput(
            f"the claim {experiment.name}.{claim.name}: its function `find` fails on {count(len(tables.runs), 'run')}: "
            f"{first_line(error)}. It is also called without the networks below 99 % training accuracy"
        ) from error


def _part(estimate: Estimate, claim: Claim) -> Part:
    """The estimate with the p of the claim's region."""
    if estimate.null not in claim.region:
        estimate = replace(estimate, p=p_of(estimate, claim.region))
    return Part(**asdict(estimate), holds=holds(estimate, claim.region))


def _few(result: Outcome, claim: Claim, parts: int) -> list[str]:
    """Which parts have too few networks: some, or all."""
    if result.left_out:
        names = [f"{label} ({n})" for label, n in result.left_out.items()]
        kept = f"{len(result.left_out)} of {parts} {claim.several} left out"
        return [f"{kept}, with fewer than {LEAST_NETWORKS} networks a side: {some(names)}"]
    if not parts or result.estimate.n >= LEAST_NETWORKS:
        return []
    if parts > 1:
        return [f"none of the {parts} {claim.several} has {LEAST_NETWORKS} networks a side, so there is no verdict"]
    return [f"{count(result.estimate.n, 'network')} a side, fewer than {LEAST_NETWORKS}, so there is no verdict"]


def _unpaired(finding: Finding) -> list[str]:
    labels = [label for label, part in finding.parts.items() if part.shared and part.n > 1]  # else nothing is compared
    if not labels:
        return []
    return [
        f"{'; '.join(labels)}: the two sides share fewer than {LEAST_NETWORKS} seeds, so all networks are compared as "
        "independent groups (Welch), not within seeds"
    ]


def _undefined(number: Estimate) -> list[str]:
    known = number.n < LEAST_NETWORKS or isfinite(number.value)
    return [] if known else ["its number is not defined, as where all networks have the same"]


def _undecidable(finding: Finding, claim: Claim, siblings: int) -> list[str]:
    """How many trainings a verdict on shares needs, where there are fewer: as corrected for claims and for parts.

    To hold, all parts judged must be clear. To be refuted, one part is enough, but its p is multiplied by their number.
    """
    if not claim.of_shares or not any(part.n for part in finding.parts.values()):
        return []
    sizes = [part.n for part in finding.parts.values() if part.n >= LEAST_NETWORKS]
    to_hold, to_refute = (least_decisive(LEVEL / siblings / times) for times in (1, len(sizes) or len(finding.parts)))
    if sizes and min(sizes) >= to_hold and max(sizes) >= to_refute:
        return []
    told = f"corrected for {siblings} claims, at least {to_hold} trainings {{}}are needed for a verdict"
    if to_refute == to_hold:
        return [told.format("")]
    return [f"{told.format('of each setting ')} that it holds, {to_refute} of one setting for one that it does not"]


def _below_99(experiment: Experiment, claim: Claim, tables: Tables) -> tuple[list[str], Part | None, list[str]]:
    """The networks below 99 % training accuracy, the claim's number without them, and both as a caveat."""
    column = accuracy_column(tables.runs, "train")
    if not claim.trained_to_the_end or column not in tables.runs:
        return [], None, []
    short = tables.runs[pd.to_numeric(tables.runs[column]) < LEAST_TRAIN_ACCURACY]
    if short.empty:
        return [], None, []
    without = outcome(_found(experiment, claim, tables.of(tables.runs.drop(short.index))), claim)
    number = without.estimate
    told = "without them there is no number to judge"
    if isfinite(number.value):
        interval = f" [{number.low:.3f}, {number.high:.3f}]" if isfinite(number.low) else ""
        words = {True: "which is as claimed", False: "which is against the claim", None: "which is undecided"}
        told = f"without them the number is {number.value:.3f}{interval} from {number.n}, {words[without.holds]}"
    names = some(_swept_parts(short.to_dict("records"), swept_keys(experiment.name)))
    caveat = f"{len(short)} of {len(tables.runs)} networks are below 99 % training accuracy ({names}): {told}"
    return list(short["run"]), Part(**asdict(number), holds=without.holds), [caveat]


def _swept_parts(runs: Sequence[Mapping[Any, Any]], swept: Sequence[str]) -> list[str]:
    """The part of each run's name that tells it from the others."""
    each = [said(run) for run in runs]
    keys = {key for one in each for key in one if key in swept or len({str(other.get(key)) for other in each}) > 1}
    told = [",".join(f"{key}={value}" for key, value in one.items() if key in keys) for one in each]
    return [own or str(run["run"]).rpartition("/")[2] for own, run in zip(told, runs, strict=True)]
