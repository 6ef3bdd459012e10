"""The command that makes the report."""

import json
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
from constructed import write_tables

from single_directions.experiments import experiment
from single_directions.experiments.claim import POSITIVE, Claim
from single_directions.report.cli import report
from single_directions.runs import tracking
from single_directions.runs.folder import RunFolder


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs the command and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
        report()
        return capsys.readouterr().out

    with patch.dict(experiment.OWN_FILES):
        yield run


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def add_failed(root: Path) -> None:
    """Makes the folder of a run that failed."""
    folder = RunFolder(root / "memorization" / "demo-digits" / "seed=9")
    folder.path.mkdir(parents=True)
    folder.set_state("failed", "it broke")


def claims_in(report: Path) -> list[dict]:
    return json.loads((report / "claims.json").read_text())


def test_everything_is_written_and_the_claims_are_printed(command, made, tmp_path):
    made(corruption=0, seed=0)
    made(corruption=0, seed=1)
    made(experiment="single")
    made(corruption=1, seed=1)
    out = command(made(corruption=1, seed=0))
    names = {"index.html", "claims.json", "runs.csv", "curves.csv", "epochs.csv"}
    figures = {f"figure_1a{part}.{kind}" for part in ("", "_auc") for kind in ("png", "svg")}
    assert set(files(tmp_path / "report")) == names | figures
    claims = claims_in(tmp_path / "report")
    assert [claim["id"].partition(".")[0] for claim in claims] == ["memorization"] * len(claims)
    for claim in claims:
        assert claim["id"] in out
        assert claim["verdict"] in out
    assert out.splitlines()[-1] == "report: report/index.html"


def test_a_report_made_of_a_report_is_the_same_to_the_byte(command, made, tmp_path):
    made(corruption=0, seed=0)
    add_failed(tmp_path / "runs")
    command(made(corruption=1, variant="network.hidden=[8,8]"), "--output", "one")
    command("one", "--output", "two")
    command("two", "--output", "two")  # onto itself
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_report_of_every_experiment_is_the_same_to_the_byte(command, tmp_path):
    inputs = write_tables(tmp_path / "tables", {"ensemble": 4, "early_stopping": 1, "batch_norm": 1})
    command(inputs, "--output", "one")
    command("one", "--output", "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_reasons_stand_beside_their_claims_and_go_with_the_tables(command, made, tmp_path):
    made(corruption=0, seed=0)
    command(made(corruption=1, seed=0), "--output", "one")
    reasons = tmp_path / "one" / "reasons.json"
    reasons.write_text('{"memorization.auc": "one seed is <too few>"}')
    (tmp_path / "one" / "about.txt").write_text("Another\nsetting.\n")
    command("one", "--output", "two", "--markdown")
    assert "\n\nAnother setting.\n\n" in (tmp_path / "two" / "README.md").read_text()
    assert "**Most likely reason**: one seed is &lt;too few>" in (tmp_path / "two" / "memorization.md").read_text()
    assert {claim["id"]: claim["reason"] for claim in claims_in(tmp_path / "two")} == {
        "memorization.auc": "one seed is <too few>",
        "memorization.train_accuracy": None,
        "memorization.test_accuracy": None,
    }
    command("two", "one", "--output", "three", "--markdown")
    assert files(tmp_path / "two") == files(tmp_path / "three")
    command("two", "--output", "three")
    page = (tmp_path / "three" / "index.html").read_text()
    assert "one seed is &lt;too few&gt;" in page
    assert "<p>Another setting.</p>" in page
    command("three", "--output", "three", "--markdown")
    assert not (tmp_path / "three" / "index.html").exists()


def test_a_reason_is_shown_for_the_sweep_that_it_is_given_for(command, made, tmp_path):
    made(corruption=0, seed=0)
    eight = {"network": {"hidden": [8, 8]}}
    command(made(corruption=0, seed=0, variant="network.hidden=[8,8]", config=eight), "--output", "one")
    one = "memorization.auc/demo/digits/network.hidden=[8,8]"
    (tmp_path / "one" / "reasons.json").write_text(json.dumps({"memorization.auc": "which?", one: "eight units"}))
    out = command("one", "--output", "two")
    assert [reason for claim in claims_in(tmp_path / "two") if (reason := claim["reason"])] == ["eight units"]
    assert "not shown, because no claim here, or more than one, is called memorization.auc; there are mem" in out


CHANGE = {"changed": "it was", "before": {"verdict": "holds", "value": 0.5, "low": None, "high": None, "n": 2}}


def test_what_was_changed_goes_with_the_tables(command, made, tmp_path):
    made(corruption=0, seed=0)
    command(made(corruption=1, seed=0), "--output", "one")
    (tmp_path / "one" / "history.json").write_text(json.dumps({"memorization.auc": CHANGE}))
    command("one", "--output", "two")
    assert [claim["history"] for claim in claims_in(tmp_path / "two")] == [CHANGE, None, None]
    assert json.loads((tmp_path / "two" / "history.json").read_text()) == {"memorization.auc": CHANGE}


@pytest.mark.parametrize("change", ["it was", {"changed": "it was"}, {**CHANGE, "before": {"verdict": "holds"}}, 3])
def test_changes_that_cannot_be_are_refused(change, command, made, tmp_path):
    command(made(corruption=0, seed=0), "--output", "one")
    (tmp_path / "one" / "history.json").write_text(json.dumps({"memorization.auc": change}))
    with pytest.raises(SystemExit, match=re.escape('one/history.json: must be like {"batch_norm.auc": {"changed"')):
        command("one", "--output", "two")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"memorization.auk": "x"}', "no claim is called memorization.auk; there are:"),
        ("{", "cannot be read"),
        ('["x"]', 'must be like {"batch_norm.auc": "why, most likely"}'),
    ],
)
def test_reasons_that_cannot_be_are_refused(text, said, command, made, tmp_path):
    command(made(corruption=0, seed=0), "--output", "one")
    (tmp_path / "one" / "reasons.json").write_text(text)
    with pytest.raises(SystemExit, match=re.escape(f"one/reasons.json: {said}")):
        command("one", "--output", "two")
    assert not (tmp_path / "two").exists()


