"""What the defaults of `AblationAUC` rest on: `python scripts/precision.py` writes docs/defaults.md (`--help`)."""

from single_directions.commands import precision

if __name__ == "__main__":
    precision()
