"""Run folders, and the tables of earlier reports, as three tables."""

import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from single_directions.commands import called
from single_directions.errors import BadInput, one_line
from single_directions.experiments.sweeps import config_keys, config_of, default, variants
from single_directions.experiments.tables import Tables
from single_directions.runs.config import flat
from single_directions.runs.folder import RunFolder
from single_directions.runs.identity import as_text, assignments, full_name, is_neutral, shown_command

_TEXT = ("run", "state", "reason", "experiment", "scale", "data", "variant", "label_hash", "finished",
         "overrides", "command", "commit", "identity")  # fmt: skip
"""Columns that are text even where a value looks like a number."""
_EXACT: Any = {} if [*map(int, pd.__version__.split(".")[:2])] >= [3, 1] else {"float_precision": "round_trip"}
"""So that numbers are read to the last digit: what pandas 3.1 does by itself, and does not want to be asked for."""
_FIRST = ["run", "state", "reason", "experiment", "scale", "data"]
_CURVES = ["run", "epoch", "ordering", "units_ablated", "fraction_ablated", "accuracy"]
_NUMBERS = ("config.seed", "config.data.corruption", "config.data.train_samples", "config.network.dropout",
            "config.optimizer.lr", "config.trainer.max_epochs", "config.ablation.top_k")  # fmt: skip
"""What a run that is done may lack but not have as text."""


def read_tables(inputs: Sequence[Path]) -> Tables:
    """Everything below some folders: run folders, or the tables that an earlier report wrote.

    A run that occurs in several inputs is taken once, and done rather than not. Run folders that are broken or half
    written are listed. Two runs that differ in a path alone, such as that of their images, would have one name: the
    second and all others with its path get a short hash. Raises `BadInput` for an input that does not exist, for
    tables that cannot be read, for two different runs of one name, and where there is no run at all.
    """
    chosen: dict[str, _Run] = {}
    found = [run for path in inputs for run in _read(path)]
    for run in _named_apart(found):
        before = chosen.setdefault(run.row["run"], run)
        if before.row["state"] == run.row["state"] == "done":
            _check_same(before.row, run.row)
        elif run.row["state"] == "done":
            chosen[run.row["run"]] = run
    if not chosen:
        places = ", ".join(map(str, inputs))
        raise BadInput(f"no runs in {places}: make some, with {called('train')} -m experiment=memorization")
    ordered = [chosen[name] for name in sorted(chosen)]
    runs = pd.DataFrame([run.row for run in ordered])
    config = [f"config.{key}" for key in config_keys(runs)]
    runs = _normal(runs[[*_FIRST, *runs.columns.drop([*_FIRST, *config]), *config]])
    runs.insert(len(_FIRST), "variant", variants(runs))
    curves = _joined([run.curves for run in ordered], _CURVES)
    return Tables(runs, curves, _joined([run.epochs for run in ordered], ["run", "epoch"]))


@dataclass(frozen=True, eq=False)
class _Run:
    """One run's row, and its part of the other tables, without rows if it is not done and whole.

    `paths` has the settings that the row has without their folders, as {key: value}; of a table of a report, which
    folders these were is not known, and the values name the report.
    """

    row: dict[str, Any]
    curves: pd.DataFrame
    epochs: pd.DataFrame
    paths: dict[str, str] = field(default_factory=dict)


def _named_apart(runs: Sequence[_Run]) -> list[_Run]:
    """The runs, where those of one name that differ in a path alone have names and settings of their own."""
    firsts: dict[str, _Run] = {}
    endings: dict[str, str] = {}
    for run in runs:
        if run.row["state"] == "done":
            first = firsts.setdefault(run.row["run"], run)
            one, other = (row.get("identity") for row in (first.row, run.row))
            if isinstance(one, str) and isinstance(other, str) and one != other and first.paths != run.paths:
                _check_same(first.row, run.row)
                endings.setdefault(json.dumps(run.paths), other[:8])
    return [_with_ending(run, endings.get(json.dumps(run.paths), "")) for run in runs]


def _with_ending(run: _Run, ending: str) -> _Run:
    """A run whose name and paths end in a hash."""
    if not ending:
        return run
    row = {**run.row, "run": f"{run.row['run']}-{ending}"}
    overrides = json.loads(row["overrides"]) if isinstance(row.get("overrides"), str) else []
    for key in run.paths:
        row[f"config.{key}"] = f"{row.get(f'config.{key}')}-{ending}"
        overrides = [f"{part}-{ending}" if part.startswith(f"{key}=") else part for part in overrides]
    if overrides:
        row["overrides"] = json.dumps(overrides)
    curves, epochs = (table.assign(run=row["run"]) if len(table) else table for table in (run.curves, run.epochs))
    return replace(run, row=row, curves=curves, epochs=epochs)


