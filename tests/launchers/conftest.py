"""Sweeps started as a user starts them, by real launchers."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUICK = (
    "tracking=off",
    "progress=false",
    "network.hidden=[8]",
    "data.train_samples=100",
    "ablation.orderings=2",
    "trainer.max_epochs=4",
    "checkpoint.every_n_epochs=1",
)

Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweeps of a module are started; what their runs saw is in `seen`."""
    place = tmp_path_factory.mktemp("sweeps")
    (place / "seen").mkdir()
    return place


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """That of a user's shell, save that the source here is what runs."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "CUDA_", "PYTEST_"))}
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**environment, **ray, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{HERE}"}


@pytest.fixture(scope="module")
def sweep(place: Path, environment: dict[str, str]) -> Sweep:
    """Runs `scripts/train.py -m` on a small network with some more arguments."""

    def run(*arguments: str, timeout: float = 600, **names: str) -> subprocess.CompletedProcess[str]:
        witness = ("+hydra.callbacks.witness._target_=witness.Witness", f"+hydra.callbacks.witness.folder={place}/seen")
        command = [sys.executable, ROOT / "scripts" / "train.py", "-m", *QUICK, *witness, *arguments]
        process = subprocess.Popen(
            command, cwd=place, env={**environment, **names}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"not done after {timeout} s: {process.communicate()}") from None
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run
