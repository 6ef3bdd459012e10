"""Run folders as tables, and the tables as files."""

import json
import re

import pandas as pd
import pytest

from single_directions.errors import BadInput
from single_directions.experiments.reading import read_tables
from single_directions.experiments.tables import Tables
from single_directions.runs.folder import RunFolder, write_json
from single_directions.runs.status import read_status

CURVE = "ordering,units_ablated,fraction_ablated,accuracy\n"


def equal(one: Tables, other: Tables) -> bool:
    for name in ("runs", "curves", "epochs"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    return True


def folders(root):
    return [RunFolder(status.parent) for status in sorted(root.rglob("status.json"))]


def test_a_row_a_run_with_its_summary_and_configuration(made):
    made(corruption=0.5, seed=1)
    runs = read_tables([made(seed=2)]).runs
    place = "memorization/demo-digits"
    assert list(runs["run"]) == [f"{place}/data.corruption=0,seed=2", f"{place}/data.corruption=0.5,seed=1"]
    assert list(runs.columns[:7]) == ["run", "state", "reason", "experiment", "scale", "data", "variant"]
    assert list(runs["state"]) == ["done", "done"]
    assert list(runs["reason"]) == ["", ""]
    assert list(runs["corruption"]) == [0, 0.5]
    assert list(runs["seconds.training"]) == [1.5, 1.5]
    assert list(runs["label_hash"]) == ["123456", "123456"]
    assert list(runs["config.network.hidden"]) == ["[128, 128]"] * 2
    assert runs[["experiment", "scale", "data"]].to_numpy().tolist() == [["memorization", "demo", "digits"]] * 2


def test_curves_and_epochs_carry_their_run(made):
    made(seed=3, auc=(0.4, 0.6), epochs=2)
    tables = read_tables([made(seed=4)])
    first, second = tables.runs["run"]
    assert list(tables.curves) == ["run", "epoch", "ordering", "units_ablated", "fraction_ablated", "accuracy"]
    assert tables.curves.groupby("run").size().to_dict() == {first: 12, second: 4}
    assert tables.final_curves.groupby("run")["accuracy"].max().to_dict() == pytest.approx({first: 1.1, second: 1.1})
    assert list(tables.epochs.columns[:2]) == ["run", "epoch"]
    assert list(tables.epochs["test/loss"]) == [1.1, 0.1 + 0.2] * 2  # to the last digit
    only = tables.of(tables.runs[tables.runs["run"] == second])
    assert set(only.curves["run"]) | set(only.epochs["run"]) == {second}


def test_written_tables_are_read_back_equal(made, tmp_path):
    made(corruption=0.1, auc=(1 / 3, 2 / 7), epochs=1, config={"network": {"batch_norm": True}})
    made(corruption=0.2, config={"ablation": {"points": 51}})
    made(corruption=0.3, config={"ablation": {"points": "all"}, "note": "None", "nothing": ""})
    root = made(corruption=1)
    folders(root)[0].set_state("running")
    folders(root)[1].set_state("failed", "line one")
    tables = read_tables([root])
    tables.write(tmp_path / "report")
    assert equal(read_tables([tmp_path / "report"]), tables)
    assert equal(read_tables([tmp_path / "report", root]), tables)  # what both hold is taken once
    read_tables([tmp_path / "report"]).write(tmp_path / "again")
    for name in ("runs.csv", "curves.csv", "epochs.csv"):
        assert (tmp_path / "report" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_inputs_are_put_together(made, tmp_path):
    one, other = made(seed=0), made(seed=1, root="elsewhere")
    read_tables([other]).write(tmp_path / "report")
    tables = read_tables([one, tmp_path / "report"])
    assert list(tables.runs["config.seed"]) == [0, 1]
    assert tables.curves["run"].nunique() == tables.epochs["run"].nunique() == 2


def test_a_run_is_taken_where_it_is_done(made):
    one, other = made(auc=(0.1, 0.1)), made(auc=(0.3, 0.3), root="elsewhere")
    folders(one)[0].set_state("running")
    for inputs in ([one, other], [other, one]):
        tables = read_tables(inputs)
        assert (list(tables.runs["state"]), list(tables.runs["auc"])) == (["done"], [0.3])
        assert len(tables.curves) == 4


def test_different_runs_of_one_name_are_refused(made):
    one, other = made(), made(root="elsewhere", config={"network": {"hidden": [64]}})
    with pytest.raises(BadInput, match=r"two runs are called memor.* config.network.hidden \[128, 128\] and \[64\]"):
        read_tables([one, other])


def test_a_run_older_than_a_key_has_the_default_of_the_key(made):
    one, other = made(), made(root="elsewhere", config={"data": {"held_out": 0.0}, "ablation": {"clamp": "zero"}})
    for inputs in ([one, other], [other, one]):
        assert len(read_tables(inputs).runs) == 1
    with pytest.raises(BadInput, match=r"with config.data.held_out 0.0 and 0.1"):
        read_tables([one, made(root="third", config={"data": {"held_out": 0.1}})])


def test_runs_on_folders_of_images_with_one_name_are_two(made):
    def run(folder, seed):
        names = {"variant": f"data.root={folder}", "root": folder.strip("/").replace("/", "_")}
        root = made(seed=seed, place="demo-image_folder", config={"data": {"root": folder}}, **names)
        for file in root.rglob("summary.json"):
            summary = json.loads(file.read_text())
            if summary["seed"] == seed:
                write_json(file, {**summary, "identity": f"{seed}{folder}".replace("/", "").ljust(16, "0")})
        return root

    one, other = run("/x/imgs", 0), run("/y/imgs", 0)
    run("/y/imgs", 1)  # has no run of its name on the other folder
    runs = read_tables([one, other, one]).runs
    assert list(runs["config.data.root"]) == ["imgs", "imgs-0yimgs00", "imgs-0yimgs00"]
    assert list(runs["variant"]) == ["data.root=imgs", "data.root=imgs-0yimgs00", "data.root=imgs-0yimgs00"]
    assert runs["run"].nunique() == 3
    tables = read_tables([one, other])
    assert set(tables.curves["run"]) == set(tables.epochs["run"]) == set(tables.runs["run"])
    read_tables([one]).write(one.parent / "report")
    again = read_tables([one.parent / "report", other]).runs  # a report does not know the folder
    assert sorted(again["variant"]) == sorted(runs["variant"])


def test_no_path_of_the_machine_is_kept(made, tmp_path):
    root = made(
        variant="data.root=/home/me/pictures",
        place="demo-image_folder",
        config={"data": {"root": "/home/me/pictures"}, "note": "in /home/me/weights/last.pt, see https://a.org/b"},
    )
    made(seed=1)
    folders(root)[0].set_state("failed", f"FileNotFoundError: no '{tmp_path}/data/train'")
    tables = read_tables([root])
    tables.write(tmp_path / "report")
    for file in (tmp_path / "report").iterdir():
        text = file.read_text()
        assert "home" not in text
        assert str(tmp_path) not in text
        assert "config.runs" not in text
    other, pictures = tables.runs.to_dict("records")
    assert pictures["run"] == "memorization/demo-image_folder/data.corruption=0,data.root=pictures,seed=0"
    assert (pictures["variant"], pictures["config.data.root"]) == ("data.root=pictures", "pictures")
    assert pictures["config.note"] == "in last.pt, see https://a.org/b"
    assert other["reason"] == "FileNotFoundError: no 'train'"
    assert other["config.data.root"] == "data"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("summary", "{", "summary.json is missing or broken"),
        ("summary", "[1, 2]", "summary.json is missing or broken"),
        ("summary", "{}", "summary.json has no orderings"),
        ("curves", "", "curves.csv: it has no column accuracy"),
        ("curves", "ordering,units_ablated\n0,0\n", "curves.csv: it has no column accuracy"),
        ("curves", f"{CURVE}0,0,0,1\n1,4,1,0\n", "curves.csv: it has 2 rows, not the 4 of summary.json"),
        ("curves", f"{CURVE}0,0,0,1\n0,0,0,1\n1,0,0,1\n1,4,1,0\n", "some of the 2 orderings have a point missing"),
        ("curves", f"{CURVE}0,0,0\n0,4,1,0,1\n1,0,0,1\n1,4,1,0\n", "curves.csv: row 1 has 3 cells, not the 4"),
        ("curves", f"{CURVE}0,0.5,0,1\n0,4,1,0\n1,0,0,1\n1,4,1,0\n", "an ordering or units_ablated is not a"),
        ("curves", f"{CURVE}0,0,0,1\n0,4,1,\n1,0,0,1\n1,4,1,0\n", "curves.csv: a cell is not a number"),
        ("epoch_curves", "epoch\n1\n", "epoch_curves.csv: it has no column accuracy"),
        ("curves", f"{CURVE}0,0,0,x\n0,4,1,y\n1,0,0,x\n1,4,1,y\n", "curves.csv: a cell is not a number"),
        ("metrics", "a\n1\n2\n", "metrics.csv: it has no column epoch"),
        ("metrics", "epoch,test/loss\n1,0.5\n2,low\n", "metrics.csv: a cell is not a number"),
        ("metrics", "epoch,test/loss\n1,0.5\n2,1.2.3\n", "metrics.csv: a cell is not a number: row 2 has '1.2.3'"),
        ("metrics", "epoch,test/loss\n1,0.5\n2,1_0\n", "metrics.csv: a cell is not a number: row 2 has '1_0'"),
        ("metrics", "epoch\n1\n\n", "metrics.csv: a cell is not a number: row 2 has '' as epoch"),
        ("config", "[", "config.yaml cannot be read"),
        ("status", "", "status.json is missing or cannot be read"),
        ("status", "[]", "status.json is missing or cannot be read"),
        ("summary", None, "summary.json is missing or broken"),
        ("curves", None, "curves.csv: No such file"),
        ("metrics", None, "metrics.csv: No such file"),
        ("config", None, "config.yaml is missing"),
    ],
)
def test_broken_run_is_listed_not_fatal(made, file, content, reason):
    made()
    root = made(seed=1)
    path = getattr(folders(root)[0], file)
    path.unlink() if content is None else path.write_text(content)
    tables = read_tables([root])
    assert list(tables.runs["state"]) == ["broken", "done"]
    assert reason in tables.runs["reason"][0]
    if file != "status":
        [shown] = [row for row in read_status(root) if row.state != "done"]
        assert shown.state == "broken"
        assert shown.detail.split(": remove")[0] == tables.runs["reason"][0].split(": remove")[0]
    assert set(tables.curves["run"]) == set(tables.epochs["run"]) == {tables.runs["run"][1]}


