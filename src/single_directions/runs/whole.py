"""Whether the tables of a run are whole: told fast enough for hundreds of runs, without pandas."""

from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

CURVE = ("ordering", "units_ablated", "fraction_ablated", "accuracy")
"""The columns of `curves.csv`; those of `epoch_curves.csv` come after `epoch`."""


def broken_table(curves: Path, metrics: Path, epoch_curves: Path, summary: dict[str, Any]) -> str:
    """What is wrong with the first table that is not as the summary tells, "" where nothing is."""
    try:
        orderings, points, epochs = (int(summary[key]) for key in ("orderings", "points", "epochs"))
    except (KeyError, TypeError, ValueError):
        return "summary.json lacks orderings, points or epochs"
    during = [(epoch_curves, ("epoch", *CURVE), None)] if epoch_curves.exists() else []
    for file, columns, rows in ((curves, CURVE, orderings * points), (metrics, ("epoch",), epochs), *during):
        try:
            stat = file.stat()
            trouble = _trouble(file, columns, rows, stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            trouble = str(error.strerror)
        if trouble:
            return f"{file.name}: {trouble}"
    return _holes(curves, orderings, points)


@lru_cache(maxsize=4096)
def _trouble(file: Path, columns: tuple[str, ...], rows: int | None, *version: int) -> str:
    """What is wrong with one table: its columns, the number of its rows (None: any), or a cell that is no number."""
    first, _, rest = file.read_bytes().partition(b"\n")
    there = first.decode(errors="replace").split(",")
    if missing := [column for column in columns if column not in there]:
        return f"it has no column {min(missing)}"
    if not rest.endswith(b"\n"):
        return "its last row is cut off"
    found = rest.count(b"\n")
    if rows is not None and found != rows:
        return f"it has {found} rows, not the {rows} of summary.json"
    # What pandas writes for numbers, inf among them; NaN is an empty cell.
    if rest.translate(None, delete=b"0123456789.eE+-,inf\n") or rest.count(b",") != found * first.count(b","):
        return "some cell is no number, or a row has too few or too many"
    return ""


def _holes(curves: Path, orderings: int, points: int) -> str:
    """What is wrong with the orderings and points of the final curve."""
    header, *lines = curves.read_text().splitlines()
    places = [header.split(",").index(column) for column in CURVE]
    rows = [[cells[place] for place in places] for cells in (line.split(",") for line in lines)]
    try:
        found = {(int(ordering), int(units)) for ordering, units, *_ in rows}
        numbers = all(isfinite(float(cell)) for row in rows for cell in row)
    except ValueError:
        numbers = False
    if not numbers:
        return f"{curves.name}: some cell is no number"
    if len(found) != len(rows) or len({point for _, point in found}) != points:
        return f"{curves.name}: some of the {orderings} orderings lacks a point"
    return ""
