"""The command that makes tables and figures."""

import sys

import pytest

from single_directions.report.cli import report
from single_directions.runs.folder import RunFolder


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs the command on a folder of runs and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
        report()
        return capsys.readouterr().out

    return run


def test_table_and_figure_of_a_sweep(command, made, tmp_path):
    made(corruption=0)
    made(corruption=0, experiment="single")
    out = command(made(corruption=1))
    assert "digits at demo scale" in out
    assert out.splitlines()[-1] == "figure: report/figure_1a.png"
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == ["figure_1a.png", "figure_1a.svg"]


def test_sweeps_that_cannot_be_compared_have_figures_of_their_own(command, made, tmp_path):
    made(corruption=0)
    made(corruption=0, variant="network=convnet")
    command(made(corruption=0, place="paper-mnist"), "--output", tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").glob("*.png")} == {
        "figure_1a_demo-digits.png",
        "figure_1a_demo-digits_network=convnet.png",
        "figure_1a_paper-mnist.png",
    }


def test_runs_left_out_are_named(command, made):
    root = made()
    failed = RunFolder(root / "memorization" / "demo-digits" / "seed=9")
    failed.path.mkdir()
    failed.set_state("failed", "it broke")
    assert "1 failed, left out: memorization/demo-digits/seed=9" in command(root)


def test_nothing_to_report_is_one_line(command, tmp_path, made):
    with pytest.raises(SystemExit, match="no runs in"):
        command(tmp_path)
    with pytest.raises(SystemExit, match=r"^no memorization run is done: python scripts/train.py"):
        command(made(experiment="single"))
