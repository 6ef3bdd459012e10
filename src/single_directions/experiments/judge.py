"""All claims judged on all sweeps."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import compress
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pandas as pd

from single_directions.errors import BadInput, first_line
from single_directions.experiments.claim import LEVEL, Claim, Finding, Outcome, Part, accuracy_column, outcome
from single_directions.experiments.copies import first_of
from single_directions.experiments.departures import departures, reductions
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, papers
from single_directions.experiments.statistics import LEAST_NETWORKS, least_decisive
from single_directions.experiments.sweeps import Sweep, not_done, overrides_of, sweeps, swept_keys
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import count, interval, some
from single_directions.runs.folder import write_json

LEAST_TRAIN_ACCURACY = 0.99
"""A network below it has not learned all training images, and is named."""
_ALL = "all of "
REDUCED = "reduced: not the paper's data, network or training in full"
"""The caveat of claims at the paper's scale that were judged by less."""


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


@dataclass(frozen=True, kw_only=True)
class Judgement(Outcome):
    """One claim, judged by the runs of one sweep alone: its outcome, in which `holds` also considers the corrected p.

    Attributes:
        experiment, claim, sweep: what is judged, by which runs.
        family: for how many claims p is corrected, see `family_size`.
        p_corrected: NaN where nothing is judged, as from fewer than 4 networks.
        measured, details, caveats: as in `Finding`; other caveats are added.
        below_99: the networks below 99 % training accuracy, where they are out of place; `without_below_99` is the
            claim's number without them.
        runs: how many networks the sweep has. A network that was trained twice counts once.
        reason: why the claim holds or not, most likely, in the words of the results' authors.
        history: what was changed about the claim after its outcome was seen.
    """

    experiment: Experiment
    claim: Claim
    sweep: Sweep
    family: int
    p_corrected: float
    measured: bool
    details: Mapping[str, Any]
    caveats: Sequence[str]
    below_99: Sequence[str]
    without_below_99: Part | None
    runs: int
    reason: str | None = None
    history: Change | None = None

    @property
    def id(self) -> str:
        """``batch_norm.auc``: experiment and claim."""
        return f"{self.experiment.name}.{self.claim.name}"

    @property
    def name(self) -> str:
        """Its id with the sweep: ``batch_norm.auc/paper/image_folder/network.width=0.25``."""
        return self.sweep._replace(experiment=self.id).name

    @property
    def figure(self) -> str:
        """The figure of the paper; "" for a claim of a user's experiment."""
        return self.claim.figure or self.experiment.figure

    @property
    def judged(self) -> int:
        """How many parts were judged."""
        return len(self.parts) - len(self.left_out)

    @property
    def counts(self) -> bool:
        """Whether it is the main claim of one of the paper's figures."""
        return self.claim.role == "main" and self.experiment.papers

    @property
    def rule(self) -> str:
        """The rule of the verdict in words."""
        return self.claim.rule(len(self.parts), self.family, own=not self.experiment.figure)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.claim.role == "check":
            return {True: "met", False: "not met", None: "undecided"}[self.holds]
        if not self.measured:
            return "not measured"
        if self.sweep.scale == "demo" or not self.figure:
            words = {True: "holds", False: "does not hold", None: "inconclusive"}
            return f"{words[self.holds]} on {self.sweep.data}"
        return {True: "reproduced", False: "not reproduced", None: "inconclusive"}[self.holds]

    def as_json(self) -> dict[str, Any]:
        """The entry of `claims.json`. A number that is not known is None; floats have 10 significant digits."""
        claim, sweep = self.claim, self.sweep
        details = {**self.details, "parts": self.parts, "weakest": self.label, "p_of": self.p_label,
                   "several": claim.several, "judged": self.judged}  # fmt: skip
        if self.below_99:
            details |= {"below_99": self.below_99, "without_below_99": self.without_below_99}
        entry = {
            "id": self.id, "experiment": sweep.experiment, "figure": self.figure, "role": claim.role,
            "family": self.family, "scale": sweep.scale, "data": sweep.data, "variant": sweep.variant,
            "paper": claim.paper, "statistic": claim.statistic, "value": self.value, "low": self.low,
            "high": self.high, "n": self.n, "paper_value": claim.paper_value, "p": self.p,
            "p_corrected": self.p_corrected, "effect_size": self.effect_size, "verdict": self.verdict,
            "rule": self.rule, "caveats": self.caveats, "details": details, "runs": self.runs,
            "reason": self.reason, "history": self.history,
        }  # fmt: skip
        return {name: plain(value) for name, value in entry.items()}


