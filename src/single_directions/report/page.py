"""The view of the whole report, built once from tables, sections and figures."""

from collections.abc import Iterator, Sequence

import pandas as pd

from single_directions.commands import called
from single_directions.experiments.copies import first_of
from single_directions.experiments.departures import departures
from single_directions.experiments.experiment import EXPERIMENTS, papers
from single_directions.experiments.section import Section
from single_directions.experiments.sweeps import is_own
from single_directions.experiments.tables import Tables
from single_directions.experiments.wording import count, number
from single_directions.report.blocks import blocks, equal_loss
from single_directions.report.checklist import checklist
from single_directions.report.judgement import all_claims, changed, judged, leaning
from single_directions.report.provenance import command_for, compute, finished, provenance
from single_directions.report.tuning import TUNING, tuning
from single_directions.report.views import Block, Cell, Fact, Figure, Page, SectionView, Table, table

MEASURED = (
    "Units of trained networks are clamped one after another in random order, and accuracy is recorded as ever more of "
    "them are clamped. If accuracy falls early, the network relies strongly on single directions."
)
PAPER = (
    "A reproduction of the first, short version of Morcos, Barrett, Rabinowitz and Botvinick, “On the importance of "
    "single directions for generalization”. What it does not state is taken from the later version, arXiv 1803.06959. "
    f"{MEASURED} Each claim of the paper is judged by a written rule, shown with the figures of its experiment."
)
WORDS = {
    "AUC": "The area under the curve of accuracy against the fraction of units clamped, from 0 to 1. The higher it is, "
    "the less the network relies on single directions.",
    "Normalized AUC": "The AUC divided by the accuracy with nothing clamped.",
    "Corrupted labels": "Training labels that were shuffled among themselves. A network can only memorize them.",
    "[0.17, 0.20]": "A 95 % confidence interval.",
    "n": "The number of networks, each trained with another seed; in a comparison, the number in the smaller group.",
}
VERDICTS = {
    "reproduced, holds": "The interval lies wholly where the claim says, and p, corrected for the number of claims, is "
    "below 0.05. “Reproduced” is used for the paper's claims at paper scale.",
    "not reproduced, does not hold": "The interval lies wholly outside the region that the claim names, and p, "
    "corrected for the number of claims, is below 0.05.",
    "inconclusive": "The runs show neither.",
    "The least clear of several": "Where a claim is about several levels or settings, each of them is judged. The "
    "number shown is that of the one for which the claim is least certain.",
    "met, not met, undecided": "The same for checks. A check is what a figure takes for granted, not a claim; its p is "
    "not corrected.",
    "Links in the first column": "They lead to the experiment's figures, the rule of each verdict, its most likely "
    "reason where one is given, and the commands that make the numbers.",
}
FOOTER = (
    "Every number here comes from the tables beside this page: `runs.csv`, `curves.csv` and `epochs.csv`. Their column "
    "`run` names the run folder that a row comes from; on the disk, a name that is too long is cut and ends in a hash. "
    "In `curves.csv` and `epochs.csv` a row that names no run belongs to the run named above it (pandas: "
    f"`table['run'].ffill()` fills the column). `{called('report')} FOLDER` makes this page again from these tables."
)


def page_of(tables: Tables, sections: Sequence[Section], figures: Sequence[Sequence[Figure]], about: str = "") -> Page:
    """The view, the same for the same tables.

    `figures` has those of each section. `about` is told at the top; with it the page does not list the paper's
    experiments that were not run.
    """
    runs = tables.runs
    of_paper = any(section.experiment.figure for section in sections)
    claims = [claim for section in sections for claim in section.claims]
    return Page(
        title="How much do networks rely on single directions?",
        intro=tuple(filter(None, (PAPER if of_paper else MEASURED, about))),
        tiles=tuple(_tiles(runs, sections)),
        words=tuple(Fact(word, text) for word, text in (WORDS | (VERDICTS if claims else {})).items()),
        claims=tuple(all_claims(sections)) if of_paper or claims else (),
        runs=_summary(sections),
        sections=tuple(_section(section, own) for section, own in zip(sections, figures, strict=True)),
        tuning=tuple(tuning(tables)),
        rest=tuple(filter(None, (changed(claims), *_rest(runs, of_paper and not about)))),
        checklist=tuple(checklist(runs, sections)),
        footer=FOOTER,
    )


