"""Commands start quickly, and end quietly when they are interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from single_directions import commands

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("script", "slow"), [("train", "torch"), ("measure", "torch"), ("status", "omegaconf")])
def test_interrupt_while_a_script_imports_is_quiet(tmp_path, script, slow):
    (tmp_path / f"{slow}.py").write_text("import pathlib, time; pathlib.Path('begun').touch(); time.sleep(60)")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / f"{script}.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == b""
    assert process.returncode == 130


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_command_has_the_handler_that_was_there(monkeypatch, handler):
    """A process started with its interrupts ignored, as by nohup, stays so."""
    found = []
    monkeypatch.setattr("single_directions.runs.status.status", lambda: found.append(signal.getsignal(signal.SIGINT)))
    before = signal.signal(signal.SIGINT, handler)
    try:
        commands.status()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [handler]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("train", "runs.cli.train"),
        ("status", "runs.status.status"),
        ("measure", "report.measure.measure"),
        ("report", "report.cli.report"),
        ("benchmark", "benchmark.cli.benchmark"),
    ],
)
def test_interrupted_command_ends_with_130(monkeypatch, name, place):
    monkeypatch.setattr(f"single_directions.{place}", interrupt)
    with pytest.raises(SystemExit) as ended:
        getattr(commands, name)()
    assert ended.value.code == 130


def test_status_needs_neither_torch_nor_lightning(tmp_path):
    """Whoever looks often at a sweep does not wait for what only trains."""
    program = (
        "import sys; from single_directions.commands import status\n"
        "try: status()\n"
        "except SystemExit as ended: print(ended)\n"
        "print(sorted({'torch', 'pytorch_lightning', 'pandas', 'wandb'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    told, imported = shown.stdout.splitlines()
    assert told.startswith("no runs in runs")
    assert imported == "[]"


def test_names_of_the_package_are_there_before_they_are_imported():
    program = (
        "import sys, single_directions as package\n"
        "assert set(package.__all__) <= set(dir(package)) and 'torch' not in sys.modules\n"
        "for name in package.__all__: assert getattr(package, name).__name__ == name\n"
        "from single_directions import *\n"
        "assert AblationAUC is package.AblationAUC and not hasattr(package, 'ablation_curves')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