def judge(tables: Tables) -> list[Judgement]:
    """Each claim judged by each sweep of its experiment, in the order of the paper's figures, then the user's."""
    found = []
    for sweep, runs in sweeps(tables.runs):
        if (experiment := EXPERIMENTS.get(sweep.experiment)) is None:
            continue
        copies = first_of(runs)
        networks = tables.of(runs[~runs["run"].isin(copies)])
        caveats = not_done(tables.runs, sweep)
        if copies:
            caveats.append(f"{len(copies)} of {len(runs)} runs are networks that others here are too: counted once")
        found += [_judgement(experiment, sweep, networks, claim, caveats) for claim in experiment.claims]
    return sorted(found, key=lambda one: (not one.figure, one.figure))


def write_claims(claims: Sequence[Judgement], path: Path) -> None:
    """Write `claims.json`."""
    write_json(path, [claim.as_json() for claim in claims])


def as_text(claims: Sequence[Judgement]) -> str:
    """The claims as a table for a terminal, one line each; a line above names the runs that they are judged by."""
    if not claims:
        return "no claim can be judged yet"
    heads = ("figure", "claim", "n", "value [95 %]", "p corrected", "verdict")
    lines = [
        (one.figure, one.id, one.n, interval(one), f"{one.p_corrected:.2g}".replace("nan", "–"), one.verdict)
        for one in claims
    ]
    head, *rows = pd.DataFrame(lines, columns=heads).to_string(index=False).splitlines()
    text = [head]
    for before, claim, row in zip([None, *claims], claims, rows, strict=False):
        text += [row] if before and before.sweep == claim.sweep else [claim.sweep.name, row]
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


def family_size(claim: Claim, experiment: Experiment) -> int:
    """For how many claims a p value is corrected: as many as the code has, so that it is the same in any folder.

    The main claims of the paper's own experiments are one family, one for each of its nine panels. Every other
    experiment is a family of its own, and so are an experiment's further claims. Bonferroni's correction is used:
    Holm's depends on the p values of the other claims, and so on what else lies in the folder.
    """
    if claim.role == "check":
        return 1
    together = papers() if claim.role == "main" and experiment.papers else [experiment]
    return sum(one.role == claim.role for other in together for one in other.claims)


