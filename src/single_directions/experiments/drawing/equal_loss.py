"""AUC against training loss, for Figure 1 at equal training loss."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from single_directions.experiments.drawing.style import DASHED, GREY, corruption_colour, draw_legend, new_figure, styled
from single_directions.experiments.wording import corrupted


@styled
def equal_loss_figure(trainings: pd.DataFrame, reached: float, title: str) -> Figure:
    """AUC against training loss: a thin line for each training, a thick one for the mean at each level of corruption.

    `trainings` has the columns `corruption`, `seed`, `epoch`, `loss` and `auc`, one row for each epoch. Losses fall to
    the right, as in training. A dashed line marks the loss `reached` by all.
    """
    figure, axes = new_figure(title, 0.7)
    labels = []
    for corruption, own in trainings.groupby("corruption"):
        level = float(str(corruption))
        colour, label = corruption_colour(level), corrupted(level)
        each = []
        for _, one in own.groupby("seed"):
            loss = np.minimum.accumulate(one["loss"].to_numpy())  # the least loss so far
            axes.plot(loss, one["auc"], color=colour, linewidth=0.5, alpha=0.6)
            each.append((loss, one["auc"].to_numpy()))
        shared = np.geomspace(min(loss[0] for loss, _ in each), max(loss[-1] for loss, _ in each), 100)
        areas = [np.interp(-np.log(shared), -np.log(loss), auc) for loss, auc in each]
        axes.plot(shared, np.mean(areas, axis=0), color=colour, label=label)
        labels.append(label)
    axes.axvline(reached, **DASHED | {"color": GREY})
    axes.set(xscale="log", ylim=(0, 1), xlabel="training loss", ylabel="normalized AUC")
    axes.invert_xaxis()
    draw_legend(figure, labels)
    return figure
