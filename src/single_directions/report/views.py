"""The report as plain text in typed parts: what the templates of the page and of the Markdown files render.

Text that `inline` renders may hold code between backticks; all other text is shown as it is.
"""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from single_directions.experiments.wording import Interval, interval

Kind = Literal["text", "number", "code", "strong", "yes", "no", "open"]
"""How text looks: a number stays on one line; yes, no and open are the colours of a verdict."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text, the id of the section that it links to, and smaller lines below it."""

    text: str
    kind: Kind = "text"
    link: str = ""
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Heads and rows; `style` is the class that the page's style sheet knows."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    style: str = ""


@dataclass(frozen=True)
class Block:
    """A heading, paragraphs (inline) and a table; each may be missing."""

    heading: str = ""
    text: tuple[str, ...] = ()
    table: Table | None = None
    id: str = ""


@dataclass(frozen=True)
class Fact:
    """A word or a question, what there is to say (inline), and lines of code."""

    word: str
    text: str
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A figure: the name of its files, its caption, and the text of its SVG file."""

    name: str
    caption: str
    svg: str

    @property
    def source(self) -> str:
        """The image within the page."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}"


@dataclass(frozen=True)
class Judged:
    """How one claim was judged: the paper's words, the verdict, facts (inline) and tables."""

    paper: str
    verdict: Cell
    facts: tuple[Fact, ...]
    details: tuple[Block, ...]


@dataclass(frozen=True)
class SectionView:
    """One sweep of an experiment. `file` is the name of its Markdown file; `note` and `text` are inline."""

    id: str
    file: str
    heading: str
    place: str
    note: str
    text: tuple[str, ...]
    figures: tuple[Figure, ...]
    before: tuple[Block, ...]
    judged: tuple[Judged, ...]
    blocks: tuple[Block, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    intro: tuple[str, ...]
    tiles: tuple[Fact, ...]
    words: tuple[Fact, ...]
    claims: tuple[Block, ...]
    runs: Table
    sections: tuple[SectionView, ...]
    tuning: tuple[Block, ...]
    rest: tuple[Block, ...]
    checklist: tuple[Fact, ...]
    footer: str

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The ids and headings of its parts."""
        claims = [("claims", "What holds")] if self.claims else []
        sections = [(section.id, section.heading) for section in self.sections]
        rest = [(block.id, block.heading) for block in self.rest]
        return [*claims, ("runs", "What was run"), *sections, *rest, ("checklist", "Reproducibility checklist")]


def table(heads: Iterable[str], rows: Iterable[Iterable[object]], style: str = "") -> Table:
    """A table; what is no cell yet becomes one by `str`."""
    cells = (tuple(one if isinstance(one, Cell) else Cell(str(one)) for one in row) for row in rows)
    return Table(tuple(heads), tuple(cells), style)


def interval_cell(estimate: Interval) -> Cell:
    """A number with its interval, on one line."""
    return Cell(interval(estimate), "number")
