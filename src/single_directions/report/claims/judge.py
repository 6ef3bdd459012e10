"""All claims judged on all sweeps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pandas as pd

from single_directions.report.claims import early_stopping, ensemble, memorization, regularizers
from single_directions.report.claims.claim import (
    LEVEL,
    Claim,
    Finding,
    Outcome,
    accuracy_column,
    family,
    holds,
    outcome,
    p_of,
    plain,
    verdict,
)
from single_directions.report.claims.departures import departures, reductions
from single_directions.report.copies import first_of
from single_directions.report.planned import not_done
from single_directions.report.statistics import LEAST_NETWORKS, Estimate, least_decisive
from single_directions.report.sweeps import said, sweeps, swept_keys
from single_directions.report.table import Tables
from single_directions.runs.folder import write_json

CLAIMS: tuple[Claim, ...] = (
    *memorization.CLAIMS,
    *ensemble.CLAIMS,
    *early_stopping.CLAIMS,
    *regularizers.CLAIMS,
)
LEAST_TRAIN_ACCURACY = 0.99
"""Below it a network that should know its training images by heart does not, and is named."""
NAMED = 6
"""Networks that a caveat names; the details hold all."""
REDUCED = "reduced: not the paper's data, network or training in full"
"""The caveat of claims at the paper's scale that were judged by less."""


def judge(tables: Tables) -> list[dict[str, Any]]:
    """An entry for each claim and sweep of an experiment that it is judged in, in the order of the figures.

    Keys are `id` ("<experiment>.<name>"), `experiment`, `figure`, `role` (main, further or check), `scale`, `data`,
    `variant`, `paper` (its sentence in short), `statistic`, `value` with its 95 % interval `low` to `high`, `n`
    (networks, on the side with fewer), `paper_value`, `p` and `p_corrected` (for `family` claims, see `claim.family`),
    `effect_size`, `verdict`, `rule`, `caveats`, `details` and `runs`, how many were used. What is not known is None.

    An entry depends on the runs of its own sweep alone. A network that the sweep holds twice counts once.

    A claim of several numbers (one a level of corruption, say) shows the weakest, which decides; all of them are in
    `details["parts"]`, a dict from what each is of to its `Estimate`, with `holds`; `details["weakest"]` names the one
    shown, of `details["judged"]` of what `details["several"]` calls them, and `details["p_of"]` the one that `p` is of.
    `details["below_99"]` lists networks below 99 % training accuracy, and `details["without_below_99"]` is the
    claim's value, interval, n and verdict without them.
    """
    entries = [_entry(*case) for case in _cases(tables)]
    return sorted(entries, key=lambda entry: entry["figure"])


def write_claims(claims: list[dict[str, Any]], path: Path) -> None:
    """Write `claims.json`."""
    write_json(path, claims)


def as_text(claims: list[dict[str, Any]]) -> str:
    """The claims as a table for a terminal, a line each; those of the same runs under a line that names these."""
    if not claims:
        return "no claim can be judged yet"
    lines = [
        {
            "figure": claim["figure"],
            "claim": claim["id"],
            "n": claim["n"],
            "value": "-" if claim["value"] is None else f"{claim['value']:.3f}",
            "95 %": "-" if claim["low"] is None else f"{claim['low']:.3f} to {claim['high']:.3f}",
            "p corrected": "-" if claim["p_corrected"] is None else f"{claim['p_corrected']:.2g}",
            "verdict": claim["verdict"],
        }
        for claim in claims
    ]
    head, *rows = pd.DataFrame(lines).to_string(index=False).splitlines()
    text, before = [head], ""
    for claim, row in zip(claims, rows, strict=True):
        runs = "/".join(filter(None, (claim["experiment"], claim["scale"], claim["data"], claim["variant"])))
        text += [row] if runs == before else [runs, row]
        before = runs
    return "\n".join(text)


Sweep = tuple[str, str, str, str]
"""Experiment, scale, data, variant."""


def _cases(tables: Tables) -> Iterable[tuple[Sweep, Tables, Claim, list[str]]]:
    for sweep, runs in sweeps(tables.runs):
        copies = first_of(runs)
        own = tables.of(runs[~runs["run"].isin(copies)])
        caveats = not_done(tables.runs, sweep)
        if copies:
            caveats.append(f"{len(copies)} of {len(runs)} runs are networks that others here are too: counted once")
        for claim in CLAIMS:
            if sweep[0] in claim.figures:
                yield sweep, own, claim, caveats


