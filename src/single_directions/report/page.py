"""The report as one HTML page that needs nothing else: no scripts, no fonts, no request to anywhere."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from single_directions.report.album import Picture
from single_directions.report.checklist import checklist
from single_directions.report.experiments import EXPERIMENTS
from single_directions.report.markup import Markup, table, tag, together
from single_directions.report.provenance import command_for, planned_runs, provenance
from single_directions.report.section import Section, spearman_of
from single_directions.report.statistics import mean_interval
from single_directions.report.wording import Claim, count, estimate, interval, leaning, number, verdict

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = (Path(__file__).parent / "page.css").read_text()


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it: its caption, and the SVG file's text."""

    picture: Picture
    svg: str


def page(
    runs: pd.DataFrame, sections: Sequence[Section], claims: Sequence[Claim], shown: Sequence[Sequence[Shown]]
) -> str:
    """The page's text: of the same tables and claims always the same. `shown` has the figures of each section."""
    main = tag(
        "main",
        _claims(claims),
        [_section(section, figures) for section, figures in zip(sections, shown, strict=True)],
        _missing(runs),
        _others(runs),
        _left_out(runs),
        tag("section", tag("h2", "Reproducibility checklist"), checklist(runs, sections), id="checklist"),
    )
    footer = tag(
        "footer",
        tag("p", "Every number here comes from the tables beside this page, runs.csv, curves.csv and epochs.csv, and those "
            "from the run folders that their column ", tag("code", "run"), " names. ",
            tag("code", "python scripts/report.py FOLDER"), " makes this page from them again."),
    )  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "How much do networks rely on single directions?"),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", _header(runs, sections, claims), main, footer)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _header(runs: pd.DataFrame, sections: Sequence[Section], claims: Sequence[Claim]) -> Markup:
    leanings = [leaning(claim) for claim in claims]
    tiles = {
        "claims that hold": leanings.count("yes"),
        "do not hold": leanings.count("no"),
        "inconclusive": leanings.count("open"),
        "networks measured": f"{int((runs['state'] == 'done').sum()):,}",
        "experiments of the paper": f"{len({section.experiment.name for section in sections})} of {len(EXPERIMENTS)}",
    }
    return tag(
        "header",
        tag("h1", "How much do networks rely on single directions?"),
        tag("p", "Morcos, Barrett, Rabinowitz and Botvinick, ", tag("cite", "On the importance of single directions for "
            "generalization"), " (arXiv 1803.06959), reproduced: its figures, and each of its claims judged by a rule that "
            "was fixed before the runs."),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles.items()], class_="tiles"),
    )  # fmt: skip


def _claims(claims: Sequence[Claim]) -> Markup:
    heads = ("Figure", "The paper says", "Verdict", "Statistic [95 % interval]", "n", "Paper", "Caveats")
    rows = [
        (
            tag("span", claim["figure"], class_="nowrap"),
            [claim["paper"], tag("div", _where(claim), class_="place")],
            _badge(claim),
            [tag("span", estimate(claim), class_="nowrap"), tag("div", claim["statistic"], class_="place")],
            claim["n"],
            "" if claim["paper_value"] is None else number(claim["paper_value"]),
            "; ".join(claim["caveats"]),
        )
        for claim in claims
    ]
    content = table(heads, rows, "claims") if rows else tag("p", "No runs yet that a claim could be judged by.")
    return tag("section", tag("h2", "What holds"), content, id="claims")


def _where(claim: Claim) -> str:
    return ", ".join(filter(None, (claim["experiment"], f"{claim['data']} at {claim['scale']} scale", claim["variant"])))


def _badge(claim: Claim) -> Markup:
    return tag("span", verdict(claim), class_=f"verdict {leaning(claim)}")


def _section(section: Section, figures: Sequence[Shown]) -> Markup:
    return tag(
        "section",
        tag("h2", tag("span", f"Figure {section.experiment.figure}", class_="figure-number"), section.experiment.heading),
        tag("p", f"{section.place}. {count(len(section.runs), 'network')}.", class_="place"),
        tag("p", section.experiment.asks),
        _incomplete(section),
        tag("ul", [_judged(claim) for claim in section.claims], class_="judged") if section.claims else None,
        tag("div", [_figure(figure) for figure in figures], class_="figures") if figures else None,
        [] if section.runs.empty else [
            tag("h3", "By condition"), _conditions(section), _trainings(section),
            tag("h3", "Where the numbers come from"), _facts(provenance(section)),
        ],
        id=f"{section.experiment.name}{section.suffix}",
    )  # fmt: skip


def _incomplete(section: Section) -> Markup | None:
    """How many of the planned runs there are, where some lack."""
    planned = planned_runs(section.experiment.name, section.scale) or 0
    done, others = len(section.runs), section.others["state"].value_counts()
    if done >= planned and others.empty:
        return None
    told = [f"Partial: {done} of {max(planned, done + int(others.sum()))} runs are done"]
    told += [f"{number} {state}" for state, number in sorted(others.items())]
    command = command_for(section.experiment.name, section.scale)
    return tag("p", f"{', '.join(told)}. Go on with ", tag("code", command), class_="note")


