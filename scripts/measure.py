"""Measure a network that exists already: `python scripts/measure.py TARGET` (`--help` for more)."""

from single_directions.report.measure import measure

if __name__ == "__main__":
    measure()
