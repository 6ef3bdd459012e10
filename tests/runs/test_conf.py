"""Every file of the configuration composes, alone and with the others."""

import itertools
import math
import re
import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate

from single_directions.runs.build import build
from single_directions.runs.config import check, conf_folder
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute


def options(group: str) -> list[str]:
    """The choices of a group, those that others are made of left out."""
    return sorted(file.stem for file in (conf_folder() / group).glob("*.yaml") if not file.stem.startswith("_"))


@pytest.mark.parametrize(("data", "network"), [*itertools.product(options("data"), options("network"))])
def test_data_and_network_compose(settings, data, network):
    root = ["data.root=x"] if data in ("imagenet", "image_folder") else []
    config = settings(f"data={data}", f"network={network}", *root, quick=False)
    check(config)
    assert config["data"]["_target_"] == f"single_directions.data.{data}"
    shape, classes = {"digits": ((1, 8, 8), 10), "mnist": ((1, 28, 28), 10)}.get(data, ((3, 32, 32), 10))
    sizes = ["network.width=0.1"] if network == "convnet" else []
    network = settings(f"data={data}", f"network={network}", *root, *sizes, quick=False)["network"]
    assert instantiate(network, input_shape=shape, classes=classes).default_sites


@pytest.mark.parametrize(("experiment", "scale"), [*itertools.product(options("experiment"), options("scale"))])
def test_experiment_composes_at_both_scales(settings, experiment, scale):
    root = ["data.root=x"] if (experiment, scale) == ("memorization_imagenet", "paper") else []
    config = settings(f"experiment={experiment}", f"scale={scale}", *root, quick=False)
    check(config)
    assert (config["experiment"], config["scale"]) == (experiment, scale)
    assert ("digits" in config["data"]["_target_"]) == (scale == "demo")


@pytest.mark.parametrize(("optimizer", "scheduler"), [*itertools.product(options("optimizer"), options("scheduler"))])
def test_optimizer_and_scheduler_are_built(settings, optimizer, scheduler):
    parts = build(settings(f"optimizer={optimizer}", f"scheduler={scheduler}"))
    made = parts.optimizer(parts.network.parameters())
    assert (parts.scheduler is None) == (scheduler == "constant")
    if parts.scheduler is not None:
        assert parts.scheduler(made).optimizer is made


ROOT = conf_folder().parent
COMMANDS = [
    line
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for line in re.findall(r"^python scripts/train\.py.*$", page.read_text(), re.MULTILINE)
    if "hydra/" not in line  # launchers and searches need packages of their own
]
LEFT_OPEN = {"optimizer=CHOSEN": "optimizer=sgd", "optimizer.lr=CHOSEN": "optimizer.lr=0.1", "epochs=E": "epochs=10",
             "n_epoch=E": "n_epoch=10"}  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_guide_compose(command, tmp_path, line):
    for left_open, value in LEFT_OPEN.items():
        line = line.replace(left_open, value)
    _, _, *arguments = shlex.split(line, comments=True)
    code, out, err = command(*arguments, "dry_run=true")
    assert (code, err) == (None, "")
    assert re.search(r"dry_run: nothing was run; ([1-9]\d*) of \1 runs are left to do$", out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scale", options("scale"))
def test_command_line_wins_over_experiment_and_scale(settings, scale):
    chosen = ("data=cifar10", "network=convnet", "trainer.max_epochs=7")
    config = settings("experiment=memorization", f"scale={scale}", *chosen, quick=False)
    assert config["data"]["_target_"].endswith("cifar10")
    assert config["network"]["_target_"].endswith("ConvNet")
    assert config["trainer"]["max_epochs"] == 7


def test_papers_memorization_is_that_of_the_design(settings):
    config = settings("experiment=memorization", "scale=paper", quick=False)
    assert config["data"]["_target_"].endswith("mnist")
    assert config["network"]["hidden"] == [512, 512]
    assert config["trainer"]["max_epochs"] == 640
    assert (config["ablation"]["orderings"], config["ablation"]["clamp"]) == (10, "zero")


def test_imagenet_is_saved_after_each_epoch_as_a_job_may_be_too_short_for_ten(settings):
    config = settings("experiment=memorization_imagenet", "scale=paper", "data.root=x", quick=False)
    assert config["checkpoint"]["every_n_epochs"] == 1


def swept(experiment: str, scale: str) -> dict[str, list[str]]:
    """What an experiment sweeps: each key's values, as Hydra's multirun reads them."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        overrides = [f"experiment={experiment}", f"scale={scale}"]
        params = compose("train", overrides, return_hydra_config=True).hydra.sweeper.get("params") or {}
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    return {
        override.get_key_element(): list(override.sweep_string_iterator())
        if override.is_sweep_override()
        else [str(override.value())]
        for override in parsed
    }


@pytest.mark.parametrize("experiment", options("experiment"))
def test_experiment_trains_a_step(settings, tmp_path, experiment):
    """The last of its sweep at demo scale, which differs most from the configuration's own values."""
    last = [f"{key}={values[-1]}" for key, values in swept(experiment, "demo").items()]
    least = ["+trainer.max_steps=1", "ablation.orderings=1", "ablation.points=3", "batch_size=2000"]
    samples = [] if any("data.train_samples" in override for override in last) else ["data.train_samples=64"]
    narrow = (
        ["network.width=0.05"]
        if "ConvNet" in settings(f"experiment={experiment}", quick=False)["network"]["_target_"]
        else []
    )
    off = ["tracking=off", "progress=false", f"experiment={experiment}"]
    summary = execute(settings(*off, *last, *least, *samples, *narrow, quick=False), RunFolder(tmp_path / "run"))
    assert summary["experiment"] == experiment
    assert 0 <= summary["auc"] <= 1


@pytest.mark.parametrize(
    ("experiment", "runs"),
    [
        ("memorization", 4 * 6),
        ("memorization_cifar10", 4 * 6),
        ("memorization_imagenet", 6),
        ("ensemble", 200),
        ("ensemble_learning_rates", 40 * 4),
        ("early_stopping", 10),
        ("early_stopping_grid", 4 * 2 * 4),
        ("early_stopping_corrupted", 2 * 4),
        ("stopping_signals", 4 * 3 * 2 * 2),
        ("dropout", 4 * 4 * 2),
        ("batch_norm", 4 * 2),
    ],
)
def test_sweeps_of_the_paper_have_their_sizes(experiment, runs):
    sizes = [len(values) for values in swept(experiment, "paper").values()]
    assert math.prod(sizes) == runs
