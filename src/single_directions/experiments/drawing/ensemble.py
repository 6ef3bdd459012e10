"""Networks that differ in their seed alone: Figure 2b, and how much it rests on single networks."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from single_directions.experiments.drawing import style
from single_directions.experiments.statistics import Floats

NAMED = 3
"""Networks whose names are shown."""


@style.applied
def scatter_figure(networks: pd.DataFrame, groups: pd.Series | None, legend: str, title: str) -> Figure:
    """Normalized AUC against generalization error, one mark for each network (Figure 2b).

    Bars are one standard error, where the column `auc_normalized_se` is known. `groups` has the group of each network,
    sorted as in the legend, with the index of `networks`. Each group has its own colour and marks.
    """
    figure, axes = style.new_figure(title)
    errors = networks["auc_normalized_se"].fillna(0)
    labels = pd.Series("", networks.index) if groups is None else groups
    for label, colour, marker in zip(labels.unique(), cycle(style.DISTINCT), cycle(style.MARKERS), strict=False):
        group = networks.loc[labels.index[labels == label]]
        axes.errorbar(
            group["generalization_error"], group["auc_normalized"], yerr=errors[group.index],
            color=colour, fmt=marker, label=label, markersize=4, markeredgewidth=0, elinewidth=0.7, alpha=0.7,
        )  # fmt: skip
    axes.set(xlabel="generalization error (train minus test accuracy)", ylabel="normalized AUC")
    axes.margins(0.06)
    if labels.nunique() > 1:
        style.draw_legend(figure, list(labels.unique()), title=legend)
    return figure


@style.applied
def leverage_figure(names: Sequence[str], without: ArrayLike, whole: float, title: str) -> Figure:
    """The correlation without each network, sorted. The three networks that change it most are named."""
    values = np.asarray(without, dtype=float)
    order = np.argsort(values, kind="stable")
    strongest = set(np.argsort(-np.abs(values - whole), kind="stable")[:NAMED].tolist())
    figure, axes = style.new_figure(title)
    axes.axhline(whole, **style.DASHED)
    colours = [style.VERMILLION if index in strongest else style.BLUE for index in order]
    axes.vlines(range(len(order)), whole, values[order], color=colours, linewidth=0.8)
    axes.scatter(range(len(order)), values[order], s=12, color=colours, zorder=3)
    axes.set(xlabel="network that is left out, sorted by ρ", ylabel="ρ without this network")
    axes.set_xticks([])
    axes.margins(0.05, 0.3)
    heights = _heights(values, whole, [index for index in order if index in strongest], np.ptp(axes.get_ylim()))
    for place, index in enumerate(order):
        if index in heights:
            side = "left" if values[index] < whole else "right"
            axes.annotate(
                names[index], (place, heights[index]), fontsize=8, va="center", ha=side, color=style.VERMILLION
            )
    return figure


def _heights(values: Floats, whole: float, named: Sequence[int], span: float) -> dict[int, float]:
    """The heights of names: outside their marks, without overlap. `named` is sorted by value."""
    heights, gap = {}, 0.07 * span
    for side, inwards in ((-1, reversed(named)), (1, iter(named))):
        last = -np.inf
        for index in inwards:
            if (values[index] < whole) == (side < 0):
                last = max(side * float(values[index]), last) + gap
                heights[index] = side * last
    return heights
