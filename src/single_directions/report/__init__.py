"""The report: run folders as tables, tables as claims and figures, and all of it as one page."""
