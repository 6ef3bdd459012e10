"""Sweeps on a real Slurm of one node; one run fails, one is preempted and finishes from its checkpoint."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Thread

import pytest
from left_behind import learning_rate, results, seen, states
from slurm import missing, slurm

pytestmark = pytest.mark.ci_only

pytest.importorskip("submitit", reason="submitit is not installed: pip install -e '.[slurm]'")
if why := missing():
    pytest.skip(why, allow_module_level=True)

RATES = (0.01, 0.02, 0.03, 1e30, 0.05, 0.06)
PREEMPTED, FAILING = 1, 3
LONG = ("trainer.max_epochs=300", "checkpoint.every_n_epochs=10")


@pytest.fixture(scope="module")
def cluster():
    """What the environment needs to find the Slurm."""
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, slurm(Path(folder), cpus=4) as names:
        yield names


@pytest.fixture(scope="module")
def done(sweep, place, cluster):
    """Six runs with a GPU and two CPUs each; one is sent back to the queue after its first checkpoint."""
    preemption = Thread(target=preempt, args=(place, cluster))
    preemption.start()
    swept = f"optimizer.lr={','.join(map(str, RATES))}"
    done = sweep("hydra/launcher=slurm", "hydra.launcher.partition=tests", "cpus_per_run=2", *LONG, swept, **cluster)
    preemption.join()
    return done


def preempt(place: Path, cluster: dict[str, str]) -> None:
    """`scontrol requeue`, once there is something to go on from."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        for file in place.glob("runs/*/*/*/last.ckpt"):
            if learning_rate(file.parent) == RATES[PREEMPTED]:
                (place / "before").write_bytes((file.parent / "metrics.csv").read_bytes())
                return requeue(cluster, PREEMPTED)
        time.sleep(0.05)
    raise AssertionError("the run to be preempted wrote no checkpoint")


def requeue(cluster: dict[str, str], number: int) -> None:
    """Send a job of the array back to the queue."""
    environment = {**os.environ, **cluster}
    asked = ["squeue", "--array", "--noheader", "--states=RUNNING", "--format=%F %K"]
    jobs = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.split("\n")
    (array,) = [line.split()[0] for line in jobs if line.split()[1:] == [str(number)]]
    subprocess.run(["scontrol", "requeue", f"{array}_{number}"], env=environment, check=True)


def test_failing_run_does_not_stop_the_others(done, place):
    assert done.returncode == 1, done.stderr
    assert states(place) == {rate: "failed" if rate == RATES[FAILING] else "done" for rate in RATES}


def test_failure_is_told_in_the_shell_of_the_sweep(done):
    assert done.stderr.splitlines()[-1].endswith("(the first failure)")
    assert f"[{FAILING + 1}/6]" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_runs_print_into_the_sweeps_folder(done, place):
    printed = "".join(file.read_text() for file in place.glob("runs/*/*/.submitit/*/*.out"))
    assert all(printed.count(f"[{number + 1}/6] ") == 1 for number in range(6) if number != PREEMPTED)


def test_each_run_has_its_gpu_and_threads(done, place):
    runs = seen(place)
    assert {run["devices"] for run in runs} <= {"0", "1"}
    assert {run["omp"] for run in runs} == {"2"}
    summaries = [json.loads(file.read_text()) for file in place.glob("runs/*/*/*/summary.json")]
    assert {summary["device"]["threads"] for summary in summaries} == {2}


def test_preempted_run_is_that_of_an_undisturbed_one(done, sweep, place):
    before = (place / "before").read_text().splitlines()
    assert 10 <= len(before) < 300  # epochs, when it was preempted
    assert len([run for run in seen(place) if run["run"] == PREEMPTED]) == 2
    assert sweep(*LONG, f"optimizer.lr={RATES[PREEMPTED]}", "runs=alone", "threads=2").returncode == 0
    assert results(place, RATES[PREEMPTED]) == results(place, RATES[PREEMPTED], "alone")


def killed_job(cluster, sweep, place, how):
    """A sweep of two runs, the first of which is killed; what it said, states by folder, and the ends of attempts.

    Slurm keeps no accounts here, and a job that is killed leaves no result: only the queue tells of its end.
    """
    (place / how).mkdir()
    kill = (f"+hydra.callbacks.witness.{how}=0", f"++hydra.callbacks.witness.folder={place}/{how}")
    done = sweep(*MORTAL, f"runs=mortal_{how}", *kill, **cluster)
    assert "Traceback" not in done.stderr
    statuses = [json.loads(file.read_text()) for file in sorted((place / f"mortal_{how}").glob("*/*/*/status.json"))]
    attempts = [json.loads(file.read_text()) for file in sorted((place / how).iterdir())]
    return done, statuses, [("end" in attempt) for attempt in attempts if attempt["run"] == 0]


MORTAL = ("hydra/launcher=slurm", "gpus_per_run=0", *LONG, "optimizer.lr=0.1,0.2")


def test_killed_job_is_launched_again_and_goes_on(cluster, sweep, place):
    done, statuses, ends = killed_job(cluster, sweep, place, "kill")
    assert done.returncode == 0, done.stderr
    told = "optimizer.lr=0.1,trainer.max_epochs=300: its process ended without a result (FAILED) after epoch "
    assert told in done.stderr
    assert [status["state"] for status in statuses] == ["done", "done"]
    assert sorted(ends) == [False, True]


def test_job_that_is_killed_each_time_is_a_failed_run_beside_the_others(cluster, sweep, place):
    done, statuses, ends = killed_job(cluster, sweep, place, "doom")
    assert done.returncode == 1
    assert "optimizer.lr=0.1,trainer.max_epochs=300: failed: its process ended without a result (FAILED)" in done.stderr
    assert [status["state"] for status in statuses] == ["failed", "done"]
    assert statuses[0]["error"] == "ProcessDied: its process ended without a result (FAILED)"
    assert ends == [False]
    assert sweep(*MORTAL, "runs=mortal_doom", **cluster).returncode == 0


def test_run_on_the_cpu_asks_for_no_gpu(cluster, sweep, place):
    swept = "optimizer.lr=0.1,0.2"
    done = sweep("hydra/launcher=slurm", "gpus_per_run=0", "runs=on_cpu", swept, **cluster)
    assert done.returncode == 0, done.stderr
    assert {run["devices"] for run in sorted(seen(place), key=lambda run: run["start"])[-2:]} == {None}
