"""What a run is: which settings count, how its folder is called, where it comes from."""

import copy
import json
import subprocess
from functools import reduce

import pytest

from single_directions.runs import identity as module
from single_directions.runs.identity import (
    LONGEST_NAME,
    assignments,
    code_version,
    differing_keys,
    identity,
    is_neutral,
    number_of_devices,
    record_of,
    run_name,
    settings_of,
    shown_command,
)

CONFIG = {
    "seed": 1,
    "data": {"_target_": "single_directions.data.digits", "corruption": 0.5},
    "network": {"hidden": [64, 32], "batch_norm": True},
    "ablation": {"sites": ["layer4.2.relu"], "clamp": "a/b c"},
    "trainer": {"gradient_clip_val": 1},
    "stop": None,
}


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["experiment=memorization", "scale=demo", "data=digits", "tracking=off", "runs=x"], "default"),
        (["data.download=true", "data.root=/y", "trainer.accelerator=cpu", "hydra/launcher=basic"], "default"),
        (["trainer.devices=1", "trainer.strategy=auto"], "default"),
        (["seed=1", "data.corruption=.50"], "data.corruption=0.5,seed=1"),
        (["network=mlp", "network.hidden=[64, 32]"], "network=mlp,network.hidden=[64,32]"),
        (["+trainer.gradient_clip_val=1", "++seed=1"], "seed=1,trainer.gradient_clip_val=1"),
        (["seed=2", "seed=1"], "seed=1"),
        (["stop=null", "network.batch_norm=True"], "network.batch_norm=true,stop=null"),
        (["ablation.sites=[layer4.2.relu]"], "ablation.sites=[layer4.2.relu]"),
        (["~scheduler"], "~scheduler"),
    ],
)
def test_name_holds_what_decides_the_numbers(overrides, name):
    assert run_name(overrides, CONFIG) == name


VALUES = ("a/b", "a_b", "a b", "1", 1, 1.0, "1.0", True, "true", None, "null", [1, 2], "[1,2]", ["1", 2], "1,x=2", "é",
          {"a": 1}, {"a": "1"}, "", "x" * 300, "x" * 301, "ä" * 120)  # fmt: skip


def name_of(value):
    """The name of a run with an override of this value."""
    return run_name(["a.x={}" if isinstance(value, dict) else "a.x=."], {**CONFIG, "a": {"x": value}})


def test_different_values_never_share_a_name():
    names = list(map(name_of, VALUES))
    assert len(set(names)) == len(VALUES)
    one = run_name(["a.x=.", "b.x=."], {**CONFIG, "a": {"x": "1,b.x=2"}, "b": {"x": 3}})
    assert one != run_name(["a.x=.", "b.x=."], {**CONFIG, "a": {"x": 1}, "b": {"x": "2,b.x=3"}})


def test_one_value_has_one_name_however_it_is_written(settings):
    names = {run_name([text], settings(text)) for text in ("optimizer.lr=1e-3", "optimizer.lr=0.001")}
    assert names == {"optimizer.lr=0.001"}


def test_names_fit_into_a_file_system(tmp_path):
    for value in VALUES:
        name = name_of(value)
        assert len(name.encode()) <= LONGEST_NAME
        (tmp_path / name).mkdir()
    assert len(name_of("x" * 300)) == LONGEST_NAME


def test_values_of_overrides_are_those_of_the_configuration():
    found = assignments(["seed=01", "network=mlp", "data=digits", "tracking=off", "network.hidden=[64, 32]"], CONFIG)
    assert list(found.items()) == [("network", "mlp"), ("network.hidden", [64, 32]), ("seed", 1)]


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), ("1", 1), ([3], 1), ("3,", 1), (2, 2), ([0, 1], 2), ("0,1", 2), ("[0, 1]", 2), (2.0, 2), ("auto", "auto")],
)
def test_number_of_devices(devices, number):
    assert number_of_devices({"devices": devices}) == number


def test_devices_and_strategy_count_where_they_change_the_batch(settings):
    one, two = settings(), settings("trainer.devices=2", "trainer.strategy=ddp")
    assert identity(settings("trainer.devices=[3]", "trainer.strategy=ddp")) == identity(one) != identity(two)
    assert differing_keys(one, two) == differing_keys(two, one) == ["trainer.devices", "trainer.strategy"]
    assert identity(settings("trainer.devices=[0,1]", "trainer.strategy=ddp")) == identity(two)
    overrides = ["trainer.devices=[0,1]", "trainer.strategy=ddp"]
    assert run_name(overrides, settings(*overrides)) == "trainer.devices=2,trainer.strategy=ddp"


def test_as_many_devices_as_a_machine_has_are_a_number(settings, monkeypatch):
    for number, found in ((0, 1), (4, 4)):
        monkeypatch.setattr("torch.cuda.device_count", lambda number=number: number)
        assert settings("trainer.devices=auto")["trainer"]["devices"] == found
        assert settings("trainer.devices=-1", "trainer.accelerator=cpu")["trainer"]["devices"] == 1