def _judged(claim: Claim, tables: Tables) -> tuple[Outcome, Finding]:
    """A claim's outcome and finding, the latter with what the rule itself looks into."""
    finding = claim.find(tables)
    result = outcome(finding, claim)
    details = {
        **finding.details,
        "parts": {
            name: {**vars(_of_the_region(part, claim)), "holds": holds(part, claim.region)}
            for name, part in finding.parts.items()
        },
        "weakest": result.label,
        "p_of": result.p_label,
        "several": claim.several,
        "judged": len(finding.parts) - len(result.left_out),
    }
    reduced = [REDUCED] if (tables.runs["scale"] == "paper").all() and reductions(tables.runs) else []
    caveats = [*reduced, *departures(tables.runs), *finding.caveats, *_few(result, claim, len(finding.parts))]
    if unpaired := [label for label, part in finding.parts.items() if part.shared]:
        caveats.append(
            f"{'; '.join(unpaired)}: the two sides share fewer than {LEAST_NETWORKS} seeds, so all networks are "
            "compared as independent groups (Welch), not within seeds"
        )
    if result.estimate.n >= LEAST_NETWORKS and not isfinite(result.estimate.value):
        caveats.append("its number is not defined, as where all networks have the same")
    if claim.trained_to_the_end:
        short = _below(tables.runs)
        if len(short):
            without = outcome(claim.find(tables.of(tables.runs.drop(short.index))), claim)
            details["below_99"] = list(short["run"])
            details["without_below_99"] = {**vars(without.estimate), "holds": without.holds}
            caveats.append(_told(short, len(tables.runs), without))
    return result, replace(finding, details=details, caveats=tuple(caveats))


def _of_the_region(part: Estimate, claim: Claim) -> Estimate:
    """The estimate with the p of the claim's region; permutations test nothing but `null`."""
    if set(claim.region) & {part.null}:
        return part
    return replace(part, p=p_of(part, claim.region), p_permutation=nan, p_permutation_least=nan)


def _few(result: Outcome, claim: Claim, parts: int) -> list[str]:
    """What has too few networks: some of the parts, or all."""
    if result.left_out:
        names = [f"{label} ({n})" for label, n in result.left_out.items()]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        kept = f"{len(result.left_out)} of {parts} {claim.several} left out"
        return [f"{kept}, with fewer than {LEAST_NETWORKS} networks a side: {'; '.join(names[:NAMED])}{more}"]
    if parts > 1 and result.estimate.n < LEAST_NETWORKS:
        return [f"no one of the {parts} {claim.several} has {LEAST_NETWORKS} networks a side: nothing is decided"]
    if parts and result.estimate.n < LEAST_NETWORKS:
        networks = "network" if result.estimate.n == 1 else "networks"
        return [f"{result.estimate.n} {networks} a side, fewer than {LEAST_NETWORKS}: nothing is decided"]
    return []


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


def _below(runs: pd.DataFrame) -> pd.DataFrame:
    column = accuracy_column(runs, "train")
    return runs[pd.to_numeric(runs[column]) < LEAST_TRAIN_ACCURACY] if column in runs else runs.iloc[:0]


def _told(short: pd.DataFrame, runs: int, without: Outcome) -> str:
    swept = swept_keys(short["experiment"].iloc[0])
    names = [_swept_part(row, swept) for row in short.to_dict("records")]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    part = without.estimate
    interval = f" [{part.low:.3f}, {part.high:.3f}]" if isfinite(part.low) else ""
    number = (
        f"without them the number is {part.value:.3f}{interval} from {part.n}"
        if isfinite(part.value)
        else "without them there is nothing to judge"
    )
    said = {True: ", as claimed", False: ", against the claim", None: ", which decides nothing"}[without.holds]
    return (
        f"{len(short)} of {runs} networks are below 99 % training accuracy ({'; '.join(names[:NAMED])}{more}): "
        f"{number}{said}"
    )


def _swept_part(run: Mapping[Any, Any], swept: Sequence[str]) -> str:
    """What tells a run, a row of the table, from the others of its sweep."""
    own = [f"{key}={value}" for key, value in said(run).items() if key in swept]
    return ",".join(own) or str(run["run"]).rpartition("/")[2]


def _entry(sweep: Sweep, tables: Tables, claim: Claim, incomplete: Sequence[str]) -> dict[str, Any]:
    experiment, scale, data, variant = sweep
    result, finding = _judged(claim, tables)
    siblings = family(claim, experiment, CLAIMS)
    p_corrected = min(1.0, siblings * result.p)
    if result.estimate.n < LEAST_NETWORKS:
        p_corrected = nan
    caveats = [*incomplete, *finding.caveats, *_undecidable(finding, claim, siblings)]
    if result.holds is not None and p_corrected >= LEVEL and claim.role != "check":
        caveats.append(
            f"the interval alone would decide, but p is {p_corrected:.2g} once corrected for {siblings} claims"
        )
    entry = {
        "id": f"{experiment}.{claim.name}",
        "experiment": experiment,
        "figure": claim.figures[experiment],
        "role": claim.role,
        "family": siblings,
        "scale": scale,
        "data": data,
        "variant": variant,
        "paper": claim.paper,
        "statistic": claim.statistic,
        "value": result.estimate.value,
        "low": result.estimate.low,
        "high": result.estimate.high,
        "n": result.estimate.n,
        "paper_value": claim.paper_values.get(experiment),
        "p": result.p,
        "p_corrected": p_corrected,
        "effect_size": result.estimate.effect_size,
        "verdict": verdict(result.holds, p_corrected, scale, data, claim.role, finding.measured),
        "rule": claim.rule(len(finding.parts), siblings),
        "caveats": caveats,
        "details": finding.details,
        "runs": len(tables.runs),
    }
    return {key: plain(value) for key, value in entry.items()}
