"""The report: run folders as tables, tables as statistics, claims and figures."""

from single_directions.report.figures import ablation_figure
from single_directions.report.sweeps import by_condition
from single_directions.report.table import Tables, read_tables

__all__ = ["Tables", "ablation_figure", "by_condition", "read_tables"]
