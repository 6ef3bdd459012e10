"""Tables and figures of the runs in a folder: `python scripts/report.py runs`."""

from single_directions.commands import report

if __name__ == "__main__":
    report()
