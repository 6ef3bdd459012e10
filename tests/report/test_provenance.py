"""What is told of where numbers come from."""

import pandas as pd
from constructed import tables

from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.reading import read_tables
from single_directions.experiments.section import sections_of
from single_directions.experiments.sweeps import planned_runs
from single_directions.report.provenance import _measured, command_for, commands, compute, provenance
from single_directions.runs.folder import write_json


def facts_of(whole, **columns):
    """What is said of the runs of the only section, in which some columns were changed, by word."""
    [section] = sections_of(whole.of(whole.runs.assign(**columns)), ())
    return {fact.word: " ".join([fact.text, *fact.code]) for fact in provenance(section)}


def test_the_page_says_what_to_put_for_the_place_of_images():
    whole = tables({"ensemble": 2})
    assert "FOLDER" not in facts_of(whole)["Commands"]
    command = "python scripts/train.py -m experiment=ensemble data=image_folder data.root=FOLDER/cats seed=0,1"
    told = facts_of(whole, data="image_folder", command=command)["Commands"]
    assert told.startswith("`FOLDER` stands for the place of that folder of images")
    told = facts_of(whole, command=[command, "python scripts/train.py -m experiment=ensemble seed=1"])["Commands"]
    assert told.startswith("Each made a part of these runs. `FOLDER` stands")


def test_the_page_says_what_a_folder_of_images_is_and_of_how_many_images_a_part_was_used():
    whole = tables({"early_stopping": 1})
    assert "mnist: 1,297 training and 500 test images" in facts_of(whole, data="mnist")["Data"]
    part = {"train_images": 2000, "config.data.train_samples": 2000}
    assert "mnist: 2,000 of 60,000 training and 500 test images" in facts_of(whole, data="mnist", **part)["Data"]
    folder = facts_of(tables({"ensemble": 2}), data="image_folder", **part, **{"config.data.root": "cats"})["Data"]
    assert "cats (a folder of images; each folder within it is a class)" in folder
    assert "2,000 training and 500 test images, drawn from the folder's, balanced by class; 10 classes" in folder
    assert "0000000000000000" in folder


def test_time_is_summed_for_each_device():
    runs = tables({"memorization": 1}).runs
    clock = "training 4.5 s, measuring 1.5 s of wall-clock time"
    assert compute(runs) == f"cpu (x86_64, 1 thread): {clock}, 6.0 s of device time, summed over 3 runs"
    assert compute(runs, brief=True) == "cpu (x86_64, 1 thread): 6.0 s"
    runs.loc[0, ["device.type", "device.name"]] = "cuda", "H100"
    runs["config.trainer.devices"] = [4, "auto", 1]
    assert "cuda (H100): training 1.5 s, measuring 0.5 s of wall-clock time, 6.5 s of device time" in compute(runs)
    assert "4.0 s of device time, summed over 2 runs" in compute(runs)
    assert compute(runs[["run"]]) == "not recorded"


def test_facts_of_a_section():
    facts = facts_of(tables({"memorization": 2}))
    assert "python scripts/train.py -m experiment=memorization" in facts["Commands"]
    assert "0000000000000005" in facts["Data"]
    assert "1,297 training and 500 test images" in facts["Data"]
    assert facts["Seeds"].startswith("networks (initialization and data order) 0, 1;")
    assert facts["Versions"] == "python 3.11.7, torch 2.6.0"
    assert "optimizer.lr=0.03" in facts["Settings"]
    assert "batch_norm" not in facts["Settings"]  # null everywhere


def test_how_the_auc_was_measured_during_training():
    runs = tables({"memorization": 1}).runs
    assert "during training" not in _measured(runs)
    runs["config.ablation.every_epoch.every_n_epochs"] = [1, None, 1]
    assert _measured(runs).endswith(
        "; during training 5 orderings x 21 points on 2,000 of the training images (or all, where there are fewer)"
    )  # not recorded
    runs["config.ablation.every_epoch.samples"] = [300, None, None]
    runs["every_epoch.orderings"], runs["every_epoch.images"] = [None, None, 20], [None, None, 500]
    assert "; during training 5, 20 orderings x 21 points on 300, 500 of the training images" in _measured(runs)
    runs["every_epoch.masks"], runs["every_epoch.images"] = 9000, 3000
    assert _measured(runs).endswith("; during training 9,000 masks on 3,000 of the training images")


def test_columns_that_are_missing_are_not_fatal():
    whole = tables({"memorization": 1})
    few = ["run", "state", "experiment", "scale", "data", "variant", "classes", "seed", "config.data.corruption"]
    facts = facts_of(whole.of(whole.runs[few]))
    assert facts["Compute"] == "not recorded"
    assert "?" in facts["Measured"]


def test_settings_of_runs_are_listed_with_all_values():
    infinite = {"config.trainer.gradient_clip_val": [float("inf"), 2.0]}
    settings = facts_of(tables({"batch_norm": 1}), **infinite)["Settings"]
    assert "network.batch_norm=True, False" in settings
    assert "`trainer.gradient_clip_val=2, inf`" in settings


def test_commands_are_those_that_the_runs_recorded():
    runs = pd.DataFrame({"command": ["train a", "train b", "train a", None]})
    *known, last = commands(runs)
    assert known == ["train a", "train b"]
    assert last.startswith("# not recorded for 1 of 4 runs")
    assert commands(runs.drop(columns="command"))[0].startswith("# not recorded for 4 of 4 runs")
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
