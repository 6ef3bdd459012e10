"""One visual language: sizes, colours, marks, and files that are the same for the same figure."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "single-directions",  # the same figure is the same file
}
COLUMN_WIDTH = 4.2
"""Inches: little more than a journal's column, so that letters of 8 points are still read when it is set in one."""
AXES_HEIGHT, LINE_HEIGHT = 2.5, 0.165
"""Inches that axes take with their labels, and a line of a title or a legend."""
TITLE_WIDTH = 58
"""Characters that a column has room for."""
LABEL_WIDTH = 28
"""Characters of a label, with an eye on what else a line must hold."""
GREY, BLACK = "0.4", "0.1"

# Okabe and Ito's colours, which the colour-blind tell apart.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9"
DISTINCT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of conditions that have no order."""
MARKERS = ("o", "^", "s", "D", "v", "P")
"""Shapes of marks, told apart in a print without colour."""


def corruption_colour(corruption: float) -> Any:
    """The colour of a level of corruption, 0 to 1, in every figure: from black by purple and red to orange.

    The higher the level, the lighter it is, in even steps: a grey print and the colour-blind tell the levels apart.
    """
    return matplotlib.colormaps["inferno"](0.8 * corruption)


def new_figure(height: float = 0.62, *, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, Any]:
    """A figure one column wide, `height` of that high, and its axes: an array where there are several."""
    figure = Figure(figsize=(COLUMN_WIDTH, height * COLUMN_WIDTH), layout="constrained")
    return figure, figure.subplots(rows, columns, **shared)


def draw_title(figure: Figure, title: str) -> None:
    """The title over the whole figure, however narrow its axes, in as many lines as it needs."""
    if title:
        figure.suptitle(_wrapped(title), x=0.01, ha="left")


def _wrapped(title: str) -> str:
    return "\n".join(fill(line, TITLE_WIDTH, break_on_hyphens=False) for line in title.splitlines())


def draw_legend(figure: Figure, labels: Sequence[str], **look: Any) -> None:
    """The legend below the axes, in as many columns as its labels leave room for."""
    figure.legend(loc="outside lower center", ncols=_columns(labels), alignment="left", **look)


def height_with(title: str, labels: Sequence[str], legend: str = "") -> float:
    """The height of a figure, in its widths, that leaves the axes the same room beside any title and legend."""
    lines = len(_wrapped(title).splitlines()) + ceil(len(labels) / _columns(labels)) + bool(legend)
    return (AXES_HEIGHT + LINE_HEIGHT * lines) / COLUMN_WIDTH


def _columns(labels: Sequence[str]) -> int:
    """The columns of a legend."""
    longest = max(map(len, labels))
    return min(len(labels), 1 if longest > LABEL_WIDTH else 2 if longest > LABEL_WIDTH // 2 else 3)


def draw_chance(axes: Axes, level: float, *, after: float = 0.0) -> None:
    """A dashed line at what guessing gives, named at a fraction of the axes' width."""
    axes.axhline(level, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        "chance", (0.005 + after, level), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=GREY, fontsize=8,
    )  # fmt: skip


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG beside each other; `path` has no suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}{suffix}") for suffix in (".png", ".svg")]
    with matplotlib.rc_context(STYLE):
        figure.savefig(files[0], dpi=200, metadata={"Software": None})
        figure.savefig(files[1], metadata={"Date": None, "Creator": None})
    return files
