"""Networks that differ in their seed alone: Figure 2b, and what a single one of them does to it."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from single_directions.report.figures.style import BLUE, DISTINCT, GREY, STYLE, VERMILLION, new_figure

MARKERS = ("o", "^", "s", "D", "v", "P")


def scatter_figure(networks: pd.DataFrame, groups: Sequence[str] | None, legend: str, title: str) -> Figure:
    """AUC against generalization error, a mark a network (Figure 2b); groups, one a row, have colours and marks."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        labels = pd.Series(list(groups) if groups is not None else [""] * len(networks), index=networks.index)
        for place, label in enumerate(pd.unique(labels)):
            group = networks[labels == label]
            axes.scatter(
                group["generalization_error"], group["auc_normalized"], s=16, alpha=0.7, linewidths=0,
                color=DISTINCT[place % len(DISTINCT)], marker=MARKERS[place % len(MARKERS)], label=label,
            )  # fmt: skip
        axes.set(xlabel="generalization error (train minus test accuracy)", ylabel="AUC (normalized)", title=title)
        axes.margins(0.06)
        if labels.nunique() > 1:
            figure.legend(title=legend, alignment="left", loc="outside right upper")
    return figure


def leverage_figure(names: Sequence[str], without: Sequence[float], whole: float, title: str, ylabel: str) -> Figure:
    """The correlation with one network left out, networks sorted by it; the three that matter most are named."""
    values = np.asarray(without, dtype=float)
    order = np.argsort(values, kind="stable")
    strongest = set(np.argsort(-np.abs(values - whole), kind="stable")[:3].tolist())
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(0.5)
        axes.axhline(whole, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            "all networks", (1, whole), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
            color=GREY, fontsize=8, ha="right",
        )  # fmt: skip
        colours = [VERMILLION if index in strongest else BLUE for index in order]
        axes.vlines(range(len(order)), whole, values[order], color=colours, linewidth=0.8)
        axes.scatter(range(len(order)), values[order], s=12, color=colours, zorder=3)
        for place, index in enumerate(order):
            if index in strongest:
                left = place < len(order) / 2
                axes.annotate(
                    names[index], (place, values[index]), (6 if left else -6, 0), textcoords="offset points",
                    fontsize=8, va="center", ha="left" if left else "right", color=VERMILLION,
                )  # fmt: skip
        axes.set(xlabel="network left out, sorted", ylabel=ylabel, title=title)
        axes.set_xticks([])
        axes.margins(0.05, 0.12)
    return figure
