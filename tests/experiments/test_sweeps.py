"""Which runs are compared with each other."""

import json

import pandas as pd
import pytest

from single_directions.experiments import sweeps as module
from single_directions.experiments.experiment import EXPERIMENTS, Experiment
from single_directions.experiments.reading import read_tables
from single_directions.experiments.sweeps import (
    Sweep,
    conditions,
    not_done,
    overrides,
    overrides_of,
    sweeps,
    swept_keys,
)
from single_directions.runs.folder import write_json


def test_an_experiment_sweeps_what_its_file_says():
    assert swept_keys("memorization") == ("data.corruption", "seed")
    assert set(swept_keys("early_stopping_grid")) == {"optimizer", "data.train_samples", "seed"}
    assert swept_keys("single") == swept_keys("an experiment of one's own") == ("seed",)


def test_overrides_are_those_that_a_run_recorded(made):
    runs = read_tables([made(corruption=0.5, variant="network=mlp,network.hidden=[128,128],~scheduler", seed=1)]).runs
    found = {"data.corruption": "0.5", "network": "mlp", "network.hidden": "[128,128]", "seed": "1", "~scheduler": ""}
    assert overrides_of(runs.iloc[0]) == found


@pytest.mark.parametrize("condition", ["config.data.corruption", "corruption"])
def test_an_own_experiment_is_split_by_what_is_neither_condition_nor_seed(made, monkeypatch, condition):
    monkeypatch.setitem(EXPERIMENTS, "mine", Experiment("mine", conditions=(condition,)))
    for corruption, epochs in ((0, 60), (0, 1), (1, 1)):
        for seed in (0, 1):
            config = {"trainer": {"max_epochs": epochs}, "data": {"seed": seed}, "threads": 1 + seed}
            variant = f"trainer.max_epochs={epochs}"
            root = made(corruption, seed, experiment="mine", variant=variant, config=config)
    runs = read_tables([root]).runs
    found = {variant: len(own) for (*_, variant), own in sweeps(runs)}
    assert found == {"trainer.max_epochs=1": 4, "trainer.max_epochs=60": 2}
    monkeypatch.setitem(EXPERIMENTS, "mine", Experiment("mine"))  # declares no conditions
    assert set(read_tables([root]).runs["variant"]) == {""}


def test_settings_are_read_from_a_variant():
    assert overrides("network=mlp,network.hidden=[8,8,8],~scheduler") == {
        "network": "mlp", "network.hidden": "[8,8,8]", "~scheduler": "",
    }  # fmt: skip
    assert overrides("") == {}


def test_variant_is_what_an_experiment_does_not_sweep(made):
    made(corruption=0.5)
    made(variant="data.train_samples=100,network.hidden=[8,8,8]", config={"network": {"hidden": [8, 8]}})
    runs = read_tables([made(seed=1)]).runs
    assert sorted(set(runs["variant"])) == ["", "data.train_samples=100,network.hidden=[8,8]"]
    assert [len(sweep) for _, sweep in sweeps(runs)] == [2, 1]


def test_runs_that_recorded_no_overrides_are_told_apart_by_their_configurations(made):
    for seed in (0, 1):
        root = made(seed=seed, config={"optimizer": {"lr": 0.5 + seed}})
    for file in root.rglob("summary.json"):
        write_json(file, {**json.loads(file.read_text()), "overrides": None})
    runs = read_tables([root]).runs
    assert list(runs["variant"]) == ["optimizer.lr=0.5", "optimizer.lr=1.5"]
    assert overrides_of(runs.iloc[0]) == {}
    assert not_done(runs, Sweep("memorization", "demo", "digits", "optimizer.lr=0.5")) == []


def test_of_a_search_with_a_huge_grid_a_few_missing_runs_are_named(monkeypatch):
    keys = [f"key{place}" for place in range(12)]
    monkeypatch.setattr(module, "swept_keys", lambda experiment: (*keys, "seed"))
    sweep = Sweep("mine", "demo", "digits", "a=1")
    overrides = [json.dumps([f"{key}={trial}" for key in keys]) for trial in range(30)]
    runs = pd.DataFrame({**sweep._asdict(), "run": "mine/x", "state": "done", "overrides": overrides})
    [told] = not_done(runs, sweep)
    assert told.startswith(
        f"{30**12 - 30} of {30**12:,} runs of this sweep are not done ({30**12 - 30} missing): key0=0,"
    )


