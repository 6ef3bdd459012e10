"""Claims for the page: the tables of all of them, and beside each experiment's figures how each was judged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from single_directions.report.claims.claim import LEVEL, OF_THE_PAPER
from single_directions.report.claims.departures import departures
from single_directions.report.claims.judge import REDUCED
from single_directions.report.section import Claim, Section
from single_directions.report.views import Block, Cell, Fact, Judged, Kind, table
from single_directions.report.wording import interval, number, sentence
from single_directions.runs.config import conf_folder

GROUPS = (
    ("The main claim of each figure", "The paper's main sentence on each figure. These are counted above."),
    ("Further claims of the paper", "What else the paper says about its figures."),
    (
        "The same claims with more settings than in the paper",
        "The p values of each experiment here are corrected for that experiment's claims alone.",
    ),
    ("Checks", "What the figures take for granted. These are not claims and are not counted."),
)


def leaning(claim: Claim) -> Kind:
    """Whether a claim holds: "yes", "no", or "open"."""
    verdict = claim["verdict"]
    if verdict.startswith(("holds", "reproduced", "met")):
        return "yes"
    return "no" if verdict.startswith(("does not hold", "not reproduced", "not met")) else "open"


def is_main(claim: Claim) -> bool:
    """Whether it is the main claim of one of the paper's figures, and so counts."""
    return bool(claim["role"] == "main" and claim["experiment"] in OF_THE_PAPER)


def all_claims(sections: Sequence[Section]) -> Iterator[Block]:
    """The tables of all claims: main ones, further ones, those beyond the paper, checks."""
    claims = [(section, claim) for section in sections for claim in section.claims]
    if not claims:
        yield Block(text=("No run is done yet that a claim can be judged by.",))
    if any(REDUCED in claim["caveats"] for _, claim in claims):
        yield Block(text=("(reduced): the data, the network or the training are smaller than in the paper. Each "
                          "section says what differs.",))  # fmt: skip
    heads = ("Figure", "The paper says", "Verdict", "Value [95 % interval]", "n", "Paper's value", "Caveats")
    for place, (heading, meaning) in enumerate(GROUPS):
        if rows := [_row(section, claim) for section, claim in claims if _group(claim) == place]:
            yield Block(heading, (meaning,), table(heads, rows, "claims"))


def changed(claims: Sequence[Claim]) -> Block | None:
    """The claims whose rules were changed after their outcomes were seen."""
    rows = [
        (
            claim["figure"],
            Cell(sentence(claim["paper"]), below=(claim["id"],)),
            Cell(
                claim["history"]["before"]["verdict"], below=tuple(filter(None, [_value(claim["history"]["before"])]))
            ),
            Cell(claim["verdict"], leaning(claim), below=(_value(claim),)),
            claim["history"]["changed"],
        )
        for claim in claims
        if claim.get("history")
    ]
    text = "These rules were changed after the outcomes of these runs had been seen. All others were fixed before."
    heads = ("Figure", "The paper says", "Before", "Now", "What was changed, and why")
    return Block("Rules that were changed", (text,), table(heads, rows, "changed"), "changed") if rows else None


def _value(claim: Mapping[str, Any]) -> str:
    """The number with its interval and n, "" where nothing was judged."""
    return f"{interval(claim)}, n = {claim['n']}" if claim["n"] is not None else ""


def _group(claim: Claim) -> int:
    if claim["role"] == "check":
        return 3
    return 2 if claim["experiment"] not in OF_THE_PAPER else 0 if claim["role"] == "main" else 1


def _row(section: Section, claim: Claim) -> tuple[object, ...]:
    where = f"{section.experiment.name}, {section.brief if section.alone else section.place}"
    return (
        Cell(claim["figure"], link=section.id),
        Cell(sentence(claim["paper"]), below=(where,)),
        _verdict(claim),
        Cell(interval(claim), "number", below=(claim["statistic"], *_part(claim))),
        str(claim["n"]),
        "" if claim["paper_value"] is None else number(claim["paper_value"]),
        "; ".join(_own_caveats(section, claim)),
    )


def _verdict(claim: Claim) -> Cell:
    return Cell(claim["verdict"], leaning(claim))


def _own_caveats(section: Section, claim: Claim) -> list[str]:
    """A claim's caveats without those that the section tells of all its runs."""
    shared = {REDUCED, *departures(section.runs)}
    return [caveat for caveat in claim["caveats"] if caveat not in shared]


