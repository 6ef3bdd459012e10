"""One style for all figures: sizes, colours, markers; and files that are the same for the same figure."""

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
"""Inches: little more than a column of a journal, so that letters of 8 points can be read there."""
AXES_HEIGHT, LINE_HEIGHT = 2.5, 0.165
"""Inches, of the axes with their labels and of a line of text."""
TITLE_WIDTH = 58
"""Characters in a line of a title."""
LABEL_WIDTH = 28
"""Characters in a line of a label."""
GREY, BLACK = "0.4", "0.1"
DASHED: Any = {"color": "0.45", "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
"""The look of lines at single values, such as chance."""

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9"
DISTINCT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of conditions that have no order."""
MARKERS = ("o", "^", "s", "D", "v", "P")
"""Shapes of marks, for prints without colour."""


def corruption_colour(corruption: float) -> Any:
    """The colour of a level of corruption (0 to 1) in every figure: from black over purple and red to orange.

    Higher levels are lighter, in even steps, so that grey prints and colour-blind readers can tell them apart.
    """
    return matplotlib.colormaps["inferno"](0.8 * corruption)


applied = matplotlib.rc_context(STYLE)
"""Decorates functions that draw."""


def new_figure(
    title: str, height: float = 0.62, *, rows: int = 1, columns: int = 1, **shared: Any
) -> tuple[Figure, Any]:
    """A figure, one column wide and `height` times as high, and its axes (an array if there are several).

    The title is over the whole figure, in as many lines as it needs.
    """
    figure = Figure(figsize=(COLUMN_WIDTH, height * COLUMN_WIDTH), layout="constrained")
    if title:
        figure.suptitle(_wrapped(title), x=0.01, ha="left")
    return figure, figure.subplots(rows, columns, **shared)


def _wrapped(title: str) -> str:
    return "\n".join(fill(line, TITLE_WIDTH, break_on_hyphens=False) for line in title.splitlines())


def draw_legend(figure: Figure, labels: Sequence[str], **look: Any) -> None:
    """Draw the legend below the axes, in as many columns as its labels allow."""
    figure.legend(loc="outside lower center", ncols=_columns(labels), alignment="left", **look)


def height_with(title: str, labels: Sequence[str], legend: str = "") -> float:
    """The height of a figure, as a multiple of its width, that gives axes the same size with any title and legend."""
    lines = len(_wrapped(title).splitlines()) + ceil(len(labels) / _columns(labels)) + bool(legend)
    return (AXES_HEIGHT + LINE_HEIGHT * lines) / COLUMN_WIDTH


def _columns(labels: Sequence[str]) -> int:
    """The number of columns of a legend."""
    longest = max(map(len, labels))
    return min(len(labels), 1 if longest > LABEL_WIDTH else 2 if longest > LABEL_WIDTH // 2 else 3)


def draw_chance(axes: Axes, level: float, *, after: float = 0.0) -> None:
    """Draw a dashed line at the accuracy of guessing, with its name `after` a fraction of the axes' width."""
    axes.axhline(level, **DASHED)
    axes.annotate(
        "chance", (0.005 + after, level), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=GREY, fontsize=8,
    )  # fmt: skip


@applied
def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG; `path` has no suffix. Returns the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}{suffix}") for suffix in (".png", ".svg")]
    figure.savefig(files[0], dpi=200, metadata={"Software": None})
    figure.savefig(files[1], metadata={"Date": None, "Creator": None})
    return files