@pytest.mark.parametrize("key", ["auc", "seed", "config.data.corruption", "config.optimizer.lr"])
def test_text_in_place_of_a_number_makes_a_run_broken(made, key):
    group, dot, name = key.removeprefix("config.").rpartition(".")
    root = made(config={group: {name: "much"}} if dot else None)
    if not dot:
        summary = folders(root)[0].summary
        summary.write_text(json.dumps({**json.loads(summary.read_text()), key: "much"}))
    tables = read_tables([root])
    assert list(tables.runs["state"]) == ["broken"]
    told = f"{key} is not a number" if dot else f"summary.json: {key} is not a number: the same command makes it again"
    assert list(tables.runs["reason"]) == [told]


@pytest.mark.parametrize("key", ["orderings", "points", "epochs", "seconds", "train_accuracy", "test_accuracy", "auc"])
@pytest.mark.parametrize("lost", [True, False])
def test_summary_without_a_key_is_broken_everywhere(made, key, lost):
    root = made()
    [folder] = folders(root)
    summary = json.loads(folder.summary.read_text())
    summary[key] = None
    if lost:
        del summary[key]
    write_json(folder.summary, summary)
    told = f"summary.json has no {key}: the same command makes it again"
    assert not folder.is_done()  # and so training makes it again
    assert [(row.state, row.detail) for row in read_status(root)] == [("broken", told)]
    assert list(read_tables([root]).runs["reason"]) == [told]