def _read(path: Path) -> Iterator[_Run]:
    """The runs of one input."""
    if not path.is_dir():
        raise BadInput(
            f"{path} is not a folder: name one of runs, as {called('train')} -m experiment=memorization makes, "
            "or that of an earlier report"
        )
    if (path / "runs.csv").is_file():
        yield from _read_report(path)
    else:
        yield from map(_read_folder, run_folders(path))


def _read_report(path: Path) -> Iterator[_Run]:
    runs, curves, epochs = (
        _read_table(path / f"{name}.csv", needed)
        for name, needed in (("runs", _FIRST), ("curves", _CURVES), ("epochs", ["run", "epoch"]))
    )
    curves, epochs = (table.assign(run=table["run"].ffill()) for table in (curves, epochs))
    _check_rows(path, runs, curves, epochs)
    parts = [{str(run): part for run, part in table.groupby("run")} for table in (curves, epochs)]
    for row in runs.drop(columns="variant", errors="ignore").to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        paths = {"data.root": str(path)} if config_of(named)["data"]["_target_"].endswith(".image_folder") else {}
        curves, epochs = (part.get(named["run"], pd.DataFrame()) for part in parts)
        yield _Run(named, curves, epochs, paths)


def _read_table(file: Path, needed: Sequence[str]) -> pd.DataFrame:
    try:
        table = _parsed(file.read_text())
        if missing := set(needed) - set(table):
            raise ValueError(f"it has no column {min(missing)}")
        return table
    except (OSError, ValueError) as error:
        raise _no_table(file, _without_paths(one_line(error))) from error


