"""What the defaults of `AblationAUC` rest on: `python scripts/precision.py` writes docs/defaults.md (`--help`)."""

from single_directions.benchmark.defaults import defaults

if __name__ == "__main__":
    defaults()