def _judged(claim: Claim) -> Markup:
    numbers = [f"{claim['statistic']}: {estimate(claim)}, n = {claim['n']}"]
    if claim["paper_value"] is not None:
        numbers.append(f"the paper: {number(claim['paper_value'])}")
    if claim["effect_size"] is not None:
        numbers.append(f"effect size {number(claim['effect_size'], 2)}")
    if claim["p_holm"] is not None:
        numbers.append(f"p = {claim['p']:.2g}, corrected {claim['p_holm']:.2g}")
    caveats = "; ".join(claim["caveats"])
    return tag(
        "li",
        tag("p", _badge(claim), " ", tag("strong", claim["paper"])),
        tag("p", "; ".join(numbers)),
        tag("p", f"Rule: {claim['rule']}", class_="rule soft"),
        tag("p", f"Caveats: {caveats}", class_="rule") if caveats else None,
        class_=leaning(claim),
    )


def _figure(figure: Shown) -> Markup:
    source = f"data:image/svg+xml;base64,{b64encode(figure.svg.encode()).decode()}"
    caption = tag("figcaption", figure.picture.caption, " ", tag("code", f"{figure.picture.name}.svg"))
    return tag("figure", tag("img", src=source, alt=figure.picture.caption), caption)


def _conditions(section: Section) -> Markup:
    heads = ("Condition", "Networks", "Train accuracy", "Test accuracy", "AUC [95 % interval]",
             "AUC normalized [95 % interval]", "± orderings", "± networks")  # fmt: skip
    rows = []
    for condition in section.conditions():
        runs = condition.runs
        rows.append(
            (
                condition.label,
                len(runs),
                number(runs["train_accuracy"].mean()),
                number(runs["test_accuracy"].mean()),
                *(_mean(runs[column]) for column in ("auc", "auc_normalized")),
                number((runs["auc_std"].astype(float) ** 2).mean() ** 0.5),
                number(runs["auc"].astype(float).std()),
            )
        )
    return table(heads, rows)


def _trainings(section: Section) -> list[Markup] | None:
    """A row a training whose AUC was measured after its epochs: where AUC and test loss turned."""
    epochs = section.measured_epochs
    if epochs.empty:
        return None
    heads = ("Condition", "Seed", "Spearman(AUC, test loss)", "Highest AUC", "at epoch", "test loss there",
             "Least test loss", "at epoch", "Epochs")  # fmt: skip
    rows = []
    for condition in section.conditions():
        for run, seed in zip(condition.runs["run"], condition.runs["seed"], strict=True):
            one = epochs[epochs["run"] == run].set_index("epoch")
            if one.empty:
                continue
            peak, least = one["ablation/auc"].idxmax(), one["test/loss"].idxmin()
            rows.append(
                (
                    condition.label,
                    f"{seed:.0f}",
                    number(spearman_of(one)),
                    number(one.at[peak, "ablation/auc"]),
                    peak,
                    number(one.at[peak, "test/loss"]),
                    number(one.at[least, "test/loss"]),
                    least,
                    len(one),
                )
            )
    return [tag("h3", "By training"), table(heads, rows)]


def _mean(values: pd.Series) -> Markup:
    mean = mean_interval(values.astype(float))
    return tag("span", interval(mean.value, mean.low, mean.high), class_="nowrap")


def _facts(facts: Iterable[Sequence[Any]]) -> Markup:
    return tag("dl", [[tag("dt", word), tag("dd", content)] for word, *content in facts], class_="facts")


def _missing(runs: pd.DataFrame) -> Markup | None:
    """The experiments that no run was made for, and how to make them."""
    missing = [experiment for experiment in EXPERIMENTS.values() if experiment.name not in set(runs["experiment"])]
    if not missing:
        return None
    scales = sorted(set(runs["scale"]) & {"demo", "paper"}) or ["demo"]
    rows = [
        (f"Figure {one.figure}", one.heading, [tag("div", tag("code", command_for(one.name, scale))) for scale in scales])
        for one in missing
    ]
    return tag("section", tag("h2", "Not run yet"), table(("Figure", "Experiment", "Command"), rows), id="missing")


def _others(runs: pd.DataFrame) -> Markup | None:
    """Runs of no experiment of the paper's: single networks, the tuning, one's own."""
    others = runs[(runs["state"] == "done") & ~runs["experiment"].isin(list(EXPERIMENTS))]
    if others.empty:
        return None
    heads = ("Run", "Epochs", "Train accuracy", "Train loss", "Test accuracy", "AUC", "± orderings")
    rows = [
        (
            tag("code", run["run"]),
            f"{run['epochs']:.0f}",
            *(number(run.get(key)) for key in ("train_accuracy", "train_loss", "test_accuracy", "auc", "auc_std")),
        )
        for run in others.to_dict("records")
    ]
    return tag("section", tag("h2", "Other runs"), table(heads, rows), id="others")


def _left_out(runs: pd.DataFrame) -> Markup | None:
    """Runs that are not done, and why."""
    others = runs[runs["state"] != "done"]
    if others.empty:
        return None
    rows = [(tag("code", run["run"]), run["state"], _text(run.get("reason"))) for run in others.to_dict("records")]
    heads = ("Run", "State", "Reason")
    return tag("section", tag("h2", "Runs left out"), table(heads, rows), id="left-out")


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)