def test_several_inputs_are_one_report(command, made):
    made(corruption=0, root="here")
    there = made(corruption=1, root="there")
    command("here", there)
    runs = pd.read_csv("report/runs.csv")
    assert sorted(runs["corruption"]) == [0, 1]


def test_no_path_of_the_machine_is_written(command, made, tmp_path):
    command(made())
    for name, content in files(tmp_path / "report").items():
        assert str(tmp_path).encode() not in content, name


def test_figures_that_the_page_no_longer_shows_are_gone(command, made, tmp_path):
    made(corruption=0)
    command(made(corruption=0, variant="network=convnet"), "--output", "out")
    assert (tmp_path / "out" / "figure_1a_demo-digits_network=convnet.png").is_file()
    (tmp_path / "out" / "mine.png").touch()
    command(made(root="others"), "--output", "out")
    names = set(files(tmp_path / "out"))
    assert "figure_1a.png" in names
    assert not {name for name in names if "convnet" in name}
    assert "mine.png" in names


def test_pages_of_experiments_that_are_no_longer_shown_are_gone(command, made, tmp_path):
    made(corruption=0)
    for root in (made(experiment="batch_norm"), made(root="others")):
        command(root, "--output", "out", "--markdown")
    assert {file.name for file in (tmp_path / "out").glob("*.md")} == {"README.md", "memorization.md"}


