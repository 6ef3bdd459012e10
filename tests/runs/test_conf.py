"""Every file of the configuration composes, alone and with the others."""

import itertools

import pytest
from hydra.utils import instantiate

from single_directions.runs.build import build
from single_directions.runs.cli import conf_folder
from single_directions.runs.config import check


def options(group: str) -> list[str]:
    """The choices of a group, those that others are made of left out."""
    return sorted(file.stem for file in (conf_folder() / group).glob("*.yaml") if not file.stem.startswith("_"))


@pytest.mark.parametrize(("data", "network"), list(itertools.product(options("data"), options("network"))))
def test_data_and_network_compose(settings, data, network):
    root = ["data.root=x"] if data in ("imagenet", "image_folder") else []
    config = settings(f"data={data}", f"network={network}", *root, quick=False)
    check(config)
    assert config["data"]["_target_"] == f"single_directions.data.{data}"
    shape, classes = {"digits": ((1, 8, 8), 10), "mnist": ((1, 28, 28), 10)}.get(data, ((3, 32, 32), 10))
    sizes = ["network.width=0.1"] if network == "convnet" else []
    network = settings(f"data={data}", f"network={network}", *root, *sizes, quick=False)["network"]
    assert instantiate(network, input_shape=shape, classes=classes).default_sites


@pytest.mark.parametrize(("experiment", "scale"), list(itertools.product(options("experiment"), options("scale"))))
def test_experiment_composes_at_both_scales(settings, experiment, scale):
    root = ["data.root=x"] if (experiment, scale) == ("memorization_imagenet", "paper") else []
    config = settings(f"experiment={experiment}", f"scale={scale}", *root, quick=False)
    check(config)
    assert (config["experiment"], config["scale"]) == (experiment, scale)
    assert ("digits" in config["data"]["_target_"]) == (scale == "demo")


@pytest.mark.parametrize(
    ("optimizer", "scheduler"), list(itertools.product(options("optimizer"), options("scheduler")))
)
def test_optimizer_and_scheduler_are_built(settings, optimizer, scheduler):
    parts = build(settings(f"optimizer={optimizer}", f"scheduler={scheduler}"))
    made = parts.optimizer(parts.network.parameters())
    assert (parts.scheduler is None) == (scheduler == "constant")
    if parts.scheduler is not None:
        assert parts.scheduler(made).optimizer is made


@pytest.mark.parametrize("scale", options("scale"))
def test_command_line_wins_over_experiment_and_scale(settings, scale):
    config = settings(
        "experiment=memorization",
        f"scale={scale}",
        "data=cifar10",
        "network=convnet",
        "trainer.max_epochs=7",
        quick=False,
    )
    assert config["data"]["_target_"].endswith("cifar10")
    assert config["network"]["_target_"].endswith("ConvNet")
    assert config["trainer"]["max_epochs"] == 7


def test_papers_memorization_is_that_of_the_design(settings):
    config = settings("experiment=memorization", "scale=paper", quick=False)
    assert config["data"]["_target_"].endswith("mnist")
    assert config["network"]["hidden"] == [512, 512]
    assert config["trainer"]["max_epochs"] == 640
    assert (config["ablation"]["orderings"], config["ablation"]["clamp"]) == (10, "zero")
