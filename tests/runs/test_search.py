"""A search by Optuna: each trial is a run in its own folder, and the same command continues."""

import json
from importlib.util import find_spec

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from single_directions.runs.config import conf_folder

QUICK = ("tracking=off", "progress=false", "network.hidden=[8]", "trainer.max_epochs=2", "ablation.orderings=2",
         "data.train_samples=100")  # fmt: skip
OPTUNA = ("-m", "hydra/sweeper=optuna", *QUICK)
installed = pytest.mark.skipif(find_spec("optuna") is None, reason="needs hydra-optuna-sweeper")
# hydra-optuna-sweeper asks for an Optuna whose own imports are deprecated by now.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def capsys(capfd):
    """What `command` reads: Optuna writes to the standard error that there was when it was imported."""
    return capfd


def summaries(root):
    """Of all runs that are done."""
    return [json.loads(file.read_text()) for file in root.rglob("summary.json")]


@installed
@pytest.mark.ci_only
def test_best_of_the_trials_is_kept_and_the_same_command_goes_on(command, tmp_path):
    space = "optimizer.lr=tag(log,interval(0.001,0.1))"
    code, out, err = command(*OPTUNA, space, "hydra.sweeper.n_trials=3")
    assert (code, err) == (None, "")
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["[1/3]", "[2/3]", "[3/3]"]
    best = OmegaConf.load(next(tmp_path.rglob("optimization_results.yaml")))
    assert len(summaries(tmp_path)) == 3
    assert best.best_value == max(summary["auc"] for summary in summaries(tmp_path))

    code, out, _ = command(*OPTUNA, space, "hydra.sweeper.n_trials=4")  # finds three done
    assert code is None
    assert [line.split()[0] for line in out.splitlines() if line.startswith("[")] == ["[4/4]"]
    assert len(summaries(tmp_path)) == 4

    code, out, _ = command(*OPTUNA, space, "hydra.sweeper.n_trials=3", "optimized_metric=test_loss",
                           "hydra.sweeper.direction=minimize")  # fmt: skip
    best = OmegaConf.load(next(tmp_path.rglob("optimization_results.yaml")))
    assert best.best_value in [summary["test_loss"] for summary in summaries(tmp_path)]


@installed
@pytest.mark.ci_only
def test_trial_that_fails_is_left_out_and_tried_once(command, tmp_path):
    code, out, err = command(*OPTUNA, "optimizer.lr=0.1,1e30", "hydra.sweeper.n_trials=4")
    assert code is None
    assert "1 runs done, 1 failed and left out" in out
    assert err.count("NonFiniteLoss") == 1
    assert OmegaConf.load(next(tmp_path.rglob("optimization_results.yaml"))).best_params == {"optimizer.lr": 0.1}

    code, _, err = command(*OPTUNA, "optimizer.lr=1e29,1e30", "hydra.sweeper.n_trials=2")
    assert code == 1
    assert err.splitlines()[-1] == "no run of the search is done; the same command tries them again"


@installed
@pytest.mark.ci_only
def test_trials_that_cannot_be_are_left_out_and_those_chosen_twice_run_once(command, tmp_path):
    trials = ("hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=8", "hydra.sweeper.n_jobs=8")
    code, out, err = command(*OPTUNA, *trials, "data=choice(digits,imagenet)", "optimized_metric=auc")
    assert code is None
    assert "1 runs done, 1 failed and left out" in out
    assert sum(line.startswith("[") for line in out.splitlines()) == 1
    assert "data.root: Missing" in err
    assert len(summaries(tmp_path)) == 1


@installed
@pytest.mark.ci_only
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["optimizer.lr=0.1"], "hydra/sweeper=optuna: nothing to choose; add a range, such as"),
        (["optimizer.lr=0.1,0.2", "optimized_metric=null"], "hydra/sweeper=optuna needs a number to optimize"),
        (["optimizer.lr=0.1,0.2", "optimized_metric=[auc,test_loss]"], "one is needed for each of optimized_metric"),
        (["experiment=single,tuning"], "each has a sweep of its own"),
    ],
)
def test_search_that_cannot_be_is_one_line(refused, arguments, told):
    assert told in refused(*OPTUNA, *arguments)


def test_search_without_optuna_says_how_to_install_it(refused, monkeypatch):
    monkeypatch.setattr("single_directions.runs.search.find_spec", lambda name: None)
    told = "hydra/sweeper=optuna is not installed: "
    assert refused(*OPTUNA, "optimizer.lr=0.1,0.2") == f"{told}pip install -e '.[optuna]', in the checkout"
    monkeypatch.setattr("single_directions.runs.launchers.called", lambda name: f"single-directions-{name}")
    assert refused(*OPTUNA, "optimizer.lr=0.1,0.2") == f"{told}pip install 'single-directions[optuna]'"


def test_metric_of_a_sweep_is_checked_before_its_first_run(refused):
    said = refused("-m", *QUICK, "seed=0,1", "optimized_metric=acc")
    assert said.startswith("optimized_metric must be a number of summary.json (auc, ")


def test_interval_without_a_search_is_one_line(refused):
    said = refused("-m", *QUICK, "optimizer.lr=interval(0.1,0.2)")
    assert said == "optimizer.lr=interval(0.1,0.2): an interval is for hydra/sweeper=optuna; name the values"


def test_sweeper_is_ours_in_whatever_order_plugins_are_found():
    """Where another plugin stores a sweeper of this name later, as Hydra's scan for plugins may have it."""
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node={"_target_": "another"})
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        sweeper = compose("train", ["hydra/sweeper=optuna"], return_hydra_config=True).hydra.sweeper
    assert sweeper["_target_"] == "hydra_plugins.single_directions_sweeper.OptunaSweeper"
    assert (sweeper.direction, sweeper.sampler.seed) == ("maximize", 0)
