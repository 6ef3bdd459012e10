"""The figures of the paper, in one visual language."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from single_directions.ablation import AblationCurve

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "single-directions",  # the same figure is the same file
}
COLUMN_WIDTH = 5.4
"""Inches."""


def corruption_colour(corruption: float) -> Any:
    """The colour of a level of corruption, 0 to 1, in every figure: viridis, which the colour-blind can order too."""
    return matplotlib.colormaps["viridis"](0.9 * corruption)


def ablation_figure(curves: pd.DataFrame, chance: float, title: str) -> Figure:
    """Accuracy against units ablated, a colour a level of corruption (Figure 1).

    A line is the mean over all orderings of all networks, its band one standard deviation over the orderings within a
    network; where there are several networks, a thin line is the mean of each. `chance` is drawn dashed. `curves` has
    the columns of `Tables.final_curves` and `corruption`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 0.62 * COLUMN_WIDTH), layout="constrained")
        axes = figure.add_subplot()
        _draw_chance(axes, chance)
        for corruption, level in curves.groupby("corruption"):
            _draw_level(axes, float(corruption), level)  # type: ignore[arg-type]
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="fraction of units ablated", ylabel="accuracy on training images")
        axes.set_title(title, loc="left", fontsize=9)
        figure.legend(title="labels\ncorrupted", alignment="left", handlelength=1.4, loc="outside right upper")
    return figure


def curve_figure(curve: AblationCurve, chance: float, title: str, split: str) -> Figure:
    """One network's curve: a thin line an ordering, and their mean with one standard deviation."""
    fraction, accuracy = curve.fraction_ablated.numpy(), curve.accuracy.numpy()
    mean, spread = accuracy.mean(0), accuracy.std(0, ddof=1) if len(accuracy) > 1 else 0
    colour = corruption_colour(0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 0.62 * COLUMN_WIDTH), layout="constrained")
        axes = figure.add_subplot()
        _draw_chance(axes, chance)
        axes.plot(fraction, accuracy.T, color=colour, linewidth=0.5, alpha=0.5)
        axes.fill_between(fraction, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        axes.plot(fraction, mean, color=colour, linewidth=1.8)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="fraction of units ablated")
        axes.set_ylabel(f"accuracy on {split}{'ing' if split == 'train' else ''} images")
        axes.set_title(title, loc="left", fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG beside each other; `path` has no suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}{suffix}") for suffix in (".png", ".svg")]
    with matplotlib.rc_context(STYLE):
        figure.savefig(files[0], dpi=200)
        figure.savefig(files[1], metadata={"Date": None})
    return files


def _draw_chance(axes: Axes, chance: float) -> None:
    axes.axhline(chance, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate("chance", (0.0, chance), (3, 3), textcoords="offset points", color="0.35", fontsize=8)


def _draw_level(axes: Axes, corruption: float, level: pd.DataFrame) -> None:
    colour = corruption_colour(corruption)
    networks = level.groupby(["run", "fraction_ablated"])["accuracy"].agg(["mean", "var"]).reset_index()
    if networks["run"].nunique() > 1:
        for _, network in networks.groupby("run"):
            axes.plot(network["fraction_ablated"], network["mean"], color=colour, linewidth=0.5, alpha=0.6)
    points = networks.groupby("fraction_ablated")[["mean", "var"]].mean()
    fraction, mean = points.index.to_numpy(), points["mean"].to_numpy()
    spread = np.sqrt(points["var"].fillna(0).to_numpy())
    axes.fill_between(fraction, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    axes.plot(fraction, mean, color=colour, linewidth=1.8, label=f"{100 * corruption:.0f} %")
