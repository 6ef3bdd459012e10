"""One number for each network, such as the area under its curve: one row for each condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from single_directions.experiments.drawing.style import COLUMN_WIDTH, DASHED, GREY, LABEL_WIDTH, applied, new_figure

NARROW = 18
"""The width of a label beside two panels, in characters."""


@dataclass(frozen=True)
class Row:
    """A condition: one value for each network, their mean, and its 95 % interval (NaN where there is none)."""

    values: Sequence[float]
    mean: float
    low: float
    high: float
    colour: Any
    hollow: bool = False


@dataclass(frozen=True)
class Column:
    """A panel: the row of each condition or None, what the values are, and the limits of possible values.

    `marked` values get a dashed line and a name, which may be empty.
    """

    rows: Sequence[Row | None]
    xlabel: str
    limits: tuple[float, float] | None = None
    marked: Sequence[tuple[float, str]] = ()


@applied
def dots_figure(labels: Sequence[str], columns: Sequence[Column], title: str) -> Figure:
    """A dot for each network, and a diamond at the mean with its 95 % interval; panels side by side.

    There is one row for each condition. Intervals are cut at a panel's limits.
    """
    height = max(0.42, (1.0 + 0.36 * len(labels)) / COLUMN_WIDTH)
    figure, grid = new_figure(title, height, columns=len(columns), sharey=True, squeeze=False)
    for axes, column in zip(grid.flat, columns, strict=True):
        _draw_column(axes, column)
    first = grid.flat[0]
    width = LABEL_WIDTH if len(columns) == 1 else NARROW
    first.set_yticks(range(len(labels)), [_wrapped(label, width) for label in labels])
    named = any(name for column in columns for _, name in column.marked)
    first.set_ylim(len(labels) - 0.5, -0.5 - 0.5 * named)
    return figure


def _draw_column(axes: Axes, column: Column) -> None:
    for value, name in column.marked:
        axes.axvline(value, **DASHED)
        axes.annotate(
            name, (value, 1), (2, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=GREY, fontsize=8, va="top",
        )  # fmt: skip
    for height, row in enumerate(column.rows):
        if row is None:
            continue
        offsets = height + 0.28 * np.linspace(-1, 1, len(row.values)) * (len(row.values) > 1)
        axes.scatter(row.values, offsets, s=12, color=row.colour, alpha=0.55, linewidths=0)
        if np.isfinite([row.low, row.high]).all():
            ends = np.clip([row.low, row.high], *(column.limits or (-np.inf, np.inf)))
            axes.plot(ends, [height, height], color=row.colour, linewidth=1.6)
        axes.plot(
            row.mean, height, marker="D", markersize=4, color=row.colour, markeredgecolor=row.colour,
            markerfacecolor="white" if row.hollow else row.colour,
        )  # fmt: skip
    axes.set_xlabel(column.xlabel)
    if column.limits is not None:
        margin = 0.04 * (column.limits[1] - column.limits[0])
        axes.set_xlim(column.limits[0] - margin, column.limits[1] + margin)
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _wrapped(label: str, width: int) -> str:
    """A label on one line, or broken at its last comma and where it is too long."""
    if len(label) <= width:
        return label
    start, comma, end = label.rpartition(", ")
    return "\n".join(fill(part, width) for part in (start + comma.rstrip(), end) if part)
