"""The report: run folders as tables, and tables as figures."""

from single_directions.report.figures import ablation_figure
from single_directions.report.table import by_corruption, read_curves, read_runs

__all__ = ["ablation_figure", "by_corruption", "read_curves", "read_runs"]