def _tiles(runs: pd.DataFrame, sections: Sequence[Section]) -> Iterator[Fact]:
    """The numbers at the top."""
    main = [claim for section in sections for claim in section.claims if claim.counts]
    if main:
        leanings = [leaning(claim) for claim in main if claim.measured]
        yield Fact("main claims that hold", str(leanings.count("yes")))
        yield Fact("do not hold", str(leanings.count("no")))
        yield Fact("inconclusive", str(leanings.count("open")))
        if unmeasured := len(main) - len(leanings):
            yield Fact("not measured", str(unmeasured))
    yield Fact("networks measured", f"{int((runs['state'] == 'done').sum()) - len(first_of(runs)):,}")
    if main:
        in_paper = {section.experiment.name for section in sections if section.experiment.papers}
        yield Fact("experiments of the paper", f"{len(in_paper)} of {len(papers())}")
    else:
        yield Fact("experiments", str(len({section.experiment.name for section in sections})))


def _summary(sections: Sequence[Section]) -> Table:
    """What was run: one row per section."""
    rows = [
        (
            section.experiment.figure,
            Cell(section.experiment.heading, link=section.id, below=(section.place,)),
            len(section.runs),
            finished(section.runs),
            "" if section.runs.empty else compute(section.runs, brief=True),
        )
        for section in sections
    ]
    return table(("Figure", "Experiment", "Networks", "Finished", "Hardware and compute time"), rows, "runs")


def _section(section: Section, figures: Sequence[Figure]) -> SectionView:
    experiment, empty = section.experiment, section.runs.empty
    departed = [] if empty else departures(section.runs)
    text = [experiment.asks, f"Not as in the paper: {'; '.join(departed)}." if departed else ""]
    return SectionView(
        id=section.id,
        file=experiment.name,
        heading=f"Figure {experiment.figure}: {experiment.heading}" if experiment.figure else experiment.heading,
        place=f"{section.place}. {count(len(section.runs), 'network')}.",
        note=_incomplete(section),
        text=tuple(filter(None, text)),
        figures=tuple(figures),
        before=(equal_loss(section.matched),) if section.matched else (),
        judged=tuple(judged(section, claim) for claim in section.claims),
        blocks=() if empty else tuple(blocks(section)),
        facts=() if empty else tuple(provenance(section)),
    )


def _incomplete(section: Section) -> str:
    """What is not done, and the command that does it. A variant has other commands, which its facts show."""
    if not section.not_done:
        return ""
    command = command_for(section.experiment.name, section.scale)
    return f"Partial: {'; '.join(section.not_done)}.{'' if section.variant else f' To run the rest: `{command}`'}"


def _rest(runs: pd.DataFrame, of_paper: bool) -> Iterator[Block]:
    """Experiments of the paper without a run, runs of no experiment, and runs that are not done."""
    missing = [one for one in papers() if one.name not in set(runs["experiment"])] if of_paper else []
    scales = sorted(set(runs["scale"]) & {"demo", "paper"}) or ["demo"]
    commands = [
        (f"Figure {one.figure}", one.heading, Cell(command_for(one.name, scale), "code"))
        for one in missing
        for scale in scales
    ]
    if commands:
        yield Block("Not among these runs", table=table(("Figure", "Experiment", "Command"), commands), id="missing")
    others = runs[(runs["state"] == "done") & ~runs["experiment"].isin([*EXPERIMENTS, TUNING])]
    others = others[~others["experiment"].map(is_own)]
    if len(others):
        heads = ("Run", "Epochs", "Train accuracy", "Train loss", "Test accuracy", "AUC", "SD over orderings")
        keys = ("train_accuracy", "train_loss", "test_accuracy", "auc", "auc_std")
        rows = [
            (Cell(run["run"], "code"), number(run.get("epochs"), 0), *(number(run.get(key)) for key in keys))
            for run in others.to_dict("records")
        ]
        yield Block("Other runs", table=table(heads, rows), id="others")
    left_out = runs[runs["state"] != "done"].to_dict("records")
    if left_out:
        told = [(Cell(run["run"], "code"), run["state"], run["reason"]) for run in left_out]
        yield Block("Runs left out", table=table(("Run", "State", "Reason"), told), id="left-out")
