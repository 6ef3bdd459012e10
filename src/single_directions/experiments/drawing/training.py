"""AUC and losses over a training: Figure 3."""

from collections.abc import Mapping
from math import ceil, floor, log10
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from single_directions.experiments.drawing.style import BLUE, COLUMN_WIDTH, GREEN, PURPLE, new_figure, styled

PANELS = 9
"""The most trainings in one figure of panels."""
AREA, LABEL = "ablation/auc_normalized", "normalized AUC"
"""The column of the AUC, and its name in figures."""


@styled
def training_figure(epochs: pd.DataFrame, title: str) -> Figure:
    """Train and test loss and, on a second axis, the normalized AUC over epochs (Figure 3a).

    Thin lines are trainings, thick ones their means. The axis of the losses is cut off above, to show where train and
    test loss part. Marks: the least test loss and the highest AUC, small for each training and large, with a dashed
    line, for the mean. `epochs` has `run`, `epoch`, `train/loss`, `test/loss`, `ablation/auc_normalized`.
    """
    figure, axes = new_figure(title, 0.72)
    areas = axes.twinx()
    areas.spines["right"].set_visible(True)
    mean = epochs.groupby("epoch")[["train/loss", "test/loss", AREA]].mean()
    _draw_measure(axes, epochs, mean, "train/loss", BLUE, "train loss")
    _draw_measure(axes, epochs, mean, "test/loss", PURPLE, "test loss", best="min")
    _draw_measure(areas, epochs, mean, AREA, GREEN, LABEL, best="max")
    axes.set(xlim=(mean.index.min(), mean.index.max()), ylim=(0, _cut(mean["test/loss"])), xlabel="epoch")
    cut = epochs[["train/loss", "test/loss"]].max(axis=None) > axes.get_ylim()[1]
    axes.set_ylabel("loss (cut off above)" if cut else "loss")
    areas.set_ylabel(f"{LABEL} (training images)", color=GREEN)
    areas.tick_params(axis="y", colors=GREEN)
    marks, names = axes.get_legend_handles_labels()
    more, others = areas.get_legend_handles_labels()
    # A legend is filled column by column: each measure above its mark, the one without a mark last.
    figure.legend([*marks[1:], *more, marks[0]], [*names[1:], *others, names[0]], loc="outside lower center", ncols=3)
    return figure


@styled
def correlation_figure(epochs: pd.DataFrame, titles: Mapping[str, str], title: str) -> Figure:
    """Normalized AUC against test loss: one mark for each epoch, one panel for each training (Figure 3b).

    `titles` are by run, in the order of the panels; the first nine are drawn. The axis of the test loss is logarithmic,
    so that all epochs are in view: the loss falls far in the first few.
    """
    runs = list(titles)[:PANELS]
    columns = 2 if len(runs) in (2, 4) else min(3, len(runs))
    rows = ceil(len(runs) / columns)
    shown = epochs[epochs["run"].isin(runs)].dropna(subset=["test/loss", AREA])
    height = 0.8 if len(runs) == 1 else (1.2 + 1.2 * rows) / COLUMN_WIDTH
    figure, grid = new_figure(title, height, rows=rows, columns=columns, sharex=True, sharey=True, squeeze=False)
    span: Any = {"vmin": shown["epoch"].min(), "vmax": shown["epoch"].max(), "cmap": "cividis"}
    for axes, run in zip(grid.flat, runs, strict=False):
        one = shown[shown["run"] == run].sort_values("epoch")
        axes.plot(one["test/loss"], one[AREA], color="0.8", linewidth=0.6, zorder=1)
        marks = axes.scatter(one["test/loss"], one[AREA], c=one["epoch"], s=8, linewidths=0, **span)
        axes.set_title(titles[run], fontsize=8)
    _log_losses(grid.flat[0], shown["test/loss"])
    grid.flat[0].set_ylim(*_around(shown[AREA]))
    for place in range(len(runs), rows * columns):
        grid.flat[place].set_visible(False)
        if place >= columns:  # no panel below has the numbers of this axis
            grid.flat[place - columns].tick_params(labelbottom=True)
    figure.supxlabel("test loss (logarithmic)", fontsize=9)
    figure.supylabel(f"{LABEL} (training images)", fontsize=9)
    bar = figure.colorbar(marks, ax=list(grid.flat), location="top", label="epoch", aspect=40, pad=0.02)
    bar.outline.set_visible(False)
    return figure


def _draw_measure(
    axes: Axes, epochs: pd.DataFrame, mean: pd.DataFrame, column: str, colour: str, label: str, best: str = ""
) -> None:
    if epochs["run"].nunique() > 1:
        for _, one in epochs.dropna(subset=[column]).groupby("run"):
            axes.plot(one["epoch"], one[column], color=colour, linewidth=0.5, alpha=0.5)
            if best:
                axes.plot(
                    *_best(one["epoch"], one[column], best), "o", markersize=2.5, color=colour, alpha=0.7, clip_on=False
                )
    line = mean[column].dropna()
    axes.plot(line.index, line, color=colour, label=label)
    if best and not line.empty:
        epoch, value = _best(line.index.to_series(), line, best)
        # Of two lines at the same epoch, the dashes alternate.
        axes.axvline(epoch, color=colour, linewidth=0.9, linestyle=(0 if best == "min" else 4, (4, 4)))
        name = "least test loss" if best == "min" else f"highest {LABEL}"
        axes.plot(
            epoch, value, "o", markersize=6, color=colour, markeredgecolor="white", label=name, zorder=4,
            clip_on=False,  # the mark of the last epoch is on the frame
        )  # fmt: skip


def _best(epochs: pd.Series, values: pd.Series, best: str) -> tuple[float, float]:
    """The epoch of the least or the greatest value, and that value."""
    place = int(values.to_numpy().argmin() if best == "min" else values.to_numpy().argmax())
    return float(epochs.iloc[place]), float(values.iloc[place])


def _log_losses(axes: Axes, losses: pd.Series) -> None:
    """Make the axis of the losses logarithmic, with all losses in view."""
    low, high = float(losses.min()), float(losses.max())
    if low <= 0:  # it has no logarithm
        return
    margin = max(high / low, 1.1) ** 0.06
    axes.set(xscale="log", xlim=(low / margin, high * margin))
    axes.xaxis.set_major_locator(FixedLocator(_round_between(low / margin, high * margin)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _round_between(low: float, high: float) -> list[float]:
    """Two to six round numbers, as even on a logarithmic axis as possible."""
    powers = 10.0 ** np.arange(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]):
        found = [float(x) for x in np.outer(powers, steps).ravel() if low <= x <= high]
        if len(found) >= 3:
            return found[:: 1 + len(found) // 7]
    return [float(x) for x in MaxNLocator(3).tick_values(low, high) if low <= x <= high]


def _around(values: pd.Series) -> tuple[float, float]:
    """The limits of an axis that shows all values."""
    margin = 0.06 * float(np.ptp(values)) or 0.06
    return float(values.min()) - margin, float(values.max()) + margin


def _cut(test_loss: pd.Series) -> float:
    """The top of the axis of losses: above the highest test loss after its minimum, at least twice the minimum."""
    after = test_loss.loc[test_loss.idxmin() :].max()
    top = max(1.15 * after, 2 * test_loss.min())
    return float(min(top, 1.05 * test_loss.max())) if np.isfinite(top) and top > 0 else 1.0
