"""Claims for the page: the tables of all of them, and beside each experiment's figures how each was judged."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from omegaconf import OmegaConf

from single_directions.experiments.departures import departures
from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.judge import REDUCED, Before, Judgement
from single_directions.experiments.section import Section
from single_directions.experiments.wording import Interval, interval, number, sentence
from single_directions.report.views import Block, Cell, Fact, Judged, Kind, table
from single_directions.runs.config import conf_folder

GROUPS = (
    ("The main claim of each figure", "The paper's main sentence on each figure. These are counted above."),
    ("Further claims of the paper", "What else the paper says about its figures."),
    (
        "The same claims with more settings than in the paper",
        "The p values of each experiment here are corrected for that experiment's claims alone.",
    ),
    ("Checks", "What the figures take for granted. These are not claims and are not counted."),
    ("Claims of your own experiments", "The p values of each experiment are corrected for its own claims."),
)
OWN = len(GROUPS) - 1


def all_claims(sections: Sequence[Section]) -> Iterator[Block]:
    """The tables of all claims by `GROUPS`."""
    claims = [(section, claim) for section in sections for claim in section.claims]
    if not claims:
        yield Block(text=("No run is done yet that a claim can be judged by.",))
    if any(REDUCED in claim.caveats for _, claim in claims):
        yield Block(text=("(reduced): the data, the network or the training are smaller than in the paper. Each "
                          "section says what differs.",))  # fmt: skip
    for place, (heading, meaning) in enumerate(GROUPS):
        if rows := [_row(section, claim) for section, claim in claims if _group(claim) == place]:
            first, style = ("Experiment", "claims own") if place == OWN else ("Figure", "claims")
            heads = (first, "Claim", "Verdict", "Value [95 % interval]", "n", "Caveats")
            yield Block(heading, (meaning,), table(heads, rows, style))


def changed(claims: Sequence[Judgement]) -> Block | None:
    """The claims whose rules were changed after their outcomes were seen."""
    rows = [
        (
            claim.figure,
            Cell(sentence(claim.paper), below=(claim.id,)),
            Cell(claim.history.before.verdict, below=_before(claim.history.before)),
            Cell(claim.verdict, leaning(claim), below=(_value(claim),)),
            claim.history.changed,
        )
        for claim in claims
        if claim.history
    ]
    text = "These rules were changed after the outcomes of these runs had been seen. All others were fixed before."
    heads = ("Figure", "Claim", "Before", "Now", "What was changed, and why")
    return Block("Rules that were changed", (text,), table(heads, rows, "changed"), "changed") if rows else None


def judged(section: Section, claim: Judgement) -> Judged:
    """A claim with its numbers, its rule, and what else was looked at."""
    history = claim.history
    facts = {
        "Measured": claim.statistic,
        "Value": "; ".join(_numbers(claim)),
        "Significance": "; ".join(_significance(claim)),
        "Caveats": "; ".join(_own_caveats(section, claim)),
        "Most likely reason": claim.reason or "",
        "Rule": f"{sentence(claim.rule)}.",
        "Changed after the outcome was seen": f"{history.changed} Before: "
        f"{', '.join((history.before.verdict, *_before(history.before)))}." if history else "",
    }  # fmt: skip
    return Judged(
        sentence(claim.paper),
        Cell(claim.verdict, leaning(claim)),
        tuple(Fact(word, text) for word, text in facts.items() if text),
        tuple(_details(claim)),
    )


def leaning(claim: Judgement) -> Kind:
    """The colour of the verdict: "yes", "no", or "open"."""
    return "open" if claim.holds is None else "yes" if claim.holds else "no"


def _group(claim: Judgement) -> int:
    """The place in `GROUPS`."""
    if not claim.figure:
        return OWN
    if claim.role == "check":
        return 3
    return 0 if claim.counts else 1 if EXPERIMENTS[claim.experiment].papers else 2


def _row(section: Section, claim: Judgement) -> tuple[object, ...]:
    where = f"{section.experiment.name}, {section.brief if section.alone else section.place}"
    return (
        Cell(claim.figure or section.experiment.name, link=section.id),
        Cell(sentence(claim.paper), below=(where,)),
        Cell(claim.verdict, leaning(claim)),
        Cell(interval(claim), "number", below=(claim.statistic, *_papers(claim), *_part(claim))),
        claim.n,
        "; ".join(_own_caveats(section, claim)),
    )


def _own_caveats(section: Section, claim: Judgement) -> list[str]:
    """A claim's caveats without those that the section tells of all its runs."""
    shared = {REDUCED, *departures(section.runs)}
    return [caveat for caveat in claim.caveats if caveat not in shared]


def _value(one: Judgement | Before) -> str:
    """The number with its interval and n."""
    return f"{interval(one)}, n = {one.n}"


def _before(before: Before) -> tuple[str, ...]:
    """The number before a change, where something had been judged."""
    return (_value(before),) if before.n else ()


