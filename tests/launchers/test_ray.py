"""Sweeps on Ray: an instance of its own with two pretended GPUs, and a cluster that was there before."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from left_behind import results, seen, states

pytestmark = pytest.mark.ci_only

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

RATES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 1e30, 0.07)
KILLED, FAILING = 2, 6
SWEPT = f"optimizer.lr={','.join(map(str, RATES))}"


@pytest.fixture(scope="module")
def done(sweep):
    """Eight runs at half a GPU each; one diverges, one is killed after its first epoch."""
    there = ("+hydra.launcher.ray.init.num_gpus=2", "+hydra.launcher.ray.init.num_cpus=8")
    kill = f"+hydra.callbacks.witness.kill={KILLED}"
    return sweep("hydra/launcher=ray", *there, "gpus_per_run=0.5", "cpus_per_run=2", SWEPT, kill)


def test_failing_run_does_not_stop_the_others(done, place):
    assert done.returncode == 1
    assert states(place) == {rate: "failed" if rate == RATES[FAILING] else "done" for rate in RATES}


def test_each_run_is_one_line(done):
    lines = [line.partition(") ")[2] for line in done.stdout.splitlines() if line.startswith("(_run_job")]
    assert sorted(line.split()[0] for line in lines) == [f"[{n + 1}/8]" for n in range(8) if n != FAILING]
    failed = [line for line in done.stderr.splitlines() if f"[{FAILING + 1}/8]" in line]
    assert all("failed: NonFiniteLoss: the training loss is" in line for line in failed)
    assert [line.endswith("(the first failure)") for line in done.stderr.splitlines()].count(True) == 1
    assert "Traceback" not in done.stderr


def test_two_runs_share_each_gpu(done, place):
    runs = [run for run in seen(place) if "end" in run]
    assert {run["run"] for run in runs} == set(range(8))
    assert {run["devices"] for run in runs} == {"0", "1"}
    for run in runs:
        beside = [other for other in runs if other["start"] < run["start"] < other["end"]]
        assert max(Counter(other["devices"] for other in beside).values(), default=0) <= 2
    assert any(one["start"] < other["start"] < one["end"] for one in runs for other in runs)


def test_runs_compute_with_their_cpus(done, place):
    assert {run["omp"] for run in seen(place)} == {"2"}
    summaries = [json.loads(file.read_text()) for file in place.glob("runs/*/*/*/summary.json")]
    assert {summary["device"]["threads"] for summary in summaries} == {2}


def test_killed_run_is_that_of_an_undisturbed_one(done, sweep, place):
    assert len([run for run in seen(place) if run["run"] == KILLED]) == 2
    assert sweep(f"optimizer.lr={RATES[KILLED]}", "runs=alone", "threads=2").returncode == 0
    assert results(place, RATES[KILLED]) == results(place, RATES[KILLED], "alone")


def test_same_command_retries_only_what_failed(done, sweep, place):
    attempts = len(seen(place))
    assert sweep("hydra/launcher=ray", "gpus_per_run=0", SWEPT).returncode == 1
    assert len(seen(place)) == attempts + 1


def test_run_that_is_killed_each_time_fails_beside_the_others(sweep, place):
    doom = ("+hydra.callbacks.witness.doom=0", "hydra.launcher.ray.remote.max_retries=1")
    done = sweep("hydra/launcher=ray", "gpus_per_run=0", *doom, "optimizer.lr=0.1,0.2", "runs=doomed")
    assert done.returncode == 1
    assert "failed: its process ended without a result (WorkerCrashedError)" in done.stderr
    assert "Traceback" not in done.stderr
    found = [json.loads(file.read_text()) for file in sorted((place / "doomed").glob("*/*/*/status.json"))]
    assert [status["state"] for status in found] == ["failed", "done"]
    assert len([run for run in seen(place) if run["run"] == 0 and "end" not in run]) == 2


@pytest.fixture
def head(environment):
    """The address of a cluster of one node, started in another folder and ended by its process."""
    port, *others = free_ports(4)
    # Sockets lie in it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats",
                "--node-ip-address=127.0.0.1", f"--port={port}", "--num-gpus=2", "--num-cpus=4",
                "--include-dashboard=false", f"--temp-dir={folder}", f"--node-manager-port={others[0]}",
                f"--object-manager-port={others[1]}", f"--ray-client-server-port={others[2]}",
            ],
            cwd=folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()  # it ends the processes that it has started
            try:
                process.wait(30)
            finally:
                end_group(process.pid)


def test_cluster_is_joined_by_address(head, sweep, place):
    joined = f"hydra.launcher.ray.init.address={head}"
    done = sweep("hydra/launcher=ray", joined, "optimizer.lr=0.1,0.2", "runs=elsewhere")
    assert done.returncode == 0, done.stderr
    assert len(list((place / "elsewhere").glob("*/*/*/summary.json"))) == 2
    assert {run["devices"] for run in sorted(seen(place), key=lambda run: run["start"])[-2:]} <= {"0", "1"}


def test_address_without_a_cluster_is_one_line(sweep):
    (port,) = free_ports(1)
    done = sweep("hydra/launcher=ray", f"hydra.launcher.ray.init.address=127.0.0.1:{port}", "optimizer.lr=0.1,0.2")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(port: int, process: subprocess.Popen, seconds: float = 60) -> None:
    """Until somebody listens."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"Ray did not start: {process.poll()}")


def end_group(group: int) -> None:
    """What a process that began a session has left in it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