@pytest.mark.parametrize("file", ["curves", "metrics", "epoch_curves"])
def test_table_that_was_cut_short_is_not_taken_at_face_value(made, file):
    root = made(epochs=2)
    path = getattr(folders(root)[0], file)
    path.write_text(path.read_text()[:-2])  # the last number is another one now, and every column is there
    tables = read_tables([root])
    assert list(tables.runs["state"]) == ["broken"]
    assert tables.runs["reason"][0] == f"{path.name}: its last row is cut off: the same command makes it again"
    assert len(tables.curves) == len(tables.epochs) == 0


def test_run_without_a_status_is_broken_and_tables_without_a_run_that_is_done_have_their_columns(made):
    root = made()
    folders(root)[0].status.unlink()
    tables = read_tables([root])
    assert list(tables.runs["reason"]) == ["status.json is missing or cannot be read"]
    assert len(tables.curves) == len(tables.epochs) == 0
    assert list(tables.curves.columns[:2]) == ["run", "epoch"]


def test_runs_that_are_not_done_are_listed(made):
    root = made()
    for state in ("running", "failed", "cut off", "refused"):
        folder = RunFolder(root / "memorization" / "demo-digits" / state)
        folder.path.mkdir()
        folder.set_state(state, "it broke" if state == "failed" else "")
    runs = read_tables([root]).runs.set_index("state")
    # Nobody works on the one that says it is running.
    assert sorted(runs.index) == ["cut off", "cut off", "done", "failed", "refused"]
    assert runs.loc["failed", "reason"] == "it broke"


