"""The area under the curves, a row a condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from single_directions.report.figures.style import COLUMN_WIDTH, GREY, LABEL_WIDTH, STYLE, draw_title, new_figure


@dataclass(frozen=True)
class Row:
    """A condition: a value a network, their mean, and a 95 % interval for it (NaN where there is none)."""

    label: str
    values: Sequence[float]
    mean: float
    low: float
    high: float
    colour: Any
    hollow: bool = False


def dots_figure(
    rows: Sequence[Row],
    xlabel: str,
    title: str,
    marked: Sequence[tuple[float, str]] = (),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A dot a network, and a diamond at the mean with its interval, a row a condition.

    Dashed lines are drawn at `marked` values, and named. `limits` are of the values that there can be: an interval that
    reaches beyond them is cut off.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(max(0.42, (0.9 + 0.36 * len(rows)) / COLUMN_WIDTH))
        draw_title(figure, title)
        for value, name in marked:
            axes.axvline(value, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                name, (value, 1), (2, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=GREY, fontsize=8, va="top",
            )  # fmt: skip
        for height, row in enumerate(rows):
            offsets = height + 0.16 * np.linspace(-1, 1, len(row.values)) if len(row.values) > 1 else [height]
            axes.scatter(row.values, offsets, s=12, color=row.colour, alpha=0.55, linewidths=0)
            if np.isfinite([row.low, row.high]).all():
                axes.plot([row.low, row.high], [height, height], color=row.colour, linewidth=1.6)
            axes.plot(
                row.mean, height, marker="D", markersize=5, color=row.colour, markeredgecolor=row.colour,
                markerfacecolor="white" if row.hollow else row.colour,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [fill(row.label, LABEL_WIDTH) for row in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5 - 0.5 * bool(marked)), xlabel=xlabel)
        if limits is not None:
            margin = 0.04 * (limits[1] - limits[0])
            axes.set_xlim(limits[0] - margin, limits[1] + margin)
        axes.grid(axis="x", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    return figure
