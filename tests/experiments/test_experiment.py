"""Experiments: found in their files, each beside its YAML, in the paper's order; and those of users."""

from graphlib import TopologicalSorter
from pathlib import Path
from unittest.mock import patch

import pytest
from test_arrows import imported

from single_directions.errors import BadInput
from single_directions.experiments import experiment
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, in_order, load, papers, register
from single_directions.experiments.sweeps import planned_runs, swept_keys
from single_directions.runs.config import conf_folder


@pytest.fixture(autouse=True)
def registered():
    """What a test registers or loads is forgotten."""
    with patch.dict(EXPERIMENTS), patch.dict(experiment.OWN_FILES):
        yield


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_has_a_yaml_a_question_and_claims(name):
    assert (conf_folder() / "experiment" / f"{name}.yaml").is_file()
    one = EXPERIMENTS[name]
    assert one.heading
    assert one.asks
    assert one.claims
    assert len({claim.name for claim in one.claims}) == len(one.claims)


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


@pytest.fixture
def conf(tmp_path):
    """A user's configuration with one experiment, which sweeps eight runs."""
    folder = tmp_path / "experiment"
    folder.mkdir()
    text = "from single_directions.experiments import Experiment, register\nregister(Experiment('mine', heading='x'))\n"
    (folder / "mine.py").write_text(text)
    sweep = "hydra: {sweeper: {params: {seed: '0,1', network.width: '16,64', data.corruption: '0,1'}}}"
    (folder / "mine.yaml").write_text(f"defaults:\n  - override /data: digits\nexperiment: mine\n{sweep}\n")
    return tmp_path


def test_files_of_a_folder_are_run_and_their_sweeps_known(conf):
    assert planned_runs("mine", "demo") is None
    load(conf)
    assert EXPERIMENTS["mine"].heading == "x"
    assert planned_runs("mine", "demo") == 8
    assert swept_keys("mine") == ("network.width", "data.corruption", "seed")
    assert planned_runs("ensemble", "paper") == 200


def test_a_sweep_that_cannot_be_counted_is_no_error(conf):
    (conf / "experiment" / "mine.yaml").write_text(
        "experiment: mine\nhydra: {sweeper: {params: {seed: '0,1', batch_size: '${trainer.max_epochs}'}}}\n"
    )
    load(conf)
    assert planned_runs("mine", "demo") is None


def test_helpers_beside_experiments_are_not_run(conf):
    for name in ("helper.py", "_mine.py"):
        (conf / "experiment" / name).write_text("raise ValueError('run')")
    (conf / "experiment" / "_mine.yaml").touch()
    load(conf)
    assert "mine" in EXPERIMENTS


def test_names_of_file_and_yaml_must_agree(conf):
    file = conf / "experiment" / "mine.yaml"
    file.write_text("experiment: yours\n")
    with pytest.raises(BadInput, match=r"mine\.py registers the experiment 'mine', but .*mine\.yaml does not have"):
        load(conf)
    file.rename(file.with_stem("yours"))
    with pytest.raises(BadInput, match=r"mine\.py registers an experiment, but mine\.yaml is not beside it"):
        load(conf)


def test_modules_import_each_other_one_way():
    folder = Path(experiment.__file__).parent
    names = {f"single_directions.experiments.{file.stem}": imported(file) for file in folder.glob("*.py")}
    names.pop("single_directions.experiments.__init__")
    list(TopologicalSorter(names).static_order())  # raises where imports go in a circle
