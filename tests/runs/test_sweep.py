"""The runs of a sweep: how they are configured, how many they are."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from single_directions.errors import BadInput
from single_directions.runs import sweep
from single_directions.runs.config import conf_folder
from single_directions.runs.sweep import check_swept, jobs, swept_values


@pytest.fixture
def made():
    """The jobs of some lists of overrides."""

    def from_overrides(*overrides):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            master = compose("train", return_hydra_config=True)
            return jobs(master, GlobalHydra.instance().config_loader(), overrides)

    return from_overrides


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=3"],
        ["seed=3", "network.hidden=[7]", "scheduler=cosine", "trainer.max_epochs=9"],
        ["experiment=memorization", "scale=paper", "data.corruption=0.5"],
        ["scale=paper", "network=convnet", "data=cifar10", "optimizer.lr=1e-3", "stop_at_train_accuracy=null"],
        ["experiment=early_stopping", "ablation.every_epoch={every_n_epochs:2}", "+trainer.gradient_clip_val=1"],
        ["tracking=off", "early_stopping=test_loss", "early_stopping.patience=3", "++ablation.samples=50"],
        ["runs='a b'", "~data.normalize", "data=digits"],
    ],
)
def test_jobs_are_configured_as_hydra_configures_them(made, settings, overrides):
    [job] = made(overrides)
    assert job.config == settings(*overrides, quick=False)


def test_files_are_composed_once_for_each_choice_of_them(made, monkeypatch):
    calls = []
    original = sweep._composed
    monkeypatch.setattr(sweep, "_composed", lambda *given: (calls.append(given[-1]), original(*given))[1])
    several = made(*(["network=mlp", f"optimizer={name}", f"seed={i}"] for name in ("sgd", "adam") for i in range(9)))
    assert calls == [["network=mlp", "optimizer=sgd"], ["network=mlp", "optimizer=adam"]]
    assert [job.config["seed"] for job in several] == [*range(9), *range(9)]
    assert several[10].folder.path.name == "network=mlp,optimizer=adam,seed=1"


def test_run_that_is_named_twice_is_one_run(made):
    found = made(["optimizer.lr=.1"], ["seed=0"], ["optimizer.lr=0.10"])
    assert [str(job) for job in found] == ["optimizer.lr=0.1", "seed=0"]


@pytest.mark.parametrize("swept", ["experiment=memorization,dropout", "scale=demo,paper"])
def test_sweep_over_sweeps_is_refused(swept):
    parse = OverridesParser.create().parse_overrides
    with pytest.raises(BadInput, match=f"{swept}: each has a sweep of its own"):
        check_swept(parse(["seed=0,1", swept]))
    check_swept(parse(["experiment=memorization", "scale=paper", "seed=0,1", "network=mlp,convnet"]))


def test_values_of_a_sweep():
    assert swept_values([]) == {}
    assert swept_values(["seed=0,1,2", "data.corruption=0,.5", "tracking=off", "seed=7"]) == {
        "seed": ["7"], "data.corruption": ["0", "0.5"], "tracking": ["off"],
    }  # fmt: skip
    assert len(swept_values(["seed=range(0,200)"])["seed"]) == 200
    assert swept_values(["network.hidden=[8,8],[4]"]) == {"network.hidden": ["[8,8]", "[4]"]}
    assert swept_values(["optimizer.lr=tag(log,interval(0.1,1))", "+a.b=x"]) == {"optimizer.lr": [], "a.b": ["x"]}
