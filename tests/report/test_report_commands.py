"""The commands behind runs."""

import pandas as pd

from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.reading import read_tables
from single_directions.experiments.sweeps import planned_runs
from single_directions.report.commands import command_for, commands
from single_directions.runs.folder import write_json


def test_commands_are_those_that_the_runs_recorded():
    runs = pd.DataFrame({"command": ["train a", "train b", "train a", None]})
    *known, last = commands(runs)
    assert known == ["train a", "train b"]
    assert last.startswith("# not known for 1 of 4 runs: older code did not record it")
    assert commands(runs.drop(columns="command"))[0].startswith("# not known for 4 of 4 runs")
    assert commands(runs.dropna()) == known


def test_command_of_a_sweep_is_that_of_its_runs_without_what_is_neutral(made):
    command = (
        "python scripts/train.py -m experiment=memorization data=image_folder data.root=/home/me/cats seed=0,1 "
        "'network.hidden=[8,8]' runs=/scratch/me tracking=off hydra/launcher=ray threads=1 channels_last=true"
    )
    root = made(seed=0)
    for file in made(seed=1).rglob("summary.json"):
        write_json(file, {**pd.read_json(file, typ="series").to_dict(), "command": command})
    assert commands(read_tables([root]).runs) == [
        "python scripts/train.py -m experiment=memorization data=image_folder data.root=FOLDER/cats seed=0,1 "
        "'network.hidden=[8,8]' channels_last=true"
    ]


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
