"""Optuna's trials, and any sweep, run side by side by Ray and by joblib."""

import json

import pytest
from omegaconf import OmegaConf

pytestmark = pytest.mark.ci_only


@pytest.mark.parametrize(("launcher", "package", "more"), [
    ("joblib", "hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    ("ray", "ray", ["gpus_per_run=0", "+hydra.launcher.ray.init.num_cpus=2"]),
])  # fmt: skip
def test_trials_run_side_by_side(sweep, place, launcher, package, more):
    pytest.importorskip(package)
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    arguments = [*search, f"hydra/launcher={launcher}", *more, "optimizer.lr=interval(0.01,0.1)", f"runs={launcher}"]
    done = sweep(*arguments)
    assert done.returncode == 0, done.stderr
    summaries = [json.loads(file.read_text()) for file in place.glob(f"{launcher}/*/*/*/summary.json")]
    best = OmegaConf.load(next(place.glob(f"{launcher}/*/*/optimization_results.yaml")))
    assert len(summaries) == 4
    assert best.best_value == max(summary["auc"] for summary in summaries)
    again = sweep(*arguments)  # the same trials, all done
    assert (again.returncode, again.stdout.splitlines()[0].split(";")[0]) == (0, "4 runs done")


def test_joblib_runs_a_sweep(sweep, place):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = sweep("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "optimizer.lr=0.1,1e30,0.2", "runs=plain")
    assert done.returncode == 1
    assert "1 of 3 runs failed; the same command tries them again" in done.stderr
    assert len(list(place.glob("plain/*/*/*/summary.json"))) == 2
