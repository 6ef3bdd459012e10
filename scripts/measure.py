"""Measure a network that exists already: `python scripts/measure.py TARGET` (`--help` for more)."""

from single_directions.commands import measure

if __name__ == "__main__":
    measure()
