"""Claims on the page: the table of all, and beside each experiment's figures how each was judged."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from omegaconf import OmegaConf

from single_directions.experiments.claim import LEVEL
from single_directions.experiments.departures import departures
from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.judge import REDUCED, Before, Judgement, Part
from single_directions.experiments.section import Section
from single_directions.experiments.wording import Interval, interval, number, sentence
from single_directions.report.markup import Markup, table, tag, together
from single_directions.runs.config import conf_folder

HEADS = ("Figure", "The paper says", "Verdict", "Statistic [95 % interval]", "n", "Paper's value", "Caveats")


GROUPS = (
    ("The main claim of each figure", "These are counted above. Each is the paper's main sentence on its figure."),
    ("Further claims of the paper", "What else the paper says of its figures."),
    ("Asked of more settings than the paper's", "Each experiment here is a family of claims of its own."),
    ("Checks", "What the figures presuppose. These are no claims, and are not counted."),
    ("Claims of your own experiments", "Each experiment is a family of claims of its own."),
)


def leaning(claim: Judgement) -> str:
    """Whether a claim holds: "yes", "no", or "open"."""
    return {True: "yes", False: "no", None: "open"}[claim.holds]


def all_claims(sections: Sequence[Section]) -> Markup:
    """The tables of all claims, in the paper's order: main ones, further ones, those beyond the paper, checks."""
    claims = [(section, claim) for section in sections for claim in section.claims]
    if not claims:
        return tag("p", "There are no runs yet that a claim could be judged by.")
    marked = any(REDUCED in claim.caveats for _, claim in claims)
    told = "(reduced): not the paper's data, network or training in full; each section says in what."
    parts: list[Markup | None] = [tag("p", told) if marked else None]
    for place, (heading, meaning) in enumerate(GROUPS):
        if rows := [_row(section, claim) for section, claim in claims if _group(claim) == place]:
            parts += [tag("h3", heading), tag("p", meaning, class_="soft"), table(HEADS, rows, "claims")]
    return together([*parts, _changed([claim for _, claim in claims])])


def _group(claim: Judgement) -> int:
    """The place in `GROUPS`."""
    if not claim.figure:
        return 4
    if claim.role == "check":
        return 3
    return 0 if claim.counts else 1 if EXPERIMENTS[claim.experiment].papers else 2


def _changed(claims: Sequence[Judgement]) -> Markup | None:
    """What was changed about claims after their outcomes were seen."""
    rows = [
        (
            claim.figure,
            [sentence(claim.paper), tag("div", claim.id, class_="place")],
            _before(claim.history.before),
            [badge(claim), tag("div", f"{interval(claim)}, n = {claim.n}", class_="place")],
            claim.history.changed,
        )
        for claim in claims
        if claim.history
    ]
    if not rows:
        return None
    told = "These were changed after outcomes of these runs had been seen; all else was fixed before."
    heads = ("Figure", "The paper says", "Before", "Now", "What was changed, and why")
    return together([tag("h3", "Rules that were changed"), tag("p", told, class_="soft"), table(heads, rows, "claims")])


def _before(before: Before) -> str:
    """The verdict before a change, with its number where there was one."""
    return f"{before.verdict}, {interval(before)}, n = {before.n}" if before.n else before.verdict


def badge(claim: Judgement) -> Markup:
    """The verdict, coloured."""
    return tag("span", claim.verdict, class_=f"verdict {leaning(claim)}")


def own_caveats(section: Section, claim: Judgement) -> list[str]:
    """A claim's caveats without those that the page tells of all the section's runs."""
    shared = {REDUCED, *departures(section.runs)}
    return [caveat for caveat in claim.caveats if caveat not in shared]


def judged(section: Section) -> Markup:
    """A section's claims with their numbers and rules."""
    return tag("ul", [_item(section, claim) for claim in section.claims], class_="judged")


def _row(section: Section, claim: Judgement) -> tuple[Any, ...]:
    where = f"{section.experiment.name}, {section.brief if section.alone else section.place}"
    return (
        tag("a", claim.figure, href=f"#{section.id}"),
        [sentence(claim.paper), tag("div", where, class_="place")],
        badge(claim),
        [_whole(claim), [tag("div", text, class_="place") for text in (claim.statistic, *_part(claim))]],
        claim.n,
        "" if claim.paper_value is None else number(claim.paper_value),
        "; ".join(own_caveats(section, claim)),
    )


def _item(section: Section, claim: Judgement) -> Markup:
    numbers = [f"{claim.statistic}: {interval(claim)}, n = {claim.n}", *_part(claim)]
    if claim.paper_value is not None:
        numbers.append(f"the paper: {number(claim.paper_value)}")
    if isfinite(claim.effect_size) and claim.effect_size != claim.value:  # of a correlation it is the same
        numbers.append(f"effect size {number(claim.effect_size, 2)}")
    if isfinite(claim.p):
        numbers.append(f"p = {claim.p:.2g}")
    if isfinite(claim.p_corrected) and claim.family > 1:
        numbers.append(f"corrected for {claim.family} claims p = {claim.p_corrected:.2g}")
    numbers += _exchanged(claim)
    caveats = "; ".join(own_caveats(section, claim))
    return tag(
        "li",
        tag("p", badge(claim), " ", tag("strong", sentence(claim.paper))),
        tag("p", "; ".join(numbers)),
        tag("p", f"Caveats: {caveats}") if caveats else None,
        tag("p", f"Why, most likely: {claim.reason}") if claim.reason else None,
        tag("p", f"Rule: {claim.rule}.", class_="soft"),
        tag("p", _history(claim)) if claim.history else None,
        list(_details(claim.parts, claim.details)),
        class_=leaning(claim),
    )


