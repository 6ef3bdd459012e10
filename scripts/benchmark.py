"""How fast: `python scripts/benchmark.py ablation`, `training` or `callback` (`--help` for more)."""

from single_directions.commands import benchmark

if __name__ == "__main__":
    benchmark()
