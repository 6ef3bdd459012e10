"""Imports point one way: ablation <- networks, data <- training <- runs <- experiments <- report <- scripts."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "single_directions"
MAY_IMPORT = {
    "ablation": set(),
    "networks": set(),
    "data": set(),
    "training": {"ablation", "networks", "data"},
    "runs": {"ablation", "networks", "data", "training"},
    "experiments": {"ablation", "networks", "data", "training", "runs"},
    "report": {"ablation", "networks", "data", "training", "runs", "experiments"},
}
ONLY_IN = {"pytorch_lightning": ("training", "runs", "benchmark"), "hydra": ("runs",), "wandb": ("runs/tracking.py",)}
FILES = sorted(SOURCE.rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Dotted names of all modules that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    return {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names} | {
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_arrows_point_one_way(file: Path) -> None:
    place = file.relative_to(SOURCE)
    names = imported(file)
    parts = {name.split(".")[1] for name in names if name.startswith("single_directions.")} & MAY_IMPORT.keys()
    if place.parts[0] in MAY_IMPORT:
        assert parts <= MAY_IMPORT[place.parts[0]] | {place.parts[0]}
    for package, places in ONLY_IN.items():
        if package in {name.split(".")[0] for name in names}:
            assert str(place).startswith(places)


def test_arrow_test_sees_imports() -> None:
    assert "wandb" in imported(SOURCE / "runs" / "tracking.py")
    assert "single_directions.ablation" in imported(SOURCE / "runs" / "run.py")


def test_map_of_runs_names_each_module_after_those_that_it_uses() -> None:
    folder = SOURCE / "runs"
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    named = [name for name in dict.fromkeys(re.findall(r"`(\w+)`", text)) if name in modules]
    assert set(named) == modules
    for place, name in enumerate(named):
        uses = {
            one.rpartition("runs.")[2] for one in imported(folder / f"{name}.py") if "single_directions.runs." in one
        }
        assert uses <= set(named[:place])
