"""A run's folder: its files, what it refuses."""

import contextlib
import json

import pytest

from single_directions.errors import BadInput
from single_directions.runs.folder import RunFolder, replacing, write_json


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


def test_failure_is_kept(settings, place):
    folder = RunFolder(place)
    folder.begin(settings())
    folder.fail(RuntimeError("one\ntwo"), "Traceback ...")
    assert json.loads(folder.status.read_text())["error"] == "RuntimeError: one"
    assert folder.state() == "failed"
    assert folder.error.read_text() == "Traceback ..."
    folder.begin(settings())
    assert not folder.error.exists()
