"""Networks that differ in their seed alone: Figure 2b, and what a single one of them does to it."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from single_directions.report.figures.style import (
    BLUE,
    DISTINCT,
    STYLE,
    VERMILLION,
    draw_legend,
    draw_title,
    new_figure,
)
from single_directions.report.weighted import Floats

NAMED = 3
MARKERS = ("o", "^", "s", "D", "v", "P")


def scatter_figure(networks: pd.DataFrame, groups: pd.Series | None, legend: str, title: str) -> Figure:
    """AUC against generalization error, a mark a network (Figure 2b).

    `groups` tells each network's, with the index of `networks` and in the legend's order: they have their own colours
    and marks.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        draw_title(figure, title)
        labels = pd.Series("", networks.index) if groups is None else groups
        for place, label in enumerate(labels.unique()):
            group = networks.loc[labels.index[labels == label]]
            axes.scatter(
                group["generalization_error"], group["auc_normalized"], s=16, alpha=0.7, linewidths=0,
                color=DISTINCT[place % len(DISTINCT)], marker=MARKERS[place % len(MARKERS)], label=label,
            )  # fmt: skip
        axes.set(xlabel="generalization error (train minus test accuracy)", ylabel="AUC (normalized)")
        axes.margins(0.06)
        if labels.nunique() > 1:
            draw_legend(figure, list(labels.unique()), title=legend)
    return figure


def leverage_figure(names: Sequence[str], without: ArrayLike, whole: float, title: str) -> Figure:
    """The correlation with one network left out, networks sorted by it; the three that matter most are named."""
    values = np.asarray(without, dtype=float)
    order = np.argsort(values, kind="stable")
    strongest = set(np.argsort(-np.abs(values - whole), kind="stable")[:NAMED].tolist())
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        draw_title(figure, title)
        axes.axhline(whole, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        colours = [VERMILLION if index in strongest else BLUE for index in order]
        axes.vlines(range(len(order)), whole, values[order], color=colours, linewidth=0.8)
        axes.scatter(range(len(order)), values[order], s=12, color=colours, zorder=3)
        axes.set(xlabel="network left out, sorted", ylabel="Spearman without it")
        axes.set_xticks([])
        axes.margins(0.05, 0.2)
        heights = _heights(values, whole, [index for index in order if index in strongest], np.ptp(axes.get_ylim()))
        for place, index in enumerate(order):
            if index in heights:
                axes.annotate(
                    names[index],
                    (place, heights[index]),
                    fontsize=8,
                    va="center",
                    ha="left" if values[index] < whole else "right",
                    color=VERMILLION,
                )
    return figure


def _heights(values: Floats, whole: float, named: Sequence[int], span: float) -> dict[int, float]:
    """Where names stand: outside their marks, those of like values above each other. `named` is sorted by value."""
    heights, gap = {}, 0.07 * span
    for side, inwards in ((-1, reversed(named)), (1, iter(named))):
        last = -np.inf
        for index in inwards:
            if (values[index] < whole) == (side < 0):
                last = max(side * float(values[index]), last) + gap
                heights[index] = side * last
    return heights
