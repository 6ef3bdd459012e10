"""How fast: `python scripts/benchmark.py ablation` or `training` (`--help` for more)."""

from single_directions.commands import benchmark

if __name__ == "__main__":
    benchmark()
