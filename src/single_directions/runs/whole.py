"""Checks that the summary and the tables of a run are whole. Without pandas, it is fast enough for hundreds of runs."""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from single_directions.runs.config import is_number

CURVE = ("ordering", "units_ablated", "fraction_ablated", "accuracy")
"""The columns of `curves.csv`; those of `epoch_curves.csv` come after `epoch`."""
NUMBERS = (
    *("seed", "corruption", "classes", "epochs", "orderings", "points", "units", "generalization_error"),
    *("auc", "auc_std", "auc_normalized", "auc_normalized_std", "auc_corrected"),
    *(f"estimate_{auc}{se}" for auc in ("auc", "auc_normalized", "auc_corrected") for se in ("", "_se")),
    *("train_accuracy", "train_loss", "test_accuracy", "test_loss"),
)
"""Keys of `summary.json` that may be missing, and are else numbers or null."""
NEEDED = ("orderings", "points", "epochs", "train_accuracy", "test_accuracy", "auc")
"""Keys of `summary.json` that must be numbers. `seconds` is needed too, with numbers below it."""


def broken_summary(summary: dict[str, Any]) -> str:
    """Which key of a summary is missing or has an invalid value; "" where none."""
    for key in (*NEEDED, "seconds"):
        if summary.get(key) is None:
            return f"summary.json has no {key}"
    for key in ("orderings", "points", "epochs"):
        if not isinstance(summary[key], int):
            return f"summary.json: {key} is not a whole number"
    for key in NUMBERS:
        if not (summary.get(key) is None or is_number(summary[key])):
            return f"summary.json: {key} is not a number"
    if key := broken_record(summary):
        return f"summary.json: {key} is not as a run writes it"
    seconds = summary["seconds"]
    if not (isinstance(seconds, dict) and all(map(is_number, seconds.values()))):
        return "summary.json: seconds must have numbers below it"
    return ""


def broken_record(record: dict[str, Any]) -> str:
    """Which key of what a run says of its origin, see `identity.record_of`, has an invalid value; "" where none."""
    overrides = record.get("overrides")
    if not (overrides is None or (isinstance(overrides, list) and all(isinstance(one, str) for one in overrides))):
        return "overrides"
    texts = ("command", "commit", "identity")
    return next((key for key in texts if not isinstance(record.get(key), str | None)), "")


def broken_table(curves: Path, metrics: Path, epoch_curves: Path, summary: dict[str, Any]) -> str:
    """What is wrong with the first table that does not agree with the summary; "" where all agree."""
    orderings, points, epochs = (summary[key] for key in ("orderings", "points", "epochs"))
    during = [(epoch_curves, ("epoch", *CURVE), None)] if epoch_curves.exists() else []
    try:
        for file, columns, rows in ((curves, CURVE, orderings * points), (metrics, ("epoch",), epochs), *during):
            stat = file.stat()
            if trouble := _trouble(file, columns, rows, stat.st_mtime_ns, stat.st_size):
                return f"{file.name}: {trouble}"
        return _holes(curves, orderings, points)
    except OSError as error:
        return f"{Path(error.filename or curves).name}: {error.strerror}"


@lru_cache(maxsize=4096)
def _trouble(file: Path, columns: tuple[str, ...], rows: int | None, *version: int) -> str:
    """What is wrong with one table: its columns, the number of its rows (None: any), or a cell that is no number."""
    header, *lines = _lines(file)
    there = header.split(",")
    if missing := [column for column in columns if column not in there]:
        return f"it has no column {min(missing)}"
    if not lines or lines.pop():
        return "its last row is cut off"
    if rows is not None and len(lines) != rows:
        return f"it has {len(lines)} rows, not the {rows} of summary.json"
    cells = [line.split(",") for line in lines]
    for number, row in enumerate(cells, 1):
        if len(row) != len(there):
            return f"row {number} has {len(row)} cells, not the {len(there)} of the header"
    for column, values in zip(there, zip(*cells, strict=True), strict=False):
        needed = column in columns
        if not _are_cells(values, needed):
            number, value = next((n, v) for n, v in enumerate(values, 1) if not _are_cells([v], needed))
            return f"a cell is not a number: row {number} has {value!r} as {column}"
    return ""


def _lines(file: Path) -> list[str]:
    """The lines of a table, and what follows the last line: "" where the table is whole."""
    return file.read_bytes().decode(errors="replace").split("\n")


def _are_cells(values: Sequence[str], needed: bool) -> bool:
    """Whether cells hold numbers as pandas writes them; inf and empty cells (NaN) only in columns not needed."""
    if "".join(values).strip("0123456789.eE+-inf"):  # float() also takes underscores and "nan"
        return False
    try:
        numbers = [float(value) for value in values if value]
    except ValueError:
        return False
    return not needed or (len(numbers) == len(values) and all(map(isfinite, numbers)))


def _holes(curves: Path, orderings: int, points: int) -> str:
    """What is wrong with the orderings and points of the final curve, whose cells are numbers."""
    header, *lines = _lines(curves)[:-1]
    ordering, units = (header.split(",").index(column) for column in CURVE[:2])
    try:
        found = {(int(cells[ordering]), int(cells[units])) for cells in (line.split(",") for line in lines)}
    except ValueError:
        return f"{curves.name}: an ordering or units_ablated is not a whole number"
    if len(found) != len(lines) or len({point for _, point in found}) != points:
        return f"{curves.name}: some of the {orderings} orderings have a point missing"
    return ""
