"""Claims for the page: the tables of all of them, and beside each experiment's figures how each was judged."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from omegaconf import OmegaConf

from single_directions.experiments.departures import departures
from single_directions.experiments.judge import REDUCED, Before, Judgement
from single_directions.experiments.section import Section
from single_directions.experiments.wording import Interval, interval, number, sentence
from single_directions.report.views import Block, Cell, Fact, Judged, Kind, interval_cell, table
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
    claims = [(section, judgement) for section in sections for judgement in section.claims]
    if not claims:
        yield Block(text=("No run is done yet that a claim can be judged by.",))
    if any(REDUCED in judgement.caveats for _, judgement in claims):
        yield Block(text=("(reduced): the data, the network or the training are smaller than in the paper. The "
                          "part on each experiment says what differs.",))  # fmt: skip
    for place, (heading, meaning) in enumerate(GROUPS):
        if rows := [_row(section, judgement) for section, judgement in claims if _group(judgement) == place]:
            first, style = ("Experiment", "claims own") if place == OWN else ("Figure", "claims")
            heads = (first, "Claim", "Verdict", "Value [95 % interval]", "n", "Caveats")
            yield Block(heading, (meaning,), table(heads, rows, style))


def changed(claims: Sequence[Judgement]) -> Block | None:
    """The claims whose rules were changed after their outcomes were seen."""
    rows = [
        (
            judgement.figure,
            Cell(sentence(judgement.claim.paper), below=(judgement.id,)),
            Cell(judgement.history.before.verdict, below=_before(judgement.history.before)),
            Cell(judgement.verdict, leaning(judgement), below=(_value(judgement),)),
            judgement.history.changed,
        )
        for judgement in claims
        if judgement.history
    ]
    text = "These rules were changed after the outcomes of these runs had been seen. All others were fixed before."
    heads = ("Figure", "Claim", "Before", "Now", "What was changed, and why")
    return Block("Rules that were changed", (text,), table(heads, rows, "changed"), "changed") if rows else None


def judged(section: Section, judgement: Judgement) -> Judged:
    """A claim with its numbers, its rule, and what else was looked at."""
    history = judgement.history
    facts = {
        "Measured": judgement.claim.statistic,
        "Value": "; ".join(_numbers(judgement)),
        "Significance": "; ".join(_significance(judgement)),
        "Caveats": "; ".join(_own_caveats(section, judgement)),
        "Most likely reason": judgement.reason or "",
        "Rule": f"{sentence(judgement.rule)}.",
        "Changed after the outcome was seen": f"{history.changed} Before: "
        f"{', '.join((history.before.verdict, *_before(history.before)))}." if history else "",
    }  # fmt: skip
    return Judged(
        sentence(judgement.claim.paper),
        Cell(judgement.verdict, leaning(judgement)),
        tuple(Fact(word, text) for word, text in facts.items() if text),
        tuple(_details(judgement)),
    )


def leaning(judgement: Judgement) -> Kind:
    """The colour of the verdict: "yes", "no", or "open"."""
    return "open" if judgement.holds is None else "yes" if judgement.holds else "no"


def _group(judgement: Judgement) -> int:
    """The place in `GROUPS`."""
    if not judgement.figure:
        return OWN
    if judgement.claim.role == "check":
        return 3
    return 0 if judgement.counts else 1 if judgement.experiment.papers else 2


def _row(section: Section, judgement: Judgement) -> tuple[object, ...]:
    where = f"{section.experiment.name}, {section.brief if section.alone else section.place}"
    return (
        Cell(judgement.figure or section.experiment.name, link=section.id),
        Cell(sentence(judgement.claim.paper), below=(where,)),
        Cell(judgement.verdict, leaning(judgement)),
        Cell(interval(judgement), "number", below=(judgement.claim.statistic, *_papers(judgement), *_part(judgement))),
        judgement.n,
        "; ".join(_own_caveats(section, judgement)),
    )


def _own_caveats(section: Section, judgement: Judgement) -> list[str]:
    """A claim's caveats without those that the section tells of all its runs."""
    shared = {REDUCED, *departures(section.runs)}
    return [caveat for caveat in judgement.caveats if caveat not in shared]