def judged(section: Section, claim: Claim) -> Judged:
    """A claim with its numbers, its rule, and what else was looked at."""
    numbers = [_value(claim), *_part(claim)]
    if claim["paper_value"] is not None:
        numbers.append(f"in the paper: {number(claim['paper_value'])}")
    if claim["effect_size"] not in (None, claim["value"]):  # of a correlation it is the same
        numbers.append(f"effect size {number(claim['effect_size'], 2)}")
    if claim["p"] is not None:
        numbers.append(f"p = {claim['p']:.2g}")
    if claim["p_corrected"] is not None and claim["family"] > 1:
        numbers.append(f"corrected for {claim['family']} claims p = {claim['p_corrected']:.2g}")
    history, before = claim.get("history"), ""
    if history:
        before = ", ".join(filter(None, (history["before"]["verdict"], _value(history["before"]))))
    facts = {
        "Measured": claim["statistic"],
        "Value": "; ".join([*numbers, *_permuted(claim)]),
        "Caveats": "; ".join(_own_caveats(section, claim)),
        "Most likely reason": claim.get("reason") or "",
        "Rule": f"{claim['rule']}.",
        "Changed after the outcome was seen": f"{history['changed']} Before: {before}." if history else "",
    }
    return Judged(
        sentence(claim["paper"]),
        _verdict(claim),
        tuple(Fact(word, text) for word, text in facts.items() if text),
        tuple(_details(claim["details"])),
    )


def _part(claim: Claim) -> list[str]:
    """Which of several parts the value is of, and which part p is of if that is another."""
    details = claim["details"]
    if len(details.get("parts", {})) < 2:
        return []
    refuted = details["parts"][details["weakest"]]["holds"] is False
    told = (
        f"the value is that of {details['weakest']}, the {'farthest from the claim' if refuted else 'least clear'} of "
        f"{details['judged']} {details['several']}"
    )
    if refuted and details["p_of"]:
        return [f"{told}; p is {details['judged']} times that of {details['p_of']}"]
    return [told if details["p_of"] in ("", details["weakest"]) else f"{told}; p is that of {details['p_of']}"]


def _permuted(claim: Claim) -> list[str]:
    """The p of the value by permutation, where p comes from a t test; and whether it can be small at all."""
    part = claim["details"].get("parts", {}).get(claim["details"].get("weakest"))
    if claim["p"] is None or part is None or part["p_permutation"] is None:
        return []
    told = [f"by permutation p = {part['p_permutation']:.3g}"]
    least = part["p_permutation_least"]
    if least is not None and least >= LEVEL:
        told.append(f"with n = {part['n']} a permutation test cannot be significant: its least p is {least:.3g}")
    return told


def _details(details: Mapping[str, Any]) -> Iterator[Block]:
    """The numbers of each part, correlations side by side, and what stopping would have cost."""
    parts = details.get("parts") or {}
    if len(parts) > 1:
        words = {True: "as claimed", False: "against the claim", None: "undecided"}
        rows = [
            (name, _whole(part), part["n"], words[part["holds"]], number(part["effect_size"], 2),
             *("–" if part[key] is None else f"{part[key]:.3g}" for key in ("p", "p_permutation")))
            for name, part in parts.items()
        ]  # fmt: skip
        heads = ("Part", "Value [95 % interval]", "n", "By its interval", "Effect size", "p", "p by permutation")
        yield Block(table=table(heads, rows, "details"))
    if "by_raw_auc" in details:
        told = [(name, _whole(part), part["n"]) for name, part in details["by_raw_auc"].items()]
        yield Block(
            text=("With the raw AUC, which is not divided by the accuracy with nothing clamped:",),
            table=table(("Part", "Value [95 % interval]", "n"), told, "details"),
        )
    if "partial" in details:
        correlations = table(("Correlation of AUC and generalization error", "Value [95 % interval]"),
                             _correlations(details), "details")  # fmt: skip
        yield Block(text=(f"A network's AUC is {details['auc']}.",), table=correlations)
    if "settings" in details:
        heads = ("Setting", "n", "Test loss at the end", "stopped by AUC", "stopped by test loss",
                 "stopped by AUC minus by test loss [95 % interval]", "epochs until stopped by AUC")  # fmt: skip
        stopped = [_stopped(setting) for setting in details["settings"]]
        yield Block(text=(_patience(details["patience"]),), table=table(heads, stopped, "details"))


def _whole(estimate: Mapping[str, Any]) -> Cell:
    """A value and its interval on one line."""
    return Cell(interval(estimate), "number")


def _correlations(details: Mapping[str, Any]) -> list[tuple[str, Cell]]:
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