def test_a_single_run_is_an_input_too_and_nothing_inside_it_is_taken_for_a_run(made):
    root = made()
    [folder] = folders(root)
    (folder.path / "wandb" / "files").mkdir(parents=True)
    (folder.path / "wandb" / "files" / "config.yaml").write_text("a: 1")
    for place in (root, folder.path):
        assert list(read_tables([place]).runs["experiment"]) == ["memorization"]


def test_bad_inputs_are_told_in_one_line(made, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no runs in .*empty: make some, with python scripts/train.py"):
        read_tables([tmp_path / "empty"])
    with pytest.raises(BadInput, match=r"nowhere is not a folder: name one of runs, as python scripts/train.py"):
        read_tables([tmp_path / "nowhere"])
    read_tables([made()]).write(tmp_path / "report")
    (tmp_path / "report" / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"curves.csv is not a table of a report \(it has no column accuracy\)"):
        read_tables([tmp_path / "report"])
    (tmp_path / "report" / "epochs.csv").unlink()
    with pytest.raises(BadInput, match=r"\.csv is not a table of a report"):
        read_tables([tmp_path / "report"])


@pytest.mark.parametrize(
    ("table", "rows", "told"),
    [
        ("runs", 0, "no row of "),
        ("runs", 1, "no row of memorization/demo-digits/data.corruption=0.5,"),
        ("curves", 6, "2 rows of memorization/demo-digits/data.corruption=0"),
        ("epochs", 2, "0 rows of memorization/demo-digits/data.corruption=0"),
    ],
)
@pytest.mark.parametrize("small", [False, True])
def test_rows_that_a_table_lost_are_missed(made, tmp_path, table, rows, told, small):
    made()
    read_tables([made(corruption=0.5)]).write(tmp_path / "report", small)
    file = tmp_path / "report" / f"{table}.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[: 1 + rows]))
    with pytest.raises(BadInput, match=re.escape(f"{table}.csv is not a table of a report (it has {told}")):
        read_tables([tmp_path / "report"])
