"""AUC and losses over a training: Figure 3, and Figure 1 at equal training loss."""

from collections.abc import Mapping
from math import ceil, floor, log10
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from single_directions.experiments.drawing import style
from single_directions.experiments.training import NORMALIZED
from single_directions.experiments.wording import corrupted

PANELS = 9
"""The most trainings in one figure of panels."""
LABEL = "normalized AUC"


@style.applied
def training_figure(epochs: pd.DataFrame, title: str) -> Figure:
    """Train and test loss and, on a second axis, the normalized AUC over epochs (Figure 3a).

    Thin lines are trainings, thick ones their means. The axis of the losses is cut off above, to show where train and
    test loss part. Marks: the least test loss and the highest AUC, small for each training and large, with a dashed
    line, for the mean. `epochs` has `run`, `epoch`, `train/loss`, `test/loss`, `ablation/auc_normalized`.
    """
    figure, axes = style.new_figure(title, 0.72)
    areas = axes.twinx()
    areas.spines["right"].set_visible(True)
    _draw_measure(axes, epochs, "train/loss", style.BLUE, "train loss")
    _draw_measure(axes, epochs, "test/loss", style.PURPLE, "test loss", best="min")
    _draw_measure(areas, epochs, NORMALIZED, style.GREEN, LABEL, best="max")
    top = _cut(epochs.groupby("epoch")["test/loss"].mean())
    axes.set(xlim=(epochs["epoch"].min(), epochs["epoch"].max()), ylim=(0, top), xlabel="epoch")
    cut = (epochs[["train/loss", "test/loss"]] > top).any(axis=None)
    axes.set_ylabel("loss (cut off above)" if cut else "loss")
    areas.set_ylabel(f"{LABEL} (training images)", color=style.GREEN)
    areas.tick_params(axis="y", colors=style.GREEN)
    marks, names = axes.get_legend_handles_labels()
    more, others = areas.get_legend_handles_labels()
    # A legend is filled column by column: each measure above its mark, the one without a mark last.
    figure.legend([*marks[1:], *more, marks[0]], [*names[1:], *others, names[0]], loc="outside lower center", ncols=3)
    return figure


@style.applied
def correlation_figure(epochs: pd.DataFrame, titles: Mapping[str, str], title: str) -> Figure:
    """Normalized AUC against test loss: one mark for each epoch, one panel for each training (Figure 3b).

    `titles` are by run, in the order of the panels; the first nine are drawn. The axis of the test loss is logarithmic,
    so that all epochs are in view: the loss falls far in the first few.
    """
    runs = list(titles)[:PANELS]
    columns = 2 if len(runs) in (2, 4) else min(3, len(runs))
    rows = ceil(len(runs) / columns)
    shown = epochs[epochs["run"].isin(runs)].dropna(subset=["test/loss", NORMALIZED])
    height = 0.8 if len(runs) == 1 else (1.2 + 1.2 * rows) / style.COLUMN_WIDTH
    figure, grid = style.new_figure(title, height, rows=rows, columns=columns, sharex=True, sharey=True, squeeze=False)
    span: Any = {"vmin": shown["epoch"].min(), "vmax": shown["epoch"].max(), "cmap": "cividis"}
    for axes, run in zip(grid.flat, runs, strict=False):
        one = shown[shown["run"] == run].sort_values("epoch")
        axes.plot(one["test/loss"], one[NORMALIZED], color="0.8", linewidth=0.6, zorder=1)
        marks = axes.scatter(one["test/loss"], one[NORMALIZED], c=one["epoch"], s=8, linewidths=0, **span)
        axes.set_title(titles[run], fontsize=8)
    _log_losses(grid.flat[0], shown["test/loss"])
    low, high = shown[NORMALIZED].min(), shown[NORMALIZED].max()
    margin = 0.06 * (high - low) or 0.06
    grid.flat[0].set_ylim(low - margin, high + margin)
    for place in range(len(runs), rows * columns):
        grid.flat[place].set_visible(False)
        if place >= columns:  # no panel below has the numbers of this axis
            grid.flat[place - columns].tick_params(labelbottom=True)
    figure.supxlabel("test loss (logarithmic)", fontsize=9)
    figure.supylabel(f"{LABEL} (training images)", fontsize=9)
    bar = figure.colorbar(marks, ax=list(grid.flat), location="top", label="epoch", aspect=40, pad=0.02)
    bar.outline.set_visible(False)
    return figure


