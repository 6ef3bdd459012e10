"""The report as one HTML page that needs nothing else: no scripts, no fonts, no request to anywhere."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from single_directions.commands import called
from single_directions.experiments.claim import accuracy_column
from single_directions.experiments.copies import first_of
from single_directions.experiments.departures import departures
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, papers
from single_directions.experiments.pictures import Picture
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import mean_interval
from single_directions.experiments.sweeps import is_own, planned_runs
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import count, interval, number
from single_directions.report.checklist import checklist
from single_directions.report.choice import choice
from single_directions.report.commands import command_for
from single_directions.report.equal_loss import equal_loss
from single_directions.report.judgement import all_claims, judged, leaning
from single_directions.report.markdown import markdown
from single_directions.report.markup import Markup, table, tag, together
from single_directions.report.provenance import compute, finished, provenance
from single_directions.report.trainings import trainings
from single_directions.report.tuning import NAME as TUNING
from single_directions.report.tuning import tuning

PAPER = "On the importance of single directions for generalization"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = (Path(__file__).parent / "page.css").read_text()


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it: its caption, and the SVG file's text."""

    picture: Picture
    svg: str

    @property
    def source(self) -> str:
        """The image within the page."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}"


def page(tables: Tables, sections: Sequence[Section], shown: Sequence[Sequence[Shown]]) -> str:
    """The page's text, the same for the same tables. `shown` has the figures of each section."""
    images = [[_figure(one.picture, one.source, "svg") for one in figures] for figures in shown]
    main = tag(
        "main",
        _summary(sections),
        [_section(section, figures) for section, figures in zip(sections, images, strict=True)],
        tuning(tables),
        _rest(tables.runs, sections),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "How much do networks rely on single directions?"),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", _header(tables.runs, sections), main, _footer())
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def markdown_pages(tables: Tables, sections: Sequence[Section], shown: Sequence[Sequence[Shown]]) -> dict[str, str]:
    """The same as Markdown, by the names of the files: README.md, and a page an experiment."""
    parts: dict[str, list[Markup]] = {}
    links = {f"#{section.id}": f"{section.experiment.name}.md" for section in sections} | {f"#{TUNING}": f"{TUNING}.md"}
    for section, figures in zip(sections, shown, strict=True):
        images = [_figure(one.picture, f"{one.picture.name}.png", "png") for one in figures]
        parts.setdefault(section.experiment.name, []).append(_section(section, images))
    if (tuned := tuning(tables)) is not None:
        parts[TUNING] = [tuned]
    pages = {f"{name}.md": markdown(together(own), links, top=2) for name, own in parts.items()}
    front = [_header(tables.runs, sections), _summary(sections), _rest(tables.runs, sections)]
    more = tag("p", tag("a", "Tuning: optimizer and learning rate", href=f"#{TUNING}"))
    pages["README.md"] = markdown(together([*front, more if tuned is not None else None, _footer()]), links)
    return pages


def _summary(sections: Sequence[Section]) -> list[Markup]:
    """The claims, and what they were judged by."""
    heads = ("Figure", "Experiment", "Networks", "Finished", "Hardware, and its time")
    rows = [
        (
            section.experiment.figure,
            [tag("a", section.experiment.heading, href=f"#{section.id}"), tag("div", section.place, class_="place")],
            len(section.runs),
            finished(section.runs),
            "" if section.runs.empty else compute(section.runs, brief=True),
        )
        for section in sections
    ]
    return [
        tag("section", tag("h2", "What holds"), all_claims(sections), id="claims"),
        tag("section", tag("h2", "What was run"), table(heads, rows, "runs"), id="runs"),
    ]


def _rest(runs: pd.DataFrame, sections: Sequence[Section]) -> list[Markup | None]:
    checked = tag("section", tag("h2", "Reproducibility checklist"), checklist(runs, sections), id="checklist")
    return [_missing(runs), _others(runs), _left_out(runs), checked]


def _footer() -> Markup:
    told = (
        "Every number here comes from the tables beside this page, runs.csv, curves.csv and epochs.csv, and theirs "
        "from the run folders that their column run names. A name that was too long for a folder is cut short on the "
        "disk and ends in a hash there; the column has it whole. In curves.csv and epochs.csv only the first row of a "
        "run names it: fill the column run downwards (pandas: table['run'].ffill()). "
    )
    again = tag("code", f"{called('report')} FOLDER"), " makes this page from them again."
    return tag("footer", tag("p", told, again))


