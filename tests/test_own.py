"""A network, a data set and an experiment of the user's own, started in a folder that holds nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    """The report shows the experiment by each key that it sweeps."""
    assert "no claim can be judged yet" in told
    page = (place / "report" / "index.html").read_text()
    assert "Own experiment: own" in page
    assert "stripes at demo scale" in page
    for name in ("own_by_data.corruption", "own_by_network.width", "own_by_network.width_auc", "own_auc"):
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
    check_report(place, shell(place, source, python, ROOT / "scripts" / "report.py", "runs"))


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
    check_report(place, shell(place, source, scripts / "single-directions-report", "runs"))
