"""The report: run folders as tables, tables as statistics, claims and figures, and all of it as one page."""

from single_directions.report.claims import judge
from single_directions.report.table import Tables, read_tables

__all__ = ["Tables", "judge", "read_tables"]