def _check_rows(path: Path, runs: pd.DataFrame, curves: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Raises `BadInput` where rows are missing from the tables of a report."""
    named = {"any run"} if runs.empty else {*curves["run"].dropna(), *epochs["run"].dropna()}
    if missing := named - {*runs["run"]}:
        raise _no_table(path / "runs.csv", f"it has no row of {min(missing)}")
    done = runs[runs["state"] == "done"].set_index("run").reindex(columns=["orderings", "points", "epochs"])
    wanted = {"curves": done["orderings"] * done["points"], "epochs": done["epochs"]}
    for name, table in (("curves", curves[curves["epoch"].isna()]), ("epochs", epochs)):
        there = table["run"].value_counts()
        for run, rows in wanted[name].dropna().items():
            if there.get(run, 0) != rows:
                raise _no_table(path / f"{name}.csv", f"it has {there.get(run, 0)} rows of {run}, not {rows:.0f}")


def _no_table(file: Path, why: str) -> BadInput:
    return BadInput(f"{file} is not a table of a report ({why}): make the report again")


def run_folders(root: Path) -> Iterator[RunFolder]:
    """The folders below `root` in which a run has at least begun."""
    for place, folders, files in os.walk(root):
        folder = RunFolder(Path(place))
        if {folder.status.name, folder.config.name} & set(files):
            yield folder
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _check_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises `BadInput` where two runs of one name that are done have different labels or configurations."""
    configs = [config_of(row) for row in (one, other)]
    for key in sorted(one.keys() | other.keys()):
        dotted = key.removeprefix("config.")
        if key == "label_hash" or (dotted != key and not all(is_neutral(dotted, config) for config in configs)):
            values = (row.get(key) for row in (one, other))
            a, b = (None if value == "" or pd.isna(value) else value for value in (default(v, dotted) for v in values))
            if a != b and str(a) != str(b):
                raise BadInput(f"two runs are called {one['run']}, with {key} {a} and {b}: leave one of them out")


def _read_folder(folder: RunFolder) -> _Run:
    try:
        config = folder.read_config()
    except (OSError, BadInput):
        config = {}
    row = {**_origin(folder, config), "state": folder.state() or "broken"}
    row["reason"] = _without_paths(str(folder.read_status().get("error", "")))
    if folder.state() is None:
        row["reason"] = f"{folder.status.name} is missing or cannot be read"
    if (trouble := folder.trouble()) and folder.holder() is None:
        row |= {"state": "broken", "reason": _without_paths(trouble)}
    row |= {f"config.{key}": value for key, value in _cells(_without_paths(config)).items() if key != "runs"}
    if row["state"] == "done":
        try:
            row["finished"] = folder.read_status().get("since")
            summary = _cells({key: value for key, value in folder.read_summary().items() if key != "settings"})
            curves, epochs = _read_curves(folder), pd.read_csv(folder.metrics, **_EXACT)
            epochs = epochs[["epoch", *epochs.columns.drop("epoch")]]
            if texts := [key for key in _NUMBERS if isinstance(row.get(key), str)]:
                raise ValueError(f"{texts[0]} is not a number")
            for table in (curves, epochs):
                table.insert(0, "run", row["run"])
            row |= {key: value for key, value in summary.items() if key not in row}
            return _Run(row, curves, epochs, _paths(config))
        except (OSError, ValueError) as error:
            row |= {"state": "broken", "reason": _without_paths(one_line(error))}
    return _Run(row, pd.DataFrame(), pd.DataFrame())


def _origin(folder: RunFolder, config: dict[str, Any]) -> dict[str, Any]:
    """What a run is called, by the path that `train.py` makes or else by its configuration, and what it recorded."""
    experiment, place, name = ("", "", *folder.path.absolute().parts)[-3:]
    scale, _, data = place.partition("-")
    if config and (config.get("experiment"), config.get("scale")) != (experiment, scale):
        experiment, scale = str(config.get("experiment", "")), str(config.get("scale", ""))
        data = str(config["data"].get("_target_", "")).rpartition(".")[2]
    record, settings = folder.read_record(), _without_paths(config)
    origin: dict[str, Any] = {key: record.get(key) for key in ("overrides", "command", "commit", "identity")}
    if origin["overrides"] is not None:
        name = full_name(origin["overrides"], settings) if config else name
        found = assignments(origin["overrides"], settings or {"data": {"_target_": ""}})
        overrides = [f"{key}={as_text(value)}" if value != "" else key for key, value in found.items()]
        origin["overrides"] = json.dumps(_without_paths(overrides))
    elif root := config.get("data", {}).get("root"):
        name = re.sub(r"(?<=data\.root=)[^,]*", lambda _: Path(str(root)).name, name)
    if origin["command"]:
        origin["command"] = _without_paths(shown_command(origin["command"]))
    run = f"{experiment}/{scale}-{data}/{name}"
    return {"run": run, "experiment": experiment, "scale": scale, "data": data, **origin}


def _read_curves(folder: RunFolder) -> pd.DataFrame:
    """The final curve and those of epochs."""
    curves = [pd.read_csv(folder.curves, **_EXACT).assign(epoch=float("nan"))]
    if folder.epoch_curves.exists():
        curves.append(pd.read_csv(folder.epoch_curves, **_EXACT).astype({"epoch": float}))
    return pd.concat([frame[_CURVES[1:]] for frame in curves], ignore_index=True)


def _cells(nested: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys and their values; a list or an empty group is a value, as JSON."""
    leaves = flat(nested) if nested else {}
    return {key: json.dumps(leaf) if isinstance(leaf, list | dict) else leaf for key, leaf in leaves.items()}


def _without_paths(value: Any) -> Any:
    """Text, and all text in lists and dicts, with the absolute paths in it cut to their last part."""
    if isinstance(value, dict):
        roots = {key: Path(str(text)).name for key, text in value.items() if key == "root" and text}
        return {key: _without_paths(text) for key, text in value.items()} | roots
    if isinstance(value, list):
        return [_without_paths(text) for text in value]
    if isinstance(value, str):
        return re.sub(r"(?<![\w.:/])(?:[A-Za-z]:[\\/]|~?/)(?:[^\s:'\",()\\/]+[\\/])*([^\s:'\",()\\/]+)", r"\1", value)
    return value


def _paths(config: dict[str, Any]) -> dict[str, str]:
    """The settings of a run that lose their folders in its row, by their dotted keys."""
    if not config:
        return {}
    whole, cut = flat(config), flat(_without_paths(config))
    return {key: str(whole[key]) for key in sorted(whole) if cut[key] != whole[key] and not is_neutral(key, config)}


def _joined(tables: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """The tables below each other, with the types that they will be read back with."""
    filled = [table for table in tables if len(table)]
    joined = pd.concat(filled or [pd.DataFrame(columns=columns)], ignore_index=True)
    # Writing and reading takes minutes for the curves of all epochs, and leaves numbers as they are.
    numbers = joined.drop(columns="run").select_dtypes(["int64", "float64"])
    return joined if numbers.shape[1] == joined.shape[1] - 1 else _normal(joined)


def _normal(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is read back from its file: each column has one type."""
    return _parsed(table.to_csv(index=False))


def _parsed(text: str) -> pd.DataFrame:
    # Only what is empty is missing: "None" or "nan" may be the name of something.
    given: Any = {"keep_default_na": False, "na_values": [""], "dtype": dict.fromkeys(_TEXT, str), **_EXACT}
    table = pd.read_csv(io.StringIO(text), low_memory=False, **given)
    return table.fillna({name: "" for name in ("variant", "reason") if name in table})
