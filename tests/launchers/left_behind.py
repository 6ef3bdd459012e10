"""What the runs of a sweep left behind."""

import json
from pathlib import Path
from typing import Any


def states(place: Path) -> dict[float, str]:
    """The state of each run by its learning rate."""
    files = (place / "runs").glob("*/*/*/status.json")
    return {learning_rate(file.parent): json.loads(file.read_text())["state"] for file in files}


def learning_rate(folder: Path) -> float:
    """That of a run, out of the name of its folder."""
    return float(folder.name.split("optimizer.lr=")[1].split(",")[0])


def seen(place: Path) -> list[dict[str, Any]]:
    """What the witness wrote of all attempts at all runs."""
    return [json.loads(file.read_text()) for file in sorted((place / "seen").iterdir())]


def results(place: Path, rate: float, runs: str = "runs") -> list[bytes]:
    """The tables that a run left."""
    (folder,) = (folder for folder in (place / runs).glob("*/*/*optimizer.lr=*") if learning_rate(folder) == rate)
    return [(folder / name).read_bytes() for name in ("metrics.csv", "curves.csv")]
