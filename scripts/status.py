"""Which runs are done, under way, failed or missing: `python scripts/status.py runs` (`--help` for more)."""

from single_directions.commands import status

if __name__ == "__main__":
    status()
