"""Figures from tables, in one style."""

from single_directions.experiments.drawing.ablation import Line, ablation_figure, curve_figure
from single_directions.experiments.drawing.dots import Column, Row, dots_figure
from single_directions.experiments.drawing.ensemble import leverage_figure, scatter_figure
from single_directions.experiments.drawing.equal_loss import equal_loss_figure
from single_directions.experiments.drawing.style import corruption_colour, save
from single_directions.experiments.drawing.training import correlation_figure, training_figure

__all__ = [
    "Column",
    "Line",
    "Row",
    "ablation_figure",
    "correlation_figure",
    "corruption_colour",
    "curve_figure",
    "dots_figure",
    "equal_loss_figure",
    "leverage_figure",
    "save",
    "scatter_figure",
    "training_figure",
]
