"""Accuracy against units ablated: Figures 1, 2a and 4, and the curve of one network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from single_directions.ablation import AblationCurve
from single_directions.experiments.drawing import style

Spread = Literal["orderings", "curves"]
MARKS = 6
"""Markers on a line."""


@dataclass(frozen=True)
class Line:
    """A condition in a figure: the curves of its networks, and their look.

    `curves` has a row for each network (`run`), `ordering` and `fraction_ablated`, with its `accuracy`.
    """

    label: str
    curves: pd.DataFrame
    colour: Any
    dotted: bool = False


@style.applied
def ablation_figure(
    lines: Sequence[Line], chance: float, title: str, *, legend: str = "", spread: Spread = "orderings",
    verticals: Sequence[tuple[float, Any]] = (), drop: bool = False,
) -> Figure:  # fmt: skip
    """Accuracy against the fraction of units ablated, one line for each condition.

    A line is the mean over all orderings of all networks. Its band is one standard deviation: over the orderings within
    a network (Figure 1), or over all curves of all networks together (2a and 4b). If there are several networks, each
    has a thin line for its mean. The first line is on top, dotted lines are below all others. With more than two
    colours, each has its own markers, for prints without colour. Dashed lines are drawn at `chance` and, vertically, at
    `verticals` (fraction and colour). With `drop` the figure shows the accuracy that each network loses; there is
    no line for chance then, since its height would differ between networks.
    """
    labels = [line.label for line in lines]
    figure, axes = style.new_figure(title, style.height_with(title, labels, legend))
    for fraction, colour in verticals:
        axes.axvline(fraction, **style.DASHED | {"color": colour})
    lines = sorted(lines, key=lambda line: line.dotted)
    colours = list(dict.fromkeys(line.colour for line in lines))
    for place, line in enumerate(lines):
        marks = (colours.index(line.colour), len(colours)) if len(colours) > 2 else None
        _draw_line(axes, line, spread, drop, place / len(lines), marks)
    if not drop:
        style.draw_chance(axes, chance, after=max((fraction for fraction, _ in verticals), default=0.0))
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="fraction of units ablated")
    axes.set_ylabel("training accuracy lost" if drop else "accuracy on training images")
    style.draw_legend(figure, labels, title=legend or None)
    return figure


@style.applied
def curve_figure(curve: AblationCurve, chance: float, title: str, split: str) -> Figure:
    """The curve of one network: a thin line for each ordering, and their mean with one standard deviation."""
    fraction, accuracy = curve.fraction_ablated.numpy(), curve.accuracy.numpy()
    figure, axes = style.new_figure(title)
    colour = matplotlib.colormaps["viridis"](0.0)
    axes.plot(fraction, accuracy.T, color=colour, linewidth=0.5, alpha=0.5)
    _draw_band(axes, fraction, accuracy.mean(0), accuracy.std(0, ddof=1) if len(accuracy) > 1 else 0, colour)
    style.draw_chance(axes, chance)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="fraction of units ablated")
    axes.set_ylabel(f"accuracy on {split}{'ing' if split == 'train' else ''} images")
    return figure


def _draw_line(axes: Axes, line: Line, spread: Spread, drop: bool, depth: float, marks: tuple[int, int] | None) -> None:
    """Draw a condition, `depth` (0 to 1) below the first. `marks`: the index of its colour, the number of colours."""
    curves = line.curves.dropna(subset=["accuracy"])
    if drop:
        start = curves.loc[curves["fraction_ablated"] == 0].groupby("run")["accuracy"].mean()
        curves = curves.assign(accuracy=curves["run"].map(start) - curves["accuracy"])
    networks = curves.groupby(["run", "fraction_ablated"])["accuracy"].agg(["mean", "var"]).reset_index()
    dashes: Any = (0, (1, 1)) if line.dotted else "-"
    if networks["run"].nunique() > 1:
        for _, network in networks.groupby("run"):
            axes.plot(
                network["fraction_ablated"], network["mean"], color=line.colour, linewidth=0.5, alpha=0.5,
                linestyle=dashes, zorder=2 - depth,
            )  # fmt: skip
    points = networks.groupby("fraction_ablated")
    mean = points["mean"].mean()
    if spread == "orderings":
        deviation = np.sqrt(points["var"].mean())
    else:
        deviation = curves.groupby("fraction_ablated")["accuracy"].std()
    look: dict[str, Any] = {"label": line.label, "linestyle": dashes}
    if marks is not None:
        place, among = marks
        apart = max(1, len(mean) // MARKS)
        shape: Any = {"color": line.colour, "marker": style.MARKERS[place % len(style.MARKERS)], "markersize": 4.5,
                      "markeredgecolor": "white", "markeredgewidth": 0.5}  # fmt: skip
        shown = mean.iloc[place * apart // among :: apart]
        axes.plot(shown.index, shown, linestyle="", zorder=5 - depth, **shape)  # above the lines of all conditions
        look |= {**shape, "markevery": []}  # in the legend alone
    _draw_band(axes, mean.index, mean, deviation.fillna(0), line.colour, depth, **look)


def _draw_band(
    axes: Axes, fraction: Any, mean: Any, deviation: Any, colour: Any, depth: float = 0.0, **look: Any
) -> None:
    """Draw a mean and its deviation. The bands of all conditions are below the lines of all."""
    axes.fill_between(
        fraction, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0, zorder=1 - depth
    )
    axes.plot(fraction, mean, **{"color": colour, "zorder": 4 - depth, **look})