def _header(runs: pd.DataFrame, sections: Sequence[Section]) -> Markup:
    leanings = [leaning(claim) for section in sections for claim in section.claims if claim.counts]
    in_paper = {section.experiment.name for section in sections if section.experiment.papers}
    tiles = {
        "main claims that hold": leanings.count("yes"),
        "do not hold": leanings.count("no"),
        "inconclusive": leanings.count("open"),
        "networks measured": f"{int((runs['state'] == 'done').sum()) - len(first_of(runs)):,}",
        "experiments of the paper": f"{len(in_paper)} of {len(papers())}",
    }
    return tag(
        "header",
        tag("h1", "How much do networks rely on single directions?"),
        tag("p", "Morcos, Barrett, Rabinowitz and Botvinick, ", tag("cite", PAPER), " (arXiv 1803.06959), reproduced: "
            "its figures, and its claims, each judged by a rule that stands beside it, with what was changed about it "
            "after its outcome was seen."),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles.items()], class_="tiles"),
    )  # fmt: skip


def _section(section: Section, figures: Sequence[Markup]) -> Markup:
    departed = [] if section.runs.empty else departures(section.runs)
    experiment = section.experiment
    return tag(
        "section",
        tag("h2", _number_of(experiment), experiment.heading),
        tag("p", f"{section.place}. {count(len(section.runs), 'network')}.", class_="place"),
        tag("p", experiment.asks) if experiment.asks else None,
        tag("p", f"Not as in the paper: {'; '.join(departed)}.", class_="place") if departed else None,
        _incomplete(section),
        tag("div", figures, class_="figures") if figures else None,
        equal_loss(section.matched) if section.matched else None,
        [tag("h3", "How its claims were judged"), judged(section)] if section.claims else None,
        [] if section.runs.empty else [
            tag("h3", "By condition"), _conditions(section), choice(section), trainings(section),
            tag("h3", "Where the numbers come from"), _facts(provenance(section)),
        ],
        id=section.id,
    )  # fmt: skip


def _number_of(experiment: Experiment) -> list[Any]:
    """The number of its figure in the paper, where it is in it."""
    return [tag("span", f"Figure {experiment.figure}", class_="figure-number"), " "] if experiment.figure else []


def _incomplete(section: Section) -> Markup | None:
    """How many of the planned runs there are, where some lack."""
    # The experiment's own command makes no variant.
    planned = 0 if section.variant else planned_runs(section.experiment.name, section.scale) or 0
    done, others = len(section.runs), section.others["state"].value_counts()
    if done >= planned and others.empty:
        return None
    told = [f"Partial: {done} of {max(planned, done + int(others.sum()))} runs are done"]
    told += [f"{number} {state}" for state, number in sorted(others.items())]
    command = tag("code", command_for(section.experiment.name, section.scale))
    return tag("p", f"{', '.join(told)}.", None if section.variant else [" Go on with ", command], class_="note")


def _figure(picture: Picture, source: str, kind: str) -> Markup:
    caption = tag("figcaption", picture.caption, " ", tag("code", f"{picture.name}.{kind}"))
    return tag("figure", tag("img", src=source, alt=picture.caption), caption)


def _conditions(section: Section) -> Markup:
    heads = ("Condition", "Networks", "Train accuracy", "Test accuracy", "AUC [95 % interval]",
             "AUC normalized [95 % interval]", "SD over orderings", "SD over networks")  # fmt: skip
    rows = []
    for condition in section.conditions():
        runs = condition.runs
        rows.append(
            (
                tag("span", condition.label, class_="nowrap"),
                len(runs),
                *(number(runs[accuracy_column(runs, split)].mean()) for split in ("train", "test")),
                *(_mean(runs[column]) for column in ("auc", "auc_normalized")),
                number((runs["auc_std"].astype(float) ** 2).mean() ** 0.5),
                number(runs["auc"].astype(float).std()),
            )
        )
    return table(heads, rows)


def _mean(values: pd.Series) -> Markup:
    return tag("span", interval(mean_interval(values.astype(float))), class_="nowrap")


def _facts(facts: Iterable[Sequence[Any]]) -> Markup:
    return tag("dl", [[tag("dt", word), tag("dd", content)] for word, *content in facts], class_="facts")


def _missing(runs: pd.DataFrame) -> Markup | None:
    """The experiments that no run was made for, and how to make them."""
    missing = [one for one in papers() if one.name not in set(runs["experiment"])]
    if not missing:
        return None
    scales = sorted(set(runs["scale"]) & {"demo", "paper"}) or ["demo"]
    rows = [
        (
            f"Figure {one.figure}",
            one.heading,
            [tag("div", tag("code", command_for(one.name, scale))) for scale in scales],
        )
        for one in missing
    ]
    return tag("section", tag("h2", "Not run yet"), table(("Figure", "Experiment", "Command"), rows), id="missing")


def _others(runs: pd.DataFrame) -> Markup | None:
    """Runs of no experiment of the paper's: single networks, one's own."""
    others = runs[(runs["state"] == "done") & ~runs["experiment"].isin([*EXPERIMENTS, TUNING])]
    others = others[~others["experiment"].map(is_own)]
    if others.empty:
        return None
    heads = ("Run", "Epochs", "Train accuracy", "Train loss", "Test accuracy", "AUC", "SD over orderings")
    rows = [
        (
            tag("code", run["run"]),
            number(run.get("epochs"), 0),
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
