"""The command line: `python scripts/report.py runs`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from single_directions.commands import called
from single_directions.errors import BadInput
from single_directions.experiments.drawing.style import save
from single_directions.experiments.experiment import EXPERIMENTS, Picture, load
from single_directions.experiments.judge import as_text, judge, plain, write_claims
from single_directions.experiments.pictures import pictures
from single_directions.experiments.reading import read_tables, run_folders
from single_directions.experiments.section import Section, sections_of
from single_directions.experiments.sweeps import is_own
from single_directions.experiments.tables import Tables
from single_directions.report.page import page_of
from single_directions.report.reasons import ABOUT, HISTORY, REASONS, read_about, read_notes, with_notes
from single_directions.report.render import html, markdown
from single_directions.report.tuning import TUNING
from single_directions.report.views import Figure
from single_directions.runs.folder import write_json, write_text


def report() -> None:
    """Write the report of some runs: a page, its figures, claims and tables; and print the claims."""
    parser = argparse.ArgumentParser(
        description="Write the report of runs: every figure, and every claim judged, on one page.",
        epilog=f"An earlier report's folder may hold {REASONS}, an object of texts by the ids in its claims.json: why "
        f"a claim holds or not, most likely. It may also hold {HISTORY}: what was changed about a claim after its "
        f"outcome was seen. {ABOUT} says what the results are. All are copied into the new report and shown in it.",
    )
    parser.add_argument("inputs", type=Path, nargs="*", default=[Path("runs")], metavar="INPUT",
                        help="a folder of runs or of an earlier report; default: runs")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("report"), help="the report's folder; default: report")
    parser.add_argument("--wandb", action="store_true", help="also log one run per experiment to Weights & Biases")
    parser.add_argument("--markdown", action="store_true", help="write README.md and a Markdown file for each "
                        "experiment, not the page; smaller tables, no SVG files: a folder to commit")  # fmt: skip
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="your own configuration, as for training: "
                        "each experiment/*.py in it registers an experiment with its claims and figures")  # fmt: skip
    arguments = parser.parse_args()
    try:
        if arguments.config_dir:
            load(arguments.config_dir)
        _report(arguments.inputs, arguments.output, arguments.wandb, arguments.markdown, arguments.config_dir)
    except BadInput as error:
        sys.exit(str(error))


def _report(inputs: Sequence[Path], output: Path, wandb: bool, small: bool, config_dir: Path | None) -> None:
    tables, about = read_tables(inputs), read_about(inputs)
    reasons, history = read_notes(inputs, REASONS), read_notes(inputs, HISTORY)
    if not (tables.runs["state"] == "done").any():
        raise BadInput(f"no run in {', '.join(map(str, inputs))} is done: {called('status')} {inputs[0]} tells why")
    # W&B's own config.yaml makes no run. A run would be hidden from the next report by runs.csv.
    if any(folder.status.is_file() for folder in run_folders(output)):
        raise BadInput(f"--output {output} is a folder with runs: name another")
    try:
        output.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(prefix=".report-", dir=output)
    except OSError as error:
        raise BadInput(f"--output {output} cannot be written ({error.strerror})") from error
    with beside as place:  # an earlier report stays whole until the new one is
        new = Path(place)
        try:
            tables.write(new, small)
        except OSError as error:
            raise BadInput(f"--output {output} cannot be written ({error.strerror})") from error
        for name, notes in ((REASONS, reasons), (HISTORY, history)):
            if notes:
                write_json(new / name, plain(notes))
        if about:
            write_text(new / ABOUT, about + "\n")
        tables = read_tables([new])  # so that the report made from these files is the same
        sections = sections_of(tables, with_notes(judge(tables), reasons, history))
        claims = [claim for section in sections for claim in section.claims]
        write_claims(claims, new / "claims.json")
        figures = [[_figure(picture, new) for picture in pictures(section)] for section in sections]
        page = page_of(tables, sections, figures, about)
        written = markdown(page) if small else {"index.html": html(page)}
        for name, text in written.items():
            write_text(new / name, text)
        if small:
            for svg in new.glob("figure_*.svg"):
                svg.unlink()
        _clear(output, page.title)
        for file in new.iterdir():
            file.replace(output / file.name)
    if wandb:
        _track(tables, sections, figures, output)
    for state, others in tables.runs[tables.runs["state"] != "done"].groupby("state"):
        why = [f" ({reason})" if state == "broken" else "" for reason in others["reason"]]
        print(f"{len(others)} {state}, left out: {', '.join(map(''.join, zip(others['run'], why, strict=True)))}")
    for name, notes, key in ((REASONS, reasons, "reason"), (HISTORY, history, "history")):
        if unused := [one for one, note in notes.items() if note not in [getattr(claim, key) for claim in claims]]:
            print(f"{name}: not shown, because no claim here, or more than one, is called {', '.join(unused)}; "
                  f"there are {', '.join(claim.name for claim in claims)}")  # fmt: skip
    print(as_text(claims))
    unknown = [name for name in sorted(set(tables.runs["experiment"])) if is_own(name) and name not in EXPERIMENTS]
    if unknown and not claims and config_dir is None:
        print(f"no file registers {', '.join(unknown)}: if yours do, name their folder with --config-dir")
    print(f"report: {output / next(iter(written))}")


def _clear(output: Path, title: str) -> None:
    """Remove the pages, by their title, and figures of an earlier report, so that none stays that is not shown."""
    if (output / "claims.json").is_file() and (output / "runs.csv").is_file():
        for page in ("index.html", *(f"{name}.md" for name in (TUNING, *EXPERIMENTS))):
            (output / page).unlink(missing_ok=True)
        readme = output / "README.md"
        if readme.is_file() and readme.read_text(errors="replace").startswith(f"# {title}\n"):  # not the user's own
            readme.unlink()
        for figure in output.glob("figure_*"):
            if figure.suffix in (".png", ".svg"):
                figure.unlink()


def _figure(picture: Picture, output: Path) -> Figure:
    _, svg = save(picture.figure, output / picture.name)
    return Figure(picture.name, picture.caption, svg.read_text())


def _track(tables: Tables, sections: Sequence[Section], figures: Sequence[Sequence[Figure]], output: Path) -> None:
    """Log each experiment's figures, runs and claims as one run of Weights & Biases."""
    from single_directions.runs.tracking import record_experiment

    for experiment in dict.fromkeys(section.experiment.name for section in sections):
        own = [place for place, section in enumerate(sections) if section.experiment.name == experiment]
        names = [one.name for place in own for one in figures[place]]
        record_experiment(
            experiment,
            figures={name: output / f"{name}.png" for name in names},
            tables={"runs": tables.runs[tables.runs["experiment"] == experiment].dropna(axis="columns", how="all")},
            claims=[claim.as_json() for place in own for claim in sections[place].claims],
            folder=output,
        )