def _value(one: Judgement | Before) -> str:
    """The number with its interval and n."""
    return f"{interval(one)}, n = {one.n}"


def _before(before: Before) -> tuple[str, ...]:
    """The number before a change, where something had been judged."""
    return (_value(before),) if before.n else ()


def _papers(judgement: Judgement) -> tuple[str, ...]:
    return () if judgement.claim.paper_value is None else (f"in the paper: {number(judgement.claim.paper_value)}",)


def _numbers(judgement: Judgement) -> Iterator[str]:
    yield from (_value(judgement), *_papers(judgement), *_part(judgement))
    if isfinite(judgement.effect_size) and judgement.effect_size != judgement.value:  # of a correlation it is the same
        yield f"effect size {number(judgement.effect_size, 2)}"


def _part(judgement: Judgement) -> list[str]:
    """Which of several parts the value is of, and which part p is of if that is another."""
    if len(judgement.parts) < 2:
        return []
    parts = f"{judgement.judged} {judgement.claim.several}"
    refuted = judgement.parts[judgement.label].holds is False
    which = "the farthest from the claim" if refuted else "the least clear"
    text = f"the value is for {judgement.label}, which is {which} of the {parts} judged"
    if refuted and judgement.p_label:
        text += f"; p is {judgement.judged} times the p of {judgement.p_label}, because {parts} are judged"
    elif judgement.p_label not in ("", judgement.label) and isfinite(judgement.p):
        text += f"; p is for {judgement.p_label}, where it is largest"
    return [text]


def _significance(judgement: Judgement) -> Iterator[str]:
    """The p value, and the same corrected."""
    if not isfinite(judgement.p):
        return
    yield f"p = {judgement.p:.2g}"
    if isfinite(judgement.p_corrected) and judgement.family > 1:
        yield f"corrected for {judgement.family} claims p = {judgement.p_corrected:.2g}"


def _details(judgement: Judgement) -> Iterator[Block]:
    """The numbers of each part, correlations side by side, and what stopping would have cost."""
    details = judgement.details
    heads: tuple[str, ...]
    rows: list[tuple[object, ...]]
    if len(judgement.parts) > 1:
        words = {True: "as claimed", False: "against the claim", None: "undecided"}
        rows = [
            (name, interval_cell(part), part.n, words[part.holds], number(part.effect_size, 2),
             f"{part.p:.3g}" if isfinite(part.p) else "–")
            for name, part in judgement.parts.items()
        ]  # fmt: skip
        heads = ("Level or setting", "Value [95 % interval]", "n", "By the interval alone", "Effect size", "p")
        yield Block(table=table(heads, rows, "details"))
    if "by_raw_auc" in details:
        rows = [(name, interval_cell(part), part.n) for name, part in details["by_raw_auc"].items()]
        text = "With the raw AUC, which is not divided by the accuracy with nothing clamped:"
        yield Block(text=(text,), table=table(("Level or setting", "Value [95 % interval]", "n"), rows, "details"))
    if "partial" in details:
        rows = [(name, interval_cell(part)) for name, part in _correlations(details).items()]
        heads = ("Correlation of AUC and generalization error", "Value [95 % interval]")
        yield Block(text=(f"A network's AUC is {details['auc']}.",), table=table(heads, rows, "details"))
    if "settings" in details:
        heads = ("Setting", "n", "Test loss at the end", "stopped by AUC", "stopped by test loss",
                 "stopped by AUC minus by test loss [95 % interval]", "epochs until stopped by AUC")  # fmt: skip
        rows = [_stopped(setting) for setting in details["settings"]]
        yield Block(text=(_patience(details["patience"]),), table=table(heads, rows, "details"))


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
        interval_cell(setting["auc_minus_test_loss"]["test_loss"]),
        number(means["auc"]["epochs"], 1),
    )