def test_a_page_takes_the_place_of_markdown_but_not_of_a_readme_of_the_users(command, made, tmp_path):
    root = made()
    command(root, "--output", "out", "--markdown")
    command(root, "--output", "out")
    assert not list((tmp_path / "out").glob("*.md"))
    (tmp_path / "out" / "README.md").write_text("# Mine\n")
    command(root, "--output", "out")
    assert (tmp_path / "out" / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("output", ["runs", "runs/memorization", "."])
def test_a_report_does_not_hide_runs(command, made, tmp_path, output):
    root = made()
    with pytest.raises(SystemExit, match=f"^--output {output} is a folder with runs: name another$"):
        command(root, "--output", output)
    assert not list(tmp_path.rglob("runs.csv"))
    (tmp_path / "report" / "wandb" / "files").mkdir(parents=True)
    (tmp_path / "report" / "wandb" / "files" / "config.yaml").write_text("a: 1")  # by --wandb
    command(root, "--output", "report")


@pytest.mark.parametrize(("key", "value"), [("overrides", "seed=1"), ("overrides", [1]), ("command", 3)])
def test_an_origin_that_cannot_be_is_a_broken_run(command, made, key, value):
    made(seed=1)
    root = made(seed=2)
    first = min(root.rglob("summary.json"))
    first.write_text(json.dumps({**json.loads(first.read_text()), key: value}))
    told = command(root, "--output", "out")
    assert f"1 broken, left out: memorization/demo-digits/data.corruption=0,seed=1 (summary.json: {key} is not" in told


@pytest.mark.parametrize("function", ["find", "pictures"])
def test_an_earlier_report_stays_whole_where_an_own_function_fails(command, made, tmp_path, monkeypatch, function):
    root = made(experiment="mine")
    command(root, "--output", "out")
    before = files(tmp_path / "out")

    def fails(given):
        raise KeyError("width")

    claim = Claim("auc", "a sentence", "a number", "above 0", POSITIVE, fails)
    own = {"find": {"claims": (claim,)}, "pictures": {"pictures": fails}}[function]
    monkeypatch.setitem(experiment.EXPERIMENTS, "mine", experiment.Experiment("mine", **own))
    with pytest.raises(SystemExit, match=f"its function `{function}` fails on 1 run: KeyError: 'width'"):
        command(root, "--output", "out")
    assert files(tmp_path / "out") == before


def test_a_folder_that_is_no_report_is_left_as_it_is(command, made, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "figure_9.png").touch()
    command(made(), "--output", "docs")
    assert (tmp_path / "docs" / "figure_9.png").exists()


def test_a_report_of_own_runs_without_their_file_names_the_option(command, made, tmp_path):
    root = made(experiment="mine")
    hint = "no file registers mine: if yours do, name their folder with --config-dir"
    assert hint in command(root)
    assert hint not in command(made(seed=1))  # of the paper's, with claims
    (tmp_path / "conf").mkdir()
    assert hint not in command("--config-dir", "conf", root / "mine", "--output", "mine")


def test_an_own_sweep_that_is_half_done_is_told_so(command, made, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    sweep = "hydra: {sweeper: {params: {seed: '0,1,2', data.corruption: '0,1'}}}"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(f"experiment: mine\n{sweep}\n")
    command("--config-dir", "conf", made(experiment="mine"))
    text = (tmp_path / "report" / "index.html").read_text()
    assert "Partial: 5 of 6 runs of this sweep are not done (5 missing)" in text
    assert "--config-dir FOLDER -m experiment=mine" in text


def test_runs_left_out_are_named(command, made):
    root = made()
    add_failed(root)
    assert "1 failed, left out: memorization/demo-digits/seed=9" in command(root)
    assert "it broke" in Path("report/index.html").read_text()


def test_an_experiment_is_logged_once(command, made, monkeypatch, tmp_path):
    logged = []

    def record(*given, **named):
        logged.append((given, named))

    monkeypatch.setattr(tracking, "record_experiment", record, raising=False)
    made(corruption=0)
    made(corruption=0, variant="network=convnet")
    command(made(experiment="batch_norm"))
    assert not logged
    command("runs", "--wandb")
    experiments = [given[0] for given, _ in logged]
    assert experiments == ["memorization", "batch_norm"]
    named = logged[0][1]
    assert named["folder"] == Path("report")
    assert all(path.is_file() and path.suffix == ".png" for path in named["figures"].values())
    assert len(named["figures"]) == 4
    assert set(named["tables"]["runs"]["experiment"]) == {"memorization"}
    assert {claim["experiment"] for claim in named["claims"]} == {"memorization"}


def test_what_is_wrong_is_told_in_one_line(command, tmp_path, made):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="no runs in empty") as ended:
        command("empty")
    assert "\n" not in str(ended.value)
    add_failed(tmp_path / "half")
    with pytest.raises(SystemExit, match="no run in half is done"):
        command("half")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="--output file cannot be written"):
        command(made(), "--output", "file")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise ValueError('no')", r"own.py failed: ValueError: no"),
        ("a = 1", r"own.py registers no experiment: end it with register\(Experiment\(name='own', ...\)\)"),
    ],
)
def test_an_experiments_file_that_cannot_be_taken_is_named(command, made, tmp_path, text, told):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "own.py").write_text(text)
    (tmp_path / "conf" / "experiment" / "own.yaml").write_text("experiment: own")
    with pytest.raises(SystemExit, match=told):
        command("--config-dir", "conf", made())
    with pytest.raises(SystemExit, match="--config-dir nowhere is not a folder"):
        command("--config-dir", "nowhere", made(seed=1))