def _judgement(experiment: Experiment, sweep: Sweep, tables: Tables, claim: Claim, caveats: Sequence[str]) -> Judgement:
    finding = _found(experiment, claim, tables)
    result = outcome(finding, claim)
    family = family_size(claim, experiment)
    p_corrected = min(1.0, family * result.p) if result.n >= LEAST_NETWORKS else nan
    not_significant = claim.role != "check" and p_corrected >= LEVEL
    below_99, without, below_99_caveats = _below_99(experiment, claim, tables, len(result.parts))
    caveats = [
        *caveats,
        *([REDUCED] if sweep.scale == "paper" and reductions(tables.runs) else []),
        *departures(tables.runs),
        *finding.caveats,
        *_caveats(result, claim, family),
        *below_99_caveats,
    ]
    if not_significant and result.holds is not None:
        caveats.append(
            f"the interval alone would decide, but p is {p_corrected:.2g} once corrected for {family} claims"
        )
    return Judgement(
        **vars(result) | {"holds": None if not_significant else result.holds},
        experiment=experiment,
        claim=claim,
        sweep=sweep,
        family=family,
        p_corrected=p_corrected,
        measured=finding.measured,
        details=finding.details,
        caveats=caveats,
        below_99=below_99,
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


def _caveats(result: Outcome, claim: Claim, family: int) -> Iterator[str]:
    """Which parts have too few networks or unpaired ones, and what a verdict needs."""
    parts = len(result.parts)
    if result.left_out:
        names = some([f"{label} ({n})" for label, n in result.left_out.items()])
        left_out = f"{len(result.left_out)} of {parts} {claim.several} left out"
        yield f"{left_out}, with fewer than {LEAST_NETWORKS} networks in a group: {names}"
    elif parts and result.n < LEAST_NETWORKS:
        one = f"{count(result.n, 'network')} in a group, fewer than {LEAST_NETWORKS}"
        several = f"none of the {parts} {claim.several} has {LEAST_NETWORKS} networks in a group"
        yield f"{one if parts == 1 else several}, so there is no verdict"
    # Of a single network nothing is compared.
    if unpaired := [label for label, part in result.parts.items() if part.shared and part.n > 1]:
        yield (
            f"{'; '.join(unpaired)}: the two groups share fewer than {LEAST_NETWORKS} seeds, so all networks are "
            "compared as independent groups (Welch), not within seeds"
        )
    if result.n >= LEAST_NETWORKS and not isfinite(result.value):
        yield "its number is not defined, as where all networks have the same"
    if claim.of_shares and any(part.n for part in result.parts.values()):
        # To hold, all parts judged must be clear. One part can refute, but its p is multiplied by their number.
        sizes = [part.n for part in result.parts.values() if part.n >= LEAST_NETWORKS]
        to_hold, to_refute = (least_decisive(LEVEL / family / times) for times in (1, len(sizes) or parts))
        text = f"corrected for {family} claims, at least {to_hold} trainings"
        if sizes and min(sizes) >= to_hold and max(sizes) >= to_refute:
            return
        if to_refute == to_hold:
            yield f"{text} are needed for a verdict"
        else:
            needed = f"{text} of each setting are needed for a verdict that it holds"
            yield f"{needed}, {to_refute} of one setting for one that it does not"


def _below_99(
    experiment: Experiment, claim: Claim, tables: Tables, parts: int
) -> tuple[list[str], Part | None, list[str]]:
    """The networks below 99 % training accuracy, the claim's number without them, and both as a caveat.

    The caveat also says where that number is over fewer than all `parts` of the claim.
    """
    column = accuracy_column(tables.runs, "train")
    if not claim.trained_to_the_end or column not in tables.runs:
        return [], None, []
    below = pd.to_numeric(tables.runs[column]) < LEAST_TRAIN_ACCURACY
    if not below.any():
        return [], None, []
    result = outcome(_found(experiment, claim, tables.of(tables.runs[~below])), claim)
    text = "without them there is no number to judge"
    if isfinite(result.value):
        words = {True: "which is as claimed", False: "which is against the claim", None: "which is undecided"}
        left = len(result.parts) - len(result.left_out)
        over = f", over {left} of the {parts} {claim.several}" if left < parts else ""
        text = f"without them the number is {interval(result)} from {result.n}{over}, {words[result.holds]}"
    named = "" if below.all() else f" ({some(_named(tables.runs, list(below), swept_keys(experiment.name)))})"
    caveat = f"{below.sum()} of {len(below)} networks are below 99 % training accuracy{named}: {text}"
    without = Part(**{one.name: getattr(result, one.name) for one in fields(Part)})
    return list(tables.runs.loc[below, "run"]), without, [caveat]


def _named(runs: pd.DataFrame, chosen: Sequence[bool], swept: Sequence[str]) -> list[str]:
    """Some runs by what tells each from the others; first, and once, conditions all of whose networks are chosen."""
    each = [overrides_of(run) for run in runs.to_dict("records")]
    keys = {key for one in each for key in one if key in swept or len({str(other.get(key)) for other in each}) > 1}
    parts = [[f"{key}={value}" for key, value in one.items() if key in keys] for one in each]
    conditions = [",".join(part for part in own if not part.startswith("seed=")) for own in parts]
    sizes, of_them = Counter(conditions), Counter(compress(conditions, chosen))
    names: dict[str, None] = {}
    for own, condition, run in compress(zip(parts, conditions, runs["run"], strict=True), chosen):
        whole = condition and of_them[condition] == sizes[condition] > 1
        names[f"{_ALL}{condition}" if whole else ",".join(own) or run.rpartition("/")[2]] = None
    return sorted(names, key=lambda name: not name.startswith(_ALL))
