"""Experiments: found in their files, each beside its YAML, in the paper's order; and those of users."""

import pytest

from single_directions.errors import BadInput
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, in_order, load, papers, register
from single_directions.runs.config import conf_folder


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What a test registers is forgotten."""
    for name in ("mine", "another"):
        monkeypatch.setitem(EXPERIMENTS, name, Experiment(name))
        monkeypatch.delitem(EXPERIMENTS, name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_has_a_yaml_a_question_and_claims(name):
    assert (conf_folder() / "experiment" / f"{name}.yaml").is_file()
    experiment = EXPERIMENTS[name]
    assert experiment.heading
    assert experiment.asks
    assert experiment.claims
    assert len({claim.name for claim in experiment.claims}) == len(experiment.claims)


def test_the_papers_come_first_in_its_order():
    register(Experiment("mine"), Experiment("another"))
    assert [one.figure for one in papers()] == ["1a", "1b", "1c", "2", "3", "4a", "4b"]
    assert [one.name for one in in_order()][-2:] == ["another", "mine"]
    assert [one.figure for one in in_order()][:-2] == ["1a", "1b", "1c", "2", "2", "3", "3", "3", "4a", "4b"]


def test_a_users_experiment_may_be_registered_again_but_not_as_one_of_these():
    register(Experiment("mine", heading="before"))
    register(Experiment("mine", heading="now"))
    assert EXPERIMENTS["mine"].heading == "now"
    with pytest.raises(BadInput, match="already an experiment dropout: register yours under another name"):
        register(Experiment("dropout"))


def test_files_of_a_folder_are_run(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "from single_directions.experiments import Experiment, register\nregister(Experiment('mine', heading='x'))\n"
    (tmp_path / "experiment" / "mine.py").write_text(text)
    load(tmp_path)
    assert EXPERIMENTS["mine"].heading == "x"
