"""How fast: `python scripts/benchmark.py ablation` or `training` (`--help` for more)."""

from single_directions.benchmark.cli import benchmark

if __name__ == "__main__":
    benchmark()