def test_record_says_where_a_run_comes_from(settings):
    config, overrides = settings("seed=3"), ["experiment=single", "seed=3"]
    record = record_of(config, overrides, "python scripts/train.py seed=3")
    assert record["overrides"] == overrides
    assert record["command"] == "python scripts/train.py seed=3"
    assert record["identity"] == identity(config)
    assert record["settings"] == settings_of(config)
    assert record["settings"]["seed"] == 3
    assert not {"runs", "progress", "trainer.devices"} & set(record["settings"])


def test_commit_says_whether_files_were_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "conf_folder", lambda: tmp_path / "conf")
    version = code_version()
    assert version == module.installed_version("single-directions")  # no checkout
    names = ["-c", "user.name=a", "-c", "user.email=b"]
    for words in (["init", "--quiet"], [*names, "commit", "--quiet", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    module._commit.cache_clear()
    commit = code_version()
    assert len(commit) == 40
    (tmp_path / "file").write_text("one")
    subprocess.run(["git", "-C", tmp_path, "add", "file"], check=True)
    module._commit.cache_clear()
    assert code_version() == f"{commit}-dirty"
    module._commit.cache_clear()


def test_differing_keys_are_dotted_and_without_neutral_ones(settings):
    one = settings()
    assert differing_keys(one, settings()) == []
    assert differing_keys(one, settings("runs=elsewhere", "tracking=wandb", "progress=true")) == []
    assert differing_keys(one, settings("trainer.accelerator=cpu", "threads=3", "checkpoint.every_n_epochs=3")) == []
    assert differing_keys(one, settings("seed=3", "network.hidden=[16]")) == ["network.hidden", "seed"]
    differing = differing_keys(one, settings("scheduler=cosine"))
    assert set(differing) == {"scheduler", "scheduler._target_", "scheduler._partial_", "scheduler.T_max"}


def without(config, *keys):
    """A configuration as it was written before there were some dotted keys."""
    old = copy.deepcopy(config)
    for key in keys:
        *groups, last = key.split(".")
        del reduce(dict.__getitem__, groups, old)[last]
    return old


@pytest.mark.parametrize(
    ("key", "overrides", "other"),
    [
        ("seed", (), "seed=1"),
        ("ablation.every_epoch", (), "ablation.every_epoch={cost: 0.1}"),
        ("network.hidden", ("scale=paper",), "network.hidden=[128,128]"),
        ("network.width", ("network=convnet",), "network.width=0.5"),
        ("data.held_out", (), "data.held_out=0.1"),
        ("data.corruption_kind", ("data=image_folder", "data.root=x"), "data.corruption_kind=uniform"),
        ("optimizer.lr", ("optimizer=adam",), "optimizer.lr=0.03"),
        ("scheduler.T_max", ("scheduler=cosine", "trainer.max_epochs=7"), "scheduler.T_max=8"),
        ("scheduler", (), "scheduler=cosine"),
        ("early_stopping", (), "early_stopping=test_loss"),
    ],
)
def test_key_that_an_older_configuration_lacks_has_its_default_there(settings, key, overrides, other):
    same, another = settings(*overrides, quick=False), settings(*overrides, other, quick=False)
    old = without(same, key)
    assert differing_keys(old, same) == []
    assert key in differing_keys(old, another)[0]
    assert differing_keys(old, {**same, "batch_size": 7}) == ["batch_size"]


def test_key_that_nobody_knows_has_no_default(settings):
    new = settings("+trainer.precision=bf16-mixed", "+network.depth=3")
    old = without(new, "trainer.precision", "network.depth", "seed")
    assert differing_keys(old, new) == ["network.depth", "trainer.precision"]
    assert differing_keys(new, old) == ["network.depth", "seed", "trainer.precision"]  # what is gone is missed


def test_root_is_neutral_unless_it_says_what_the_data_are(settings):
    assert is_neutral("data.root", settings("data=mnist"))
    assert not is_neutral("data.root", settings("data=image_folder", "data.root=x"))
    assert is_neutral("data.root", {"data": {"_target_": "nan"}})  # a table whose row lacks it


def test_all_keys_of_a_users_own_data_set_count(settings):
    own = settings("data=mnist", "data.root=/a")
    own["data"]["_target_"] = "mine.images"
    other = copy.deepcopy(own)
    other["data"]["root"] = "/b"
    assert not is_neutral("data.download", own)
    assert identity(own) != identity(other)


def test_settings_that_are_infinite_are_text_that_json_knows(settings):
    config = settings("+trainer.gradient_clip_val=inf")
    assert settings_of(config)["trainer.gradient_clip_val"] == "inf"
    json.dumps(record_of(config), allow_nan=False)


def test_shown_command_names_each_folder_of_images():
    command = "train.py -m data=image_folder data.root=/a/x,/b/y threads=1 seed=0"
    assert shown_command(command) == "train.py -m data=image_folder data.root=FOLDER/x,FOLDER/y seed=0"
