"""The commands behind runs, and what else is told of where numbers come from."""

import shlex
from itertools import product

import pytest
from constructed import tables
from hydra.core.override_parser.overrides_parser import OverridesParser

from single_directions.report.experiments import EXPERIMENTS
from single_directions.report.provenance import (
    _measured,
    command_for,
    commands,
    compute,
    planned_runs,
    provenance,
)
from single_directions.report.section import sections_of


def names_of(command):
    """The names of the runs that a command makes, by Hydra's own parser."""
    words = [word for word in shlex.split(command)[2:] if word != "-m"]
    swept = [word for word in words if word.partition("=")[0] not in ("experiment", "scale", "data")]
    values = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [text]
        for one, text in zip(OverridesParser.create().parse_overrides(swept), swept, strict=True)
    ]
    return {",".join(sorted(parts)) or "default" for parts in product(*values)}


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
    assert commands("memorization", "demo", "digits", names) == told
    assert set.union(*map(names_of, told)) == set(names)


def test_a_sweep_with_holes_takes_several_commands_that_make_it_and_no_more():
    names = [f"data.corruption={level},seed={seed}" for level in (0, 0.5, 1) for seed in range(4)]
    names.remove("data.corruption=0.5,seed=2")
    told = commands("memorization", "demo", "digits", names)
    made = [name for command in told for name in names_of(command)]
    assert sorted(made) == sorted(names)
    assert len(told) == 2


def test_scale_and_data_are_named_where_they_are_not_the_experiments_own():
    assert commands("memorization", "paper", "mnist", ["default"])[0].endswith("experiment=memorization scale=paper")
    assert commands("memorization", "demo", "mnist", ["default"])[0].endswith("experiment=memorization data=mnist")
    assert commands("memorization", "paper", "digits", ["default"])[0].endswith("scale=paper data=digits")
    assert commands("single", "demo", "digits", ["seed=1"]) == ["python scripts/train.py seed=1"]


def test_command_adds_what_the_configuration_lacks_and_leaves_the_place_of_images_to_the_reader():
    names = [f"data.root=cifar10,optimizer.lr=0.1,seed={seed},trainer.precision=bf16-mixed" for seed in (0, 1)]
    assert commands("ensemble", "paper", "image_folder", names) == [
        "python scripts/train.py -m experiment=ensemble scale=paper data=image_folder "
        "data.root=.../cifar10 optimizer.lr=0.1 seed=0,1 +trainer.precision=bf16-mixed"
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
        "dropout": 24,
        "batch_norm": 8,
    }
    assert planned_runs("ensemble", "paper") == 200
    assert planned_runs("single", "demo") is None
    assert command_for("ensemble", "paper") == "python scripts/train.py -m experiment=ensemble scale=paper"


def test_time_is_summed_for_each_device():
    runs = tables({"memorization": 1}).runs
    clock = "training 4.5 s, measuring 1.5 s by the clock"
    assert compute(runs) == f"cpu (x86_64, 1 thread): {clock}, 6.0 s of device time, summed over 3 runs"
    runs.loc[0, ["device.type", "device.name"]] = "cuda", "H100"
    runs["config.trainer.devices"] = [4, "auto", 1]
    assert "cuda (H100): training 1.5 s, measuring 0.5 s by the clock, 6.5 s of device time" in compute(runs)
    assert "4.0 s of device time, summed over 2 runs" in compute(runs)
    assert compute(runs[["run"]]) == "not recorded"


def test_facts_of_a_section():
    [section] = sections_of(tables({"memorization": 2}), ())
    facts = {word: str(content) for word, content in provenance(section)}
    assert "data.corruption=0.0,0.5,1.0 seed=0,1" in facts["Commands"]
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
    assert _measured(runs).endswith("; during training 5 orderings x 21 points on 2,000 (or all)")  # not recorded
    runs["config.ablation.every_epoch.samples"] = [300, None, None]
    runs["every_epoch.orderings"], runs["every_epoch.images"] = [None, None, 20], [None, None, 500]
    assert _measured(runs).endswith("; during training 5, 20 orderings x 21 points on 300, 500 (or all)")


def test_columns_that_are_missing_are_not_fatal():
    whole = tables({"memorization": 1})
    few = ["run", "state", "experiment", "scale", "data", "variant", "classes", "seed", "config.data.corruption"]
    [section] = sections_of(whole.of(whole.runs[few]), ())
    facts = dict(provenance(section))
    assert facts["Compute"] == "not recorded"
    assert "?" in str(facts["Measured"])


def test_settings_of_runs_are_listed_with_all_values():
    whole = tables({"batch_norm": 1})
    [section] = sections_of(whole, ())
    assert "network.batch_norm=True, False" in str(dict(provenance(section))["Settings"])
