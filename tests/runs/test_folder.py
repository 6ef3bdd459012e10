"""A run's folder: its name, its files, what it refuses."""

import contextlib
import json

import pytest

from single_directions.errors import BadInput
from single_directions.runs.folder import LONGEST_NAME, RunFolder, replacing, run_name, whole_name, write_json


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["experiment=memorization", "scale=demo", "data=digits", "tracking=off", "runs=x"], "default"),
        (["data.download=true", "data.root=/y", "trainer.accelerator=cpu", "hydra/launcher=basic"], "default"),
        (["seed=1", "data.corruption=.50"], "data.corruption=0.5,seed=1"),
        (["network=mlp", "network.hidden=[64, 32]"], "network=mlp,network.hidden=[64,32]"),
        (["+trainer.gradient_clip_val=1", "++seed=2"], "seed=2,trainer.gradient_clip_val=1"),
        (["seed=1", "seed=2"], "seed=2"),
        (["stop=null", "network.batch_norm=True"], "network.batch_norm=true,stop=null"),
        (["ablation.sites=[layer4.2.relu]"], "ablation.sites=[layer4.2.relu]"),
        (["ablation.clamp=a/b c"], "ablation.clamp=a_bc"),
        (["~scheduler"], "~scheduler"),
    ],
)
def test_name_holds_what_changes_the_result(overrides, name):
    config = {"seed": 1, "data": {"_target_": "single_directions.data.digits", "corruption": 0.5}}
    config |= {"network": {"hidden": [64, 32], "batch_norm": True}, "stop": None}
    if overrides and overrides[-1] in ("++seed=2", "seed=2"):
        config["seed"] = 2
    assert run_name(overrides, config) == name


def test_long_names_are_cut_and_stay_apart():
    config = {"data": {"_target_": "x"}}
    names = {run_name([f"network.{'x' * 300}={value}"], config) for value in (1, 2)}
    assert len(names) == 2
    assert {len(name) for name in names} == {LONGEST_NAME}


LONG = {
    "data": {"_target_": "x.image_folder", "root": "pictures/of many/kinds", "train_samples": 10000},
    "network": {"_target_": "x", "hidden": [512, 512], "batch_norm": False},
    "optimizer": {"_target_": "y", "lr": 0.0003, "weight_decay": 0.0},
    "seed": 12,
    "stop_at_train_accuracy": 0.99,
    "threads": 1,
    "trainer": {"max_epochs": 100, "check_val_every_n_epoch": 5, "precision": "bf16-mixed", "devices": 1},
}  # fmt: skip


# Of what follows a choice of files the configuration tells all, but not the choice itself.
@pytest.mark.parametrize(
    ("choice", "padding"),
    [*(("optimizer=adam,", padding) for padding in range(1, 67, 4)), *(("", padding) for padding in range(55, 160, 4))],
)
def test_name_that_was_cut_is_found_again_wherever_it_was_cut(choice, padding):
    config = {**LONG, "a": "x" * padding}
    overrides = ["data=image_folder", "data.root=.", "data.train_samples=.", "network.hidden=.", "network.batch_norm=.",
                 "optimizer.lr=.", "seed=12", "stop_at_train_accuracy=.", "threads=1", "trainer.max_epochs=.",
                 "+trainer.precision=."]  # fmt: skip
    name = run_name(["a=.", *overrides, *choice.split(",")[:-1]], config)
    assert len(name) == LONGEST_NAME
    assert whole_name(name, config) == (
        f"a={'x' * padding},data.root=pictures_ofmany_kinds,data.train_samples=10000,network.batch_norm=false,"
        f"network.hidden=[512,512],{choice}optimizer.lr=0.0003,seed=12,stop_at_train_accuracy=0.99,"
        "trainer.max_epochs=100,trainer.precision=bf16-mixed"
    )


def test_name_that_was_not_cut_or_cannot_be_found_stays_as_it_is():
    assert whole_name("seed=12,trainer.max_epochs=100", LONG) == "seed=12,trainer.max_epochs=100"
    for unknown in (f"z={'x' * 300}", f"a={'x' * 190},optimizer=adam"):  # no value of the configuration
        name = run_name(["seed=12", unknown], {"seed": 12})
        assert whole_name(name, LONG) == name


def test_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with contextlib.suppress(ZeroDivisionError), replacing(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]


def test_state_of_a_folder_without_a_run_is_none(tmp_path):
    folder = RunFolder(tmp_path / "none")
    assert folder.state() is None
    assert not folder.is_done()
    folder.path.mkdir()
    folder.status.write_text('{"sta')
    assert folder.state() is None


def test_folder_knows_its_configuration(settings, place):
    folder, config = RunFolder(place), settings()
    assert not folder.holds(config)
    with folder.leased():
        folder.begin(config)
        assert folder.state() == "running"
    assert folder.state() == "cut off"
    assert folder.read_config() == config
    assert folder.holds(settings("runs=elsewhere"))
    with pytest.raises(BadInput, match=r"other settings \(batch_size, seed\)"):
        folder.holds(settings("seed=5", "batch_size=7"))


@pytest.mark.parametrize("content", ["a: [1", "only text", "seed: 1", ""])
def test_broken_configuration_is_named(settings, place, content):
    folder = RunFolder(place)
    folder.path.mkdir(parents=True)
    folder.config.write_text(content)
    with pytest.raises(BadInput, match=r"config\.yaml"):
        folder.holds(settings())


def test_folder_that_cannot_be_written_is_named(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file/runs cannot be written.*choose another folder with runs="):
        RunFolder(tmp_path / "file" / "runs").begin(settings())


def test_failure_is_kept(settings, place):
    folder = RunFolder(place)
    folder.begin(settings())
    folder.fail(RuntimeError("one\ntwo"), "Traceback ...")
    assert json.loads(folder.status.read_text())["error"] == "RuntimeError: one"
    assert folder.state() == "failed"
    assert folder.error.read_text() == "Traceback ..."
    folder.begin(settings())
    assert not folder.error.exists()