@pytest.mark.parametrize(("swept", "left", "first"), [
    ("seed=range(0,3) data.corruption=0,0.40", 4, "data.corruption=0,seed=1"),  # 0.40 is what the run recorded as 0.4
    ("seed=0 data.corruption=0,.4,1", 1, "data.corruption=1,seed=0"),
    ("seed=0,1", 10, "data.corruption=0,seed=1"),  # the experiment's own six levels
    ("seed=0 data.corruption=0,0.4", 0, ""),
])  # fmt: skip
def test_runs_that_an_interrupted_sweep_had_not_begun_are_missing(made, swept, left, first):
    command = f"python scripts/train.py -m experiment=memorization network.width=8 {swept}"
    for corruption in (0, 0.4):
        root = made(corruption, variant="network.width=8")
    for file in root.rglob("summary.json"):
        write_json(file, {**json.loads(file.read_text()), "command": command})
    runs = read_tables([root]).runs
    told = not_done(runs, Sweep("memorization", "demo", "digits", "network.width=8"))
    planned = f"{left} of {left + 2} runs of this sweep are not done ({left} missing): {first}"
    assert [one[: len(planned)] for one in told] == [planned] * bool(left)


def test_runs_on_several_devices_are_kept_apart(made):
    made(seed=0, config={"trainer": {"devices": 1}})
    made(seed=1, config={"trainer": {"devices": [3]}})
    assert set(read_tables([made(seed=2)]).runs["variant"]) == {""}
    runs = read_tables([made(seed=3, config={"trainer": {"devices": 2}})]).runs
    assert "trainer.devices=2" in set(runs["variant"])


def test_runs_of_other_defaults_are_kept_apart(made):
    made(seed=0)  # by code that had no such key yet
    made(seed=1, config={"ablation": {"orderings": 3}})
    made(seed=2, config={"ablation": {"orderings": 10}, "threads": 7})  # changes nothing
    runs = read_tables([made(seed=3)]).runs
    assert list(runs["variant"]) == [f"ablation.orderings={orderings}" for orderings in (10, 3, 10, 10)]


def test_runs_whose_images_follow_their_seed_are_one_sweep(made):
    for seed in (0, 1):
        for corruption in (0, 1):
            made(corruption, seed, variant=f"data.seed={seed}", config={"data": {"seed": seed}})
            root = made(corruption, seed, config={"data": {"seed": 0}})
    variants = read_tables([root]).runs["variant"]
    assert variants.value_counts().to_dict() == {"": 4, "data.seed=${seed}": 4}
    root = made(seed=3, variant="data.seed=1", config={"data": {"seed": 1}})  # given, but not as the seed
    assert set(read_tables([root]).runs["variant"]) == {"", "data.seed=0", "data.seed=1"}


def test_conditions_are_what_is_swept_but_the_seed(made):
    made(corruption=0.5)
    runs = read_tables([made(seed=1)]).runs
    assert list(conditions(runs)) == ["data.corruption=0", "data.corruption=0.5"]
    choices = runs.assign(experiment="early_stopping_grid", overrides=['["optimizer=adam_slow"]', None])
    choices["config.optimizer._target_"] = "torch.optim.SGD"
    assert [text.split(",")[0] for text in conditions(choices)] == ["optimizer=adam_slow", "optimizer=sgd"]
    assert list(conditions(runs.assign(experiment="ensemble"))) == ["", ""]
    assert len(conditions(runs.iloc[:0])) == 0


def test_runs_from_before_there_was_a_key_of_the_data_are_no_variant(made):
    made(seed=0)
    runs = read_tables([made(seed=1, config={"data": {"normalize": True}})]).runs
    assert set(runs["variant"]) == {""}
    runs = read_tables([made(seed=2, config={"data": {"normalize": False}})]).runs
    assert sorted(runs["variant"]) == ["data.normalize=False", "data.normalize=True", "data.normalize=True"]