def _papers(claim: Judgement) -> tuple[str, ...]:
    return () if claim.paper_value is None else (f"in the paper: {number(claim.paper_value)}",)


def _numbers(claim: Judgement) -> Iterator[str]:
    yield from (_value(claim), *_papers(claim), *_part(claim))
    if isfinite(claim.effect_size) and claim.effect_size != claim.value:  # of a correlation it is the same
        yield f"effect size {number(claim.effect_size, 2)}"


def _part(claim: Judgement) -> list[str]:
    """Which of several parts the value is of, and which part p is of if that is another."""
    if len(claim.parts) < 2:
        return []
    refuted = claim.parts[claim.weakest].holds is False
    which = "the farthest from the claim" if refuted else "the least clear"
    told = f"the value is for {claim.weakest}, which is {which} of the {claim.judged} {claim.several} judged"
    if refuted and claim.p_of:
        times = f"because {claim.judged} {claim.several} are judged"
        return [f"{told}; p is {claim.judged} times the p of {claim.p_of}, {times}"]
    same = claim.p_of in ("", claim.weakest) or not isfinite(claim.p)
    return [told if same else f"{told}; p is for {claim.p_of}, where it is largest"]


def _significance(claim: Judgement) -> Iterator[str]:
    """The p value, and the same corrected."""
    if not isfinite(claim.p):
        return
    yield f"p = {claim.p:.2g}"
    if isfinite(claim.p_corrected) and claim.family > 1:
        yield f"corrected for {claim.family} claims p = {claim.p_corrected:.2g}"


def _details(claim: Judgement) -> Iterator[Block]:
    """The numbers of each part, correlations side by side, and what stopping would have cost."""
    details = claim.details
    if len(claim.parts) > 1:
        words = {True: "as claimed", False: "against the claim", None: "undecided"}
        rows = [
            (name, _whole(part), part.n, words[part.holds], number(part.effect_size, 2),
             f"{part.p:.3g}" if isfinite(part.p) else "–")
            for name, part in claim.parts.items()
        ]  # fmt: skip
        heads = ("Part", "Value [95 % interval]", "n", "By its interval", "Effect size", "p")
        yield Block(table=table(heads, rows, "details"))
    if "by_raw_auc" in details:
        told = [(name, _whole(part), part.n) for name, part in details["by_raw_auc"].items()]
        text = "With the raw AUC, which is not divided by the accuracy with nothing clamped:"
        yield Block(text=(text,), table=table(("Part", "Value [95 % interval]", "n"), told, "details"))
    if "partial" in details:
        correlations = [(name, _whole(part)) for name, part in _correlations(details).items()]
        named = ("Correlation of AUC and generalization error", "Value [95 % interval]")
        yield Block(text=(f"A network's AUC is {details['auc']}.",), table=table(named, correlations, "details"))
    if "settings" in details:
        heads = ("Setting", "n", "Test loss at the end", "stopped by AUC", "stopped by test loss",
                 "stopped by AUC minus by test loss [95 % interval]", "epochs until stopped by AUC")  # fmt: skip
        stopped = [_stopped(setting) for setting in details["settings"]]
        yield Block(text=(_patience(details["patience"]),), table=table(heads, stopped, "details"))


def _whole(estimate: Interval) -> Cell:
    """A value and its interval on one line."""
    return Cell(interval(estimate), "number")


def _correlations(details: Mapping[str, Any]) -> dict[str, Interval]:
    return {
        "normalized AUC, Spearman": details["normalized"],
        "normalized AUC, Pearson": details["pearson"],
        "raw AUC, Spearman": details["raw"],
        **{f"normalized AUC, given {what}": part for what, part in details["partial"].items()},
        **{f"normalized AUC, within {condition}": part for condition, part in details["by_condition"].items()},
        "normalized AUC and training accuracy instead": details["auc_with_train_accuracy"],
        "normalized AUC and training loss instead": details["auc_with_train_loss"],
    }


def _patience(patience: int) -> str:
    """Which patience the numbers are for, and which one a training has that is really stopped."""
    own = OmegaConf.load(conf_folder() / "early_stopping" / "auc.yaml").patience
    other = f" A training with `early_stopping=auc` has patience {own} by default." if own != patience else ""
    return (
        "What stopping would have cost is computed from trainings that nothing stopped, with patience "
        f"{patience}: a training stops after {patience} measurements in a row that are no better than the best before. "
        f"The patience was fixed before any training was looked at.{other}"
    )


def _stopped(setting: Mapping[str, Any]) -> tuple[object, ...]:
    means = setting["means"]
    return (
        setting["condition"],
        setting["n"],
        *(number(means[by]["test_loss"]) for by in ("nothing", "auc", "test_loss")),
        _whole(setting["auc_minus_test_loss"]["test_loss"]),
        number(means["auc"]["epochs"], 1),
    )
