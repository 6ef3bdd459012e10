"""Claims on the page: the table of all, and beside each experiment's figures how each was judged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from single_directions.report.claims.claim import LEVEL
from single_directions.report.claims.departures import departures
from single_directions.report.claims.judge import REDUCED
from single_directions.report.markup import Markup, table, tag, together
from single_directions.report.section import Claim, Section
from single_directions.report.wording import interval, number, sentence
from single_directions.runs.config import conf_folder

HEADS = ("Figure", "The paper says", "Verdict", "Statistic [95 % interval]", "n", "Paper's value", "Caveats")


def leaning(claim: Claim) -> str:
    """Whether a claim holds: "yes", "no", or "open"."""
    verdict = claim["verdict"]
    if verdict.startswith(("holds", "reproduced")):
        return "yes"
    return "no" if verdict.startswith(("does not hold", "not reproduced")) else "open"


def all_claims(sections: Sequence[Section]) -> Markup:
    """The table of all claims, in the paper's order."""
    rows = [_row(section, claim) for section in sections for claim in section.claims]
    if not rows:
        return tag("p", "There are no runs yet that a claim could be judged by.")
    marked = any(REDUCED in claim["caveats"] for section in sections for claim in section.claims)
    told = "(reduced): not the paper's data, network or training in full; each section says in what."
    return together([tag("p", told) if marked else None, table(HEADS, rows, "claims")])


def badge(claim: Claim) -> Markup:
    """The verdict, coloured."""
    return tag("span", claim["verdict"], class_=f"verdict {leaning(claim)}")


def own_caveats(section: Section, claim: Claim) -> list[str]:
    """A claim's caveats without those that the page tells of all the section's runs."""
    shared = {REDUCED, *departures(section.runs)}
    return [caveat for caveat in claim["caveats"] if caveat not in shared]


def judged(section: Section) -> Markup:
    """A section's claims with their numbers and rules."""
    return tag("ul", [_item(section, claim) for claim in section.claims], class_="judged")


def _row(section: Section, claim: Claim) -> tuple[Any, ...]:
    where = f"{section.experiment.name}, {section.brief if section.alone else section.place}"
    return (
        tag("a", claim["figure"], href=f"#{section.id}"),
        [sentence(claim["paper"]), tag("div", where, class_="place")],
        badge(claim),
        [_whole(claim), tag("div", claim["statistic"], class_="place")],
        claim["n"],
        "" if claim["paper_value"] is None else number(claim["paper_value"]),
        "; ".join(own_caveats(section, claim)),
    )


def _item(section: Section, claim: Claim) -> Markup:
    numbers = [f"{claim['statistic']}: {interval(claim)}, n = {claim['n']}"]
    if claim["paper_value"] is not None:
        numbers.append(f"the paper: {number(claim['paper_value'])}")
    if claim["effect_size"] not in (None, claim["value"]):  # of a correlation it is the same
        numbers.append(f"effect size {number(claim['effect_size'], 2)}")
    if claim["p"] is not None:
        numbers.append(f"p = {claim['p']:.2g}")
    if claim["p_holm"] is not None:
        numbers.append(f"corrected for all claims p = {claim['p_holm']:.2g}")
    numbers += _exchanged(claim)
    caveats = "; ".join(own_caveats(section, claim))
    return tag(
        "li",
        tag("p", badge(claim), " ", tag("strong", sentence(claim["paper"]))),
        tag("p", "; ".join(numbers)),
        tag("p", f"Caveats: {caveats}") if caveats else None,
        tag("p", f"Why, most likely: {claim['reason']}") if claim.get("reason") else None,
        tag("p", f"Rule: {claim['rule']}.", class_="soft"),
        list(_details(claim["details"], claim["p"] is not None)),
        class_=leaning(claim),
    )


def _exchanged(claim: Claim) -> list[str]:
    """P by permutation of the number shown, where p comes from a t test; whether it can be small at all."""
    part = claim["details"].get("parts", {}).get(claim["details"].get("weakest"))
    if claim["p"] is None or part is None or part["p_permutation"] is None:
        return []
    told = [] if part["p_permutation"] == part["p"] else [f"by permutation p = {part['p_permutation']:.3g}"]
    least = part["p_permutation_least"]
    if least is not None and least >= LEVEL:
        told.append(f"from n = {part['n']} a permutation test cannot be significant: its least p is {least:.3g}")
    return told


def _details(details: Mapping[str, Any], tested: bool) -> Iterator[Markup]:
    """What else was looked at: the numbers of each part, correlations side by side, what stopping would have cost."""
    parts = details.get("parts") or {}
    if len(parts) > 1:
        words = {True: "as claimed", False: "against", None: "undecided"}
        columns = ["Part", "Value [95 % interval]", "n", "By its interval"]
        cells: list[list[Any]] = [[name, _whole(part), part["n"], words[part["holds"]]] for name, part in parts.items()]
        if tested:
            columns += ["Effect size", "p", "p by permutation"]
            for row, part in zip(cells, parts.values(), strict=True):
                chances = ("–" if part[key] is None else f"{part[key]:.3g}" for key in ("p", "p_permutation"))
                row += [number(part["effect_size"], 2), *chances]
        yield table(columns, cells, "details")
    if "partial" in details:
        yield table(
            ("Correlation of AUC and generalization error", "Value [95 % interval]"), _correlations(details), "details"
        )
    if "settings" in details:
        heads = ["Setting", "n", "Test loss at the end", "stopped by AUC", "stopped by test loss",
                 "stopped by AUC minus by test loss [95 % interval]", "epochs until stopped by AUC"]  # fmt: skip
        yield table(heads, [_stopped(setting) for setting in details["settings"]], "details")
        yield tag("p", _waiting(details["patience"]), class_="soft")


def _whole(estimate: Mapping[str, Any]) -> Markup:
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