def _part(claim: Judgement) -> list[str]:
    """Which of several parts the value is of, and which the p if that is another."""
    if len(claim.parts) < 2:
        return []
    refuted = claim.parts[claim.weakest].holds is False
    told = (
        f"the value is of {claim.weakest}, the {'farthest from the claim' if refuted else 'least clear'} of "
        f"{claim.judged} {claim.several}"
    )
    if refuted and claim.p_of:
        return [f"{told}; p is {claim.judged} times that of {claim.p_of}"]
    return [told if claim.p_of in ("", claim.weakest) else f"{told}; p is of {claim.p_of}"]


def _history(claim: Judgement) -> str:
    assert claim.history is not None
    return f"Changed after the outcome was seen: {claim.history.changed} Before: {_before(claim.history.before)}."


def _exchanged(claim: Judgement) -> list[str]:
    """P by permutation of the number shown, where p comes from a t test; whether it can be small at all."""
    part = claim.parts.get(claim.weakest)
    if part is None or not (isfinite(claim.p) and isfinite(part.p_permutation)):
        return []
    told = [f"by permutation p = {part.p_permutation:.3g}"]
    if part.p_permutation_least >= LEVEL:
        told.append(
            f"from n = {part.n} a permutation test cannot be significant: its least p is {part.p_permutation_least:.3g}"
        )
    return told


def _details(parts: Mapping[str, Part], details: Mapping[str, Any]) -> Iterator[Markup]:
    """What else was looked at: the numbers of each part, correlations side by side, what stopping would have cost."""
    if len(parts) > 1:
        words = {True: "as claimed", False: "against", None: "undecided"}
        rows: list[tuple[Any, ...]] = []
        for name, part in parts.items():
            chances = (f"{p:.3g}" if isfinite(p) else "–" for p in (part.p, part.p_permutation))
            rows.append((name, _whole(part), part.n, words[part.holds], number(part.effect_size, 2), *chances))
        heads = ("Part", "Value [95 % interval]", "n", "By its interval", "Effect size", "p", "p by permutation")
        yield table(heads, rows, "details")
    if "by_raw_auc" in details:
        yield tag("p", "By the raw AUC, not divided by the accuracy with nothing ablated:", class_="soft")
        told = [(name, _whole(part), part.n) for name, part in details["by_raw_auc"].items()]
        yield table(("Part", "Value [95 % interval]", "n"), told, "details")
    if "partial" in details:
        named = ("Correlation of AUC and generalization error", "Value [95 % interval]")
        yield table(named, _correlations(details), "details")
        yield tag("p", f"A network's AUC: {details['auc']}.", class_="soft")
    if "settings" in details:
        heads = ("Setting", "n", "Test loss at the end", "stopped by AUC", "stopped by test loss",
                 "stopped by AUC minus by test loss [95 % interval]", "epochs until stopped by AUC")  # fmt: skip
        yield table(heads, [_stopped(setting) for setting in details["settings"]], "details")
        yield tag("p", _waiting(details["patience"]), class_="soft")


def _whole(estimate: Interval) -> Markup:
    """A value and its interval on one line."""
    return tag("span", interval(estimate), class_="nowrap")


def _correlations(details: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    told = {
        "normalized AUC, Spearman": details["normalized"],
        "normalized AUC, Pearson": details["pearson"],
        "raw AUC, Spearman": details["raw"],
        **{f"normalized AUC, given {what}": part for what, part in details["partial"].items()},
        **{f"normalized AUC, within {condition}": part for condition, part in details["by_condition"].items()},
        "normalized AUC and training accuracy instead": details["auc_with_train_accuracy"],
        "normalized AUC and training loss instead": details["auc_with_train_loss"],
    }
    return [(name, _whole(estimate)) for name, estimate in told.items()]


def _waiting(patience: int) -> str:
    """What patience the numbers are of, and what one a training has that is really stopped."""
    own = OmegaConf.load(conf_folder() / "early_stopping" / "auc.yaml").patience
    other = f"; early_stopping=auc, which really stops a training, has patience {own} unless told otherwise"
    return (
        "What stopping would have cost was found afterwards, from the epochs of trainings that nothing stopped, with "
        f"patience {patience}: {patience} measurements in a row that are no better than the best before. It was fixed "
        f"before any training was looked at{other if own != patience else ''}."
    )


def _stopped(setting: Mapping[str, Any]) -> tuple[Any, ...]:
    means = setting["means"]
    return (
        setting["condition"],
        setting["n"],
        *(number(means[by]["test_loss"]) for by in ("nothing", "auc", "test_loss")),
        _whole(setting["auc_minus_test_loss"]["test_loss"]),
        number(means["auc"]["epochs"], 1),
    )
