"""The commands behind runs."""

import shlex
from itertools import product

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.sweeps import planned_runs
from single_directions.experiments.tables import read_tables
from single_directions.report.commands import (
    command_for,
    commands,
)
from single_directions.runs.config import composed, differing_keys
from single_directions.runs.folder import write_text
from single_directions.runs.sweep import run_folder


def made_by(command):
    """The overrides of each run that a command makes, by Hydra's own parser."""
    words = [word for word in shlex.split(command)[2:] if word != "-m"]
    values = [
        [f"{text.partition('=')[0]}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [text]
        for one, text in zip(OverridesParser.create().parse_overrides(words), words, strict=True)
    ]
    return list(product(*values))


def names_of(command):
    """The names of the runs that a command makes."""
    chosen = [
        [part for part in parts if part.partition("=")[0] not in ("experiment", "scale", "data")]
        for parts in made_by(command)
    ]
    return {",".join(sorted(parts)) or "default" for parts in chosen}


def rows(*names, **columns):
    """A table of runs, of little more than their names."""
    return pd.DataFrame({"run": [f"some/where/{name}" for name in names], **columns})


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            [f"data.corruption={level},seed={seed}" for level in (0, 0.5, 1) for seed in range(3)],
            ["python scripts/train.py -m experiment=memorization data.corruption=0,0.5,1 seed=0,1,2"],
        ),
        (
            [f"data.corruption=0,seed={seed}" for seed in range(12)],
            ["python scripts/train.py -m experiment=memorization data.corruption=0 'seed=range(0,12)'"],
        ),
        (
            ["data.corruption=0,network.hidden=[8,8],seed=0"],
            ["python scripts/train.py experiment=memorization data.corruption=0 'network.hidden=[8,8]' seed=0"],
        ),
        (  # with -m the levels of corruption would be swept too
            ["seed=0", "seed=1"],
            [f"python scripts/train.py experiment=memorization seed={seed}" for seed in (0, 1)],
        ),
        (["default"], ["python scripts/train.py experiment=memorization"]),
    ],
)
def test_commands_make_runs_of_these_names(names, told):
    assert commands("memorization", "demo", "digits", rows(*names)) == told
    assert set.union(*map(names_of, told)) == set(names)


def test_a_sweep_with_holes_takes_several_commands_that_make_it_and_no_more():
    names = [f"data.corruption={level},seed={seed}" for level in (0, 0.5, 1) for seed in range(4)]
    names.remove("data.corruption=0.5,seed=2")
    told = commands("memorization", "demo", "digits", rows(*names))
    made = [name for command in told for name in names_of(command)]
    assert sorted(made) == sorted(names)
    assert len(told) == 2


def test_scale_and_data_are_named_where_they_are_not_the_experiments_own():
    def told(*sweep):
        [command] = commands(*sweep, rows("default"))
        return command.removeprefix("python scripts/train.py ")

    assert told("memorization", "paper", "mnist") == "experiment=memorization scale=paper"
    assert told("memorization", "demo", "mnist") == "experiment=memorization data=mnist"
    assert told("memorization", "paper", "digits") == "experiment=memorization scale=paper data=digits"
    assert commands("single", "demo", "digits", rows("seed=1")) == ["python scripts/train.py seed=1"]


def test_command_adds_what_the_configuration_lacks_and_leaves_the_place_of_images_to_the_reader():
    names = [f"data.root=cifar10,optimizer.lr=0.1,seed={seed},trainer.precision=bf16-mixed" for seed in (0, 1)]
    assert commands("ensemble", "paper", "image_folder", rows(*names)) == [
        "python scripts/train.py -m experiment=ensemble scale=paper data=image_folder "
        "data.root=FOLDER/cifar10 optimizer.lr=0.1 seed=0,1 +trainer.precision=bf16-mixed"
    ]
    told = commands("memorization_imagenet", "paper", "imagenet", rows("data.corruption=0,seed=0"))
    assert "data.root=FOLDER/imagenet" in told[0]


