"""scripts/measure.py: what exists already is measured as it was when it was trained."""

import json
import sys

import pandas as pd
import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from single_directions.ablation import AblationCurve
from single_directions.report import measure as measuring
from single_directions.report.measure import measure
from single_directions.runs.config import conf_folder, resolved
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute

SMALL = ("network.hidden=[16,8]", "data.train_samples=200", "data.test_samples=100")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run that is done."""
    few = ("tracking=off", "progress=false", "trainer.max_epochs=3", "ablation.orderings=2")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = resolved(compose("train", overrides=[*SMALL, *few]))
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "one")
    execute(config, folder)
    return folder


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Calls the command and returns the folder of results."""

    def with_arguments(*arguments):
        monkeypatch.setattr(sys, "argv", ["measure.py", *map(str, arguments), "--output", str(tmp_path / "out")])
        measure()
        return tmp_path / "out"

    return with_arguments


def test_a_run_measured_again_gives_its_curve(run, call, capsys):
    out = call(run.path, "--verify", 3)
    pd.testing.assert_frame_equal(pd.read_csv(out / "curves.csv"), pd.read_csv(run.curves))
    record = json.loads((out / "measurement.json").read_text())
    names = [f"estimate_{name}{se}" for name in ("auc", "auc_normalized", "auc_corrected") for se in ("", "_se")]
    for name in ("auc", "auc_normalized", *names):
        assert record[name] == pytest.approx(run.read_summary()[name]), name
    assert record["label_hash"] == run.read_summary()["label_hash"]
    assert (out / "curve.png").stat().st_size > 10_000
    assert f"AUC {record['estimate_auc']:.4f} ± {record['estimate_auc_se']:.4f}, norm" in capsys.readouterr().out


def test_chance_in_the_figure_is_that_of_the_top_k_counted(run, call, monkeypatch):
    levels = []
    draw = measuring.curve_figure

    def record(curve, chance, *rest):
        levels.append(chance)
        return draw(curve, chance, *rest)

    monkeypatch.setattr(measuring, "curve_figure", record)
    call(run.path, "--no-importance", "--top-k", 2, "--points", 3)
    assert levels == [2 / 10]


def test_a_run_is_measured_as_it_was_unless_the_command_line_says_otherwise(call, tmp_path):
    how = {"sites": ["relu2"], "orderings": 3, "points": 5, "clamp": "mean", "top_k": 2, "samples": 50, "seed": 4}
    once = ("tracking=off", "progress=false", "trainer.max_epochs=1")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        ablation = [f"ablation.{key}={value}" for key, value in how.items()]
        config = resolved(compose("train", overrides=[*SMALL, *once, *ablation]))
    folder = RunFolder(tmp_path / "run")
    execute(config, folder)
    del config["ablation"]["method"]  # as older code may have written it
    folder.config.write_text(OmegaConf.to_yaml(config))
    before = pd.read_csv(folder.curves)
    out = call(folder.path, "--no-importance")
    pd.testing.assert_frame_equal(pd.read_csv(out / "curves.csv"), before)
    assert how.items() <= json.loads((out / "measurement.json").read_text())["asked"].items()

    out = call(folder.path, "--no-importance", "--orderings", 2, "--split", "test", "ablation.points=3")
    record = json.loads((out / "measurement.json").read_text())
    assert record["images"] == 100

    out = call(folder.path, "--no-importance", "--orderings", 2, "--samples", "all", "ablation.points=3")
    record = json.loads((out / "measurement.json").read_text())
    assert (record["images"], record["asked"]["samples"]) == (200, None)
    assert {**how, "orderings": 2, "points": 3, "samples": None}.items() <= record["asked"].items()


def test_importances_are_a_row_a_unit(run, call):
    frame = pd.read_csv(call(run.path) / "importance.csv")
    assert frame.groupby("site", sort=False).size().to_dict() == {"relu1": 16, "relu2": 8}
    assert frame["importance"].between(-1, 1).all()
    assert (frame["importance"] != 0).any()


def test_a_checkpoint_is_measured_like_its_run(run, call):
    out = call(run.checkpoint, "network=mlp", *SMALL, "--orderings", 2, "--no-importance")
    pd.testing.assert_frame_equal(pd.read_csv(out / "curves.csv"), pd.read_csv(run.curves))
    assert not (out / "importance.csv").exists()


def test_options_reach_the_measurement(run, call):
    out = call(
        run.path, "--sites", "relu2", "--clamp", 0.5, "--points", "all", "--split", "test", "--samples", 50,
        "--method", "reference", "--top-k", 2, "--orderings", 3,
    )  # fmt: skip
    curve = AblationCurve.from_frame(pd.read_csv(out / "curves.csv"))
    assert curve.units == 8
    assert curve.accuracy.shape == (3, 9)
    record = json.loads((out / "measurement.json").read_text())
    assert record["images"] == 50
    assert (record["method"], record["asked"]["clamp"]) == ("reference", 0.5)


def test_a_network_of_torchvisions(call, tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for i in range(2):
                noise = Image.effect_noise((32, 32), 40 + 20 * i).convert("RGB")
                noise.save(tmp_path / "images" / part / name / f"{i}.png")
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=2)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    sites = ("--sites", "layer4.1.relu", "layer4.1.relu_1")
    data = ("data=image_folder", f"data.root={tmp_path / 'images'}")
    out = call("resnet18", "--weights", tmp_path / "weights.pt", *data, *sites, "--orderings", 1, "--points", 3)
    record = json.loads((out / "measurement.json").read_text())
    assert record["sites"] == {"layer4.1.relu": 512, "layer4.1.relu_1": 512}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "nothing is not a run's folder, a checkpoint file or a torchvision network"),
        (["resnet18"], r"resnet18: name the file with its weights \(--weights FILE\)"),
        (["{run}", "data.colour=red"], "data.colour=red: .*config.yaml has no key data.colour"),
        (["{run}", "--sites", "relu3"], "site 'relu3': .*Closest of 6: relu2, relu1"),
        (["{run}", "--points", "26"], "points=26 is more than 24 units can give"),
        (["{run}", "ablation.orderings=many"], "ablation.orderings must be a whole number of at least 1, not 'many'"),
        (["{run}", "--device", "nowhere"], "--device nowhere"),
        (["{checkpoint}", "network=convnet"], "does not hold the weights of this ConvNet"),
        (["{run}", "network.hidden=[16]"], "does not hold the weights of this MLP"),
        (
            ["{checkpoint}", "network.hidden=[16,9]"],
            "weights of another MLP: .*; name the network that was trained, such as netw",
        ),
        (["{checkpoint}", "network=vgg"], "network=vgg: .*vgg"),
        (["{config}"], "cannot be read as a checkpoint"),
        (["{above}"], "is not a run's folder"),
    ],
)
def test_bad_input_is_told_in_one_line(run, call, arguments, told):
    places = {"run": run.path, "checkpoint": run.checkpoint, "config": run.config, "above": run.path.parent}
    with pytest.raises(SystemExit, match=told) as ended:
        call(*(argument.format(**places) for argument in arguments))
    assert "\n" not in str(ended.value)


def test_nothing_in_a_checkpoint_is_executed(call, tmp_path):
    class Stranger:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"state_dict": Stranger()}, tmp_path / "stranger.ckpt")
    with pytest.raises(SystemExit, match="cannot be read as a checkpoint"):
        call(tmp_path / "stranger.ckpt")
    assert not (tmp_path / "executed").exists()
