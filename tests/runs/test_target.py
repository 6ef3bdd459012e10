"""A run's folder of unknown origin: nothing that its configuration names is executed unless the user says so."""

import pytest
from omegaconf import OmegaConf

from single_directions.errors import BadInput
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute
from single_directions.runs.target import load_target


@pytest.fixture
def folder(settings, tmp_path):
    """A run that is done."""
    folder = RunFolder(tmp_path / "run")
    execute(settings(), folder)
    return folder


def loaded(folder, *overrides):
    return load_target(str(folder.path), overrides, None)


def with_changed(folder, key, value):
    config = OmegaConf.load(folder.config)
    OmegaConf.update(config, key, value, force_add=True)
    folder.config.write_text(OmegaConf.to_yaml(config))


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("network._target_", "os.system"),
        ("network._target_", "torch.nn.functional.torch.load"),
        ("network._target_", "torch.nn.Transformer.__init__"),
        ("network._target_", "torch.nn.Parameter"),
        ("network._target_", "single_directions.networks.convnet.nn.Identity"),
        ("data._target_", "single_directions.data.downloads.urlopen"),
        ("data._target_", "single_directions.data.collate.__globals__"),
    ],
)
def test_what_could_be_anything_is_refused(folder, key, target):
    with_changed(folder, key, target)
    with pytest.raises(BadInput, match=rf"{key} is {target}, neither .*if you trust it, say so with {key}={target}$"):
        loaded(folder)


def test_nested_target_is_not_executed(folder, tmp_path):
    call = {"_target_": "os.mkdir", "_args_": [str(tmp_path / "executed")]}
    with_changed(folder, "network.hidden", [4, call])
    with pytest.raises(BadInput, match=r"network\.hidden\.1\._target_ is os\.mkdir"):
        loaded(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("escape", ["", "\\"])
def test_interpolation_is_not_resolved(folder, tmp_path, escape):
    call = f"{escape}${{oc.create:{{_target_: os.mkdir, _args_: [{tmp_path / 'executed'}]}}}}"
    text = folder.config.read_text()
    folder.config.write_text(text.replace("  dropout: 0.0\n", f"  dropout: '{call}'\n"))
    with pytest.raises(BadInput, match=r"network\.dropout is .* nothing to interpolate"):
        loaded(folder)
    assert not (tmp_path / "executed").exists()


def test_tags_of_a_configuration_are_not_executed(folder, tmp_path):
    folder.config.write_text(f"data: !!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']\n")
    with pytest.raises(BadInput, match=r"config\.yaml cannot be read"):
        loaded(folder)
    assert not (tmp_path / "executed").exists()


def test_environment_is_not_read(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    with_changed(folder, "experiment", "${oc.env:SECRET}")
    assert folder.read_config()["experiment"] == "${oc.env:SECRET}"


def test_network_of_its_user_is_taken_on_request(settings, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "his_network.py").write_text("from single_directions.networks import MLP as network\n")
    folder = RunFolder(tmp_path / "run")
    execute(settings("network._target_=his_network.network"), folder)
    with pytest.raises(BadInput, match=r"if you trust it, say so with network\._target_=his_network\.network$"):
        loaded(folder)
    assert loaded(folder, "network._target_=his_network.network").network.default_sites


def test_modules_of_torch_are_known(folder):
    with_changed(folder, "network._target_", "torch.nn.Identity")
    with pytest.raises(BadInput, match="does not hold the weights of this Identity"):
        loaded(folder)
