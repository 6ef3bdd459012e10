"""A network, a data set and an experiment of the user's own, started in a folder that holds nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
QUICK = ("tracking=off", "progress=false", "trainer.max_epochs=2", "ablation.orderings=2", "data.amount=80")


@pytest.fixture
def place(tmp_path):
    """The example, copied to a folder of its own."""
    return shutil.copytree(ROOT / "examples" / "own", tmp_path / "own")


def shell(place, path, *command):
    """What a command prints in a folder, with modules found in `path`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([".", *map(str, path)])}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def check_report(place, told):
    """The report has the claim and the figures of the experiment's Python file."""
    [claim] = json.loads((place / "report" / "claims.json").read_text())
    assert (claim["id"], claim["verdict"], claim["n"]) == ("own.auc", "inconclusive on stripes", 1)
    assert list(claim["details"]["parts"]) == ["width 16", "width 64"]
    assert "own.auc" in told
    page = (place / "report" / "index.html").read_text()
    assert "Memorization at two widths" in page
    assert "stripes at demo scale" in page
    assert "Morcos" not in page
    for name in ("own", "own_auc"):
        assert (place / "report" / f"figure_{name}.png").is_file()
    for label in ("true labels, width 16", "100 % corrupted, width 64"):
        assert label in page


def test_own_parts_from_a_checkout(place):
    python, source = sys.executable, [ROOT / "src"]
    train = (python, ROOT / "scripts" / "train.py", "--config-dir", "conf")
    told = shell(place, source, *train, *QUICK, "network=residual", "data=stripes")
    assert "runs/single/demo-stripes/" in told
    told = shell(place, source, *train, "-m", "experiment=own", "data=stripes", "seed=0", *QUICK)
    assert [line.split()[0] for line in told.splitlines()] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    check_report(place, shell(place, source, python, ROOT / "scripts" / "report.py", "--config-dir", "conf", "runs"))


YAML = """# @package _global_
experiment: rates
network: {hidden: [8]}
hydra: {sweeper: {params: {seed: 0, optimizer.lr: "0.01,0.1"}}}
"""
PYTHON = """
from single_directions.experiments import SUBSTANTIAL, Claim, Experiment, Finding, mean_interval, register

def auc(tables):
    return Finding({"both": mean_interval(tables.runs["auc"])})

claim = Claim("auc", "the AUC is not zero", "mean AUC", "above 0.05", SUBSTANTIAL, auc)
register(Experiment("rates", "Two learning rates", conditions=("config.optimizer.lr",), claims=(claim,)))
"""


def test_an_experiment_is_a_yaml_and_a_python_file(tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "rates.yaml").write_text(YAML)
    (folder / "rates.py").write_text(PYTHON)
    python, source, own = sys.executable, [ROOT / "src"], ("--config-dir", "conf")
    quick = (*QUICK[:-1], "data.train_samples=100")
    shell(tmp_path, source, python, ROOT / "scripts" / "train.py", *own, "-m", "experiment=rates", *quick)
    shell(tmp_path, source, python, ROOT / "scripts" / "report.py", *own, "runs")
    [claim] = json.loads((tmp_path / "report" / "claims.json").read_text())
    runs = pd.read_csv(tmp_path / "report" / "runs.csv")
    assert (claim["id"], claim["runs"], claim["n"]) == ("rates.auc", 2, 2)
    assert claim["value"] == pytest.approx(runs["auc"].mean())
    assert claim["verdict"] == "inconclusive on digits"  # from two networks
    assert (tmp_path / "report" / "figure_rates_by_optimizer.lr.png").is_file()


@pytest.mark.ci_only
def test_own_parts_from_the_wheel(place, tmp_path):
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "wheel", ROOT], check=True)
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "installed", wheel], check=True)
    source, scripts = [tmp_path / "installed"], tmp_path / "installed" / "bin"
    where = shell(place, source, sys.executable, "-c", "import single_directions as s; print(s.__file__)")
    assert where.startswith(str(tmp_path / "installed"))
    train = (scripts / "single-directions-train", "-m", "--config-dir", "conf")
    told = shell(place, source, *train, "experiment=own", "data=stripes", "seed=0", *QUICK)
    assert [line.split()[0] for line in told.splitlines()] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    check_report(place, shell(place, source, scripts / "single-directions-report", "--config-dir", "conf", "runs"))
