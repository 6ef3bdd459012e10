"""Run folders as tables."""

import math

import pytest

from single_directions.errors import BadInput
from single_directions.report.table import as_text, by_corruption, read_curves, read_runs
from single_directions.runs.folder import RunFolder


def test_a_row_a_run_with_its_summary(made):
    made(corruption=0.5, seed=1)
    root = made(seed=2, variant="network.hidden=[8,8],network=mlp")
    runs = read_runs(root)
    assert list(runs["state"]) == ["done", "done"]
    assert list(runs["variant"]) == ["network.hidden=[8,8],network=mlp", ""]
    assert list(runs["seed"]) == [2, 1]
    assert list(runs["seconds.training"]) == [1.5, 1.5]
    assert set(zip(runs["experiment"], runs["scale"], runs["data"], strict=True)) == {
        ("memorization", "demo", "digits")
    }


def test_table_by_corruption_is_that_worked_out_by_hand(made):
    made(corruption=0, seed=0, auc=(0.4, 0.6))
    made(corruption=0, seed=1, auc=(0.5, 0.9))
    root = made(corruption=1, auc=(0.2, 0.2))
    table = by_corruption(read_runs(root)).set_index("corruption")
    assert table.loc[0, "networks"] == 2
    assert table.loc[0, "auc"] == pytest.approx(0.6)
    # Variances over orderings are 0.02 and 0.08; the networks' means are 0.5 and 0.7.
    assert table.loc[0, "auc_orderings"] == pytest.approx(math.sqrt(0.05))
    assert table.loc[0, "auc_networks"] == pytest.approx(math.sqrt(0.02))
    assert table.loc[1, "test_accuracy"] == pytest.approx(0.4)
    assert table.loc[1, "auc_orderings"] == 0
    assert math.isnan(table.loc[1, "auc_networks"])


def test_text_has_a_line_a_level(made):
    made(corruption=0.0)
    lines = as_text(by_corruption(read_runs(made(corruption=0.2)))).splitlines()
    assert " ".join(lines[0].split()) == "corruption networks train accuracy test accuracy AUC ± orderings ± networks"
    assert lines[2].split() == ["0.2", "1", "1.000", "0.800", "0.500", "0.141", "-"]


def test_curves_carry_their_run(made):
    made(corruption=0.5, seed=3)
    curves = read_curves(read_runs(made(seed=4)))
    assert len(curves) == 8
    assert set(zip(curves["corruption"], curves["seed"], strict=True)) == {(0.5, 3), (0, 4)}
    assert curves["accuracy"].max() == pytest.approx(1.1)


@pytest.mark.parametrize(("file", "content"), [("summary", "{"), ("curves", ""), ("summary", "[1, 2]")])
def test_broken_run_is_listed_not_fatal(made, file, content):
    root = made()
    made(seed=1)
    [folder, _] = [RunFolder(status.parent) for status in sorted(root.rglob("status.json"))]
    getattr(folder, file).write_text(content)
    runs = read_runs(root)
    assert list(runs["state"]) == ["broken", "done"]
    assert len(read_curves(runs)) == 4


def test_runs_that_are_not_done_are_listed(made, tmp_path):
    root = made()
    for state in ("running", "failed", "cut off"):
        folder = RunFolder(root / "memorization" / "demo-digits" / state)
        folder.path.mkdir()
        folder.set_state(state)
    (root / "memorization" / "demo-digits" / "cut off" / "status.json").write_text("")
    assert sorted(read_runs(root)["state"]) == ["broken", "cut off", "done", "failed"]


def test_no_runs_at_all_names_the_command(tmp_path):
    with pytest.raises(BadInput, match=r"no runs in .*scripts/train.py -m experiment=memorization"):
        read_runs(tmp_path)