@style.applied
def equal_loss_figure(trainings: pd.DataFrame, reached: float, title: str) -> Figure:
    """AUC against training loss: a thin line for each training, a thick one for the mean at each level of corruption.

    `trainings` has the columns `corruption`, `seed`, `epoch`, `loss` and `auc`, one row for each epoch. Losses fall to
    the right, as in training. A dashed line marks the loss `reached` by all.
    """
    figure, axes = style.new_figure(title, 0.7)
    labels = []
    for corruption, own in trainings.groupby("corruption"):
        level = float(str(corruption))
        colour, label = style.corruption_colour(level), corrupted(level)
        each = []
        for _, one in own.groupby("seed"):
            loss = np.minimum.accumulate(one["loss"].to_numpy())  # the least loss so far
            axes.plot(loss, one["auc"], color=colour, linewidth=0.5, alpha=0.6)
            each.append((loss, one["auc"].to_numpy()))
        shared = np.geomspace(min(loss[0] for loss, _ in each), max(loss[-1] for loss, _ in each), 100)
        areas = [np.interp(-np.log(shared), -np.log(loss), auc) for loss, auc in each]
        axes.plot(shared, np.mean(areas, axis=0), color=colour, label=label)
        labels.append(label)
    axes.axvline(reached, **style.DASHED | {"color": style.GREY})
    axes.set(xscale="log", ylim=(0, 1), xlabel="training loss", ylabel="normalized AUC")
    axes.invert_xaxis()
    style.draw_legend(figure, labels)
    return figure


def _draw_measure(axes: Axes, epochs: pd.DataFrame, column: str, colour: str, label: str, best: str = "") -> None:
    """Draw a line for each training and one for their mean, with marks at the `best` values: "min", "max" or none."""
    epochs = epochs.dropna(subset=[column])
    if epochs["run"].nunique() > 1:
        for _, one in epochs.groupby("run"):
            line = one.set_index("epoch")[column]
            axes.plot(line, color=colour, linewidth=0.5, alpha=0.5)
            if best:
                axes.plot(*_best(line, best), "o", markersize=2.5, color=colour, alpha=0.7, clip_on=False)
    mean = epochs.groupby("epoch")[column].mean()
    axes.plot(mean, color=colour, label=label)
    if best and not mean.empty:
        epoch, value = _best(mean, best)
        # Of two lines at the same epoch, the dashes alternate.
        axes.axvline(epoch, color=colour, linewidth=0.9, linestyle=(0 if best == "min" else 4, (4, 4)))
        name = "least test loss" if best == "min" else f"highest {LABEL}"
        axes.plot(
            epoch, value, "o", markersize=6, color=colour, markeredgecolor="white", label=name, zorder=4,
            clip_on=False,  # the mark of the last epoch is on the frame
        )  # fmt: skip


def _best(by_epoch: pd.Series, best: str) -> tuple[Any, float]:
    """The epoch of the least or the greatest value, and that value."""
    return (by_epoch.idxmin(), by_epoch.min()) if best == "min" else (by_epoch.idxmax(), by_epoch.max())


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


def _cut(test_loss: pd.Series) -> float:
    """The top of the axis of losses: above the highest test loss after its minimum, at least twice the minimum."""
    after = test_loss.loc[test_loss.idxmin() :].max()
    top = max(1.15 * after, 2 * test_loss.min())
    return float(min(top, 1.05 * test_loss.max())) if np.isfinite(top) and top > 0 else 1.0
