"""Configurations composed as the command line composes them."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from single_directions.commands import train
from single_directions.runs.config import conf_folder, resolved

Settings = Callable[..., dict[str, Any]]
Command = Callable[..., tuple[str | int | None, str, str]]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A shell ignores interrupts for what it starts in the background, and so would the processes that tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The resolved configuration of some overrides, made small: two epochs of 200 digits, a narrow network."""

    def small(*overrides: str, quick: bool = True) -> dict[str, Any]:
        first = ("tracking=off", "progress=false", "network.hidden=[16,8]", "data.train_samples=200")
        least = (*first, "data.test_samples=100", "trainer.max_epochs=2", "ablation.orderings=2") if quick else ()
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return resolved(compose("train", overrides=[*least, *overrides]))

    return small


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a run's folder may be."""
    return tmp_path / "runs" / "single" / "demo-digits" / "default"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command with some arguments in an empty folder: (exit status or message, standard output, error)."""
    monkeypatch.chdir(tmp_path)
    # Hydra takes what measures coverage for a debugger, and would raise what it reports otherwise.
    monkeypatch.setattr("hydra._internal.utils.is_under_debugger", lambda: False)

    def run(*arguments: str) -> tuple[str | int | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        code = None
        try:
            train()
        except SystemExit as exit:
            code = exit.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Callable[..., str]:
    """Runs the command with arguments that cannot be, and returns what it says: one line. No run begins."""

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("runs/**/*"))
        code, out, err = command(*arguments)
        assert out == err == ""
        assert isinstance(code, str)  # which Python prints, with exit status 1
        assert "\n" not in code
        assert sorted(tmp_path.rglob("runs/**/*")) == before
        return code

    return run