CASES = [
    ["experiment=memorization", "data.corruption=0.2,1", "seed=0,1", "network.hidden=[8,8]", "batch_size=64"],
    ["experiment=memorization_cifar10", "scale=paper", "data=image_folder", "data.root=FOLDER/cats",
     "data.corruption=0,1", "seed=3", "channels_last=true", "compile=inductor", "+trainer.precision=bf16-mixed"],
    ["experiment=memorization_imagenet", "scale=paper", "data.root=FOLDER/ours", "data.corruption=0", "seed=0",
     "trainer.devices=4", "trainer.strategy=ddp"],
    ["experiment=early_stopping_grid", "optimizer=sgd,adam_slow", "data.train_samples=300,1200", "seed=0",
     "+ablation.every_epoch.cost=0.02"],
    ["experiment=ensemble_learning_rates", "seed=range(0,6)", "optimizer.lr=0.01,0.1", "early_stopping=test_loss"],
    ["experiment=batch_norm", "seed=0", "network.batch_norm=true,false", "scheduler=cosine",
     "stop_at_train_accuracy=null"],
]  # fmt: skip


def table_of(words, folder, **changed):
    """The table of the runs that a command line makes, none of them begun; and their configurations."""
    configs = []
    for overrides in made_by(shlex.join(["python", "train.py", *words])):
        config = {**composed(overrides), "runs": str(folder), **changed}
        run = run_folder(config, config["data"]["_target_"].rpartition(".")[2], overrides)
        run.path.mkdir(parents=True)
        run.set_state("failed", "it was not begun")
        write_text(run.config, OmegaConf.to_yaml(config))
        configs.append(config)
    table = read_tables([folder]).runs
    assert len(table) == len(configs)
    return table, configs


def made_again(table):
    """The commands printed for the runs of a table, and the configurations that these compose to."""
    first = table.iloc[0]
    told = commands(first["experiment"], first["scale"], first["data"], table)
    return told, [composed(overrides) for command in told for overrides in made_by(command)]


@pytest.mark.parametrize("words", CASES, ids=lambda words: words[0])
def test_printed_commands_compose_to_the_configurations_of_the_runs(words, tmp_path):
    table, configs = table_of(words, tmp_path)
    told, again = made_again(table)
    assert len(again) == len(configs)
    for config in configs:
        assert any(
            not differing_keys(config, other)
            and all(config[key] == other[key] for key in ("channels_last", "compile", "trainer"))
            and config["data"].get("root") == other["data"].get("root")
            for other in again
        )
    assert all("-m" not in command.split() for command in told) or "trainer.devices=4" not in words


def test_printed_commands_tell_a_default_that_was_another_when_the_runs_were_made(tmp_path):
    table, configs = table_of(["experiment=memorization", "data.corruption=0,1", "seed=0"], tmp_path, batch_size=32)
    [told], again = made_again(table)
    assert "batch_size=32" in told
    assert [config["batch_size"] for config in again] == [32] * len(configs)


def test_a_command_that_is_none_of_todays_is_no_error():
    [told] = commands("memorization", "demo", "digits", rows("my_first_run,nothing.such=1", **{"config.seed": [0]}))
    assert "my_first_run" in told


def test_every_experiment_has_a_plan_and_a_command():
    assert {name: planned_runs(name, "demo") for name in EXPERIMENTS} == {
        "memorization": 24,
        "memorization_cifar10": 24,
        "memorization_imagenet": 6,
        "ensemble": 20,
        "ensemble_learning_rates": 20,
        "early_stopping": 5,
        "early_stopping_grid": 32,
        "early_stopping_corrupted": 8,
        "dropout": 32,
        "batch_norm": 8,
    }
    assert planned_runs("ensemble", "paper") == 200
    assert planned_runs("single", "demo") is None
    assert command_for("ensemble", "paper") == "python scripts/train.py -m experiment=ensemble scale=paper"
