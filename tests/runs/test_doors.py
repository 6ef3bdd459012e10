"""What a user brings along on the command line has its effect, or is refused in one line."""

import json
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from single_directions import commands
from single_directions.errors import BadInput, first_line, one_line
from single_directions.runs.build import build
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute

QUICK = ("tracking=off", "progress=false", "network.hidden=[8]", "trainer.max_epochs=1", "ablation.orderings=2",
         "data.train_samples=100")  # fmt: skip
GLOBAL = "# @package _global_\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of configuration of the user's own, with a data set; writes one more file."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_data.py").write_text(
        "from dataclasses import replace\n"
        "from single_directions.data import digits\n"
        "def mydata(**keys):\n"
        "    return replace(digits(**keys), name='mydata')\n"
    )

    def write(file, text):
        path = tmp_path / "own" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("data/mydata.yaml", "defaults: [_common, _self_]\n_target_: my_data.mydata\n")
    return write


def names(tmp_path):
    """The data sets that runs were trained on."""
    return [json.loads(file.read_text())["data"] for file in sorted(tmp_path.rglob("summary.json"))]


@pytest.mark.parametrize("base", ["", "  - memorization\n"], ids=["alone", "on another"])
def test_data_that_an_own_experiment_chooses_are_trained_on(command, own, tmp_path, base):
    text = f"{GLOBAL}defaults:\n{base}  - override /data: mydata\n  - _self_\nexperiment: mine\n"
    own("experiment/mine.yaml", f"{text}hydra: {{sweeper: {{params: {{seed: '0,1', data.corruption: 0}}}}}}\n")
    code, out, err = command("--config-dir", "own", "-m", "experiment=mine", *QUICK)
    assert (code, err) == (None, "")
    assert out.count("\n") == 2
    assert names(tmp_path) == ["mydata", "mydata"]
    assert (tmp_path / "runs" / "mine" / "demo-mydata").is_dir()
    command("--config-dir", "own", "experiment=mine", "data=digits", *QUICK)  # the command line still wins
    assert sorted(names(tmp_path)) == ["digits", "mydata", "mydata"]


def test_experiment_may_choose_its_scale(command, own, tmp_path):
    own("experiment/big.yaml", f"{GLOBAL}defaults:\n  - override /scale: paper\nexperiment: big\n")
    assert command("--config-dir", "own", "experiment=big", *QUICK)[0] is None
    assert (tmp_path / "runs" / "big" / "paper-digits").is_dir()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{GLOBAL}seed: 1\n", "experiment=mine: its file must have a line `experiment: mine`.*it has none"),
        (f"{GLOBAL}experiment: null\n", "its file must have a line `experiment: mine`.*it has none"),
        (f"{GLOBAL}experiment: a/b\n", "its file must have a line `experiment: mine`.*not `experiment: a/b`"),
        ("experiment: mine\n", "experiment=mine: .*the first line of its file must be `# @package _global_`"),
        ("", "experiment=mine: .*the first line of its file must be `# @package _global_`"),
        ("defaults:\n  - override /data: mydata\nexperiment: mine\n", "first line .* must be `# @package _global_`"),
        (f"{GLOBAL}experiment: mine\nscale: paper\n", "scale is 'paper', but scale=demo was chosen.*override /scale"),
        (f"{GLOBAL}experiment: mine\ndata: mydata\n", "data is 'mydata': choose its file with data=mydata"),
        (f"{GLOBAL}experiment: mine\nscheduler: cosine\n", "scheduler is 'cosine': choose its file with scheduler="),
        (f"{GLOBAL}experiment: mine\nearly_stopping: auc\n", "early_stopping is 'auc': choose its file with"),
        (f"{GLOBAL}experiment: mine\ntrainer: 3\n", "trainer is 3: it must have keys, such as trainer.max_epochs"),
        (f"{GLOBAL}experiment: mine\nbatchsize: 3\n", "batchsize is not a key .*: did you mean batch_size?"),
        (f"{GLOBAL}experiment: mine\nablation: {{order: 3}}\n", "ablation.order is not a key .*ablation.orderings"),
        (f"{GLOBAL}experiment: mine\nseed: [1\n", "ParserError.*own/experiment/mine.yaml.*line 3"),
        (f"{GLOBAL}defaults:\n  - override /data: none\nexperiment: mine\n", "'data': cifar10 digits image_folder"),
    ],
)
@pytest.mark.parametrize("multirun", [(), ("-m", "seed=0,1")], ids=["run", "sweep"])
def test_what_an_own_experiment_lacks_is_told_once(refused, own, text, told, multirun):
    own("experiment/mine.yaml", text)
    assert re.search(told, refused("--config-dir", "own", *multirun, "experiment=mine", "tracking=off"))


@pytest.mark.parametrize("arguments", [(), ("experiment=memorization",), ("data=digits",)])
def test_scale_of_the_users_own_is_refused(refused, own, arguments):
    own("scale/big.yaml", f"{GLOBAL}scale: big\n")
    assert refused("--config-dir", "own", "scale=big", *arguments) == "scale must be demo or paper, not 'big'"


def test_key_that_others_refer_to_is_the_users_own(command, own, tmp_path):
    own("experiment/mine.yaml", f"{GLOBAL}experiment: mine\nwidth: 6\n_note: x\nnetwork: {{hidden: ['${{width}}']}}\n")
    quick = [one for one in QUICK if "hidden" not in one]
    assert command("--config-dir", "own", "experiment=mine", *quick)[0] is None
    [summary] = tmp_path.rglob("summary.json")
    assert json.loads(summary.read_text())["units"] == 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["hydra.run.dir=x"], "hydra.run.dir=x cannot be set: .*runs=FOLDER"),
        (["-m", "hydra.sweep.dir=x"], "hydra.sweep.dir=x cannot be set: .*runs=FOLDER"),
        (["-m", "hydra.sweep.subdir=x"], "hydra.sweep.subdir=x cannot be set"),
        (["hydra.output_subdir=x"], "hydra.output_subdir=x cannot be set"),
        (["hydra.job.chdir=true"], "hydra.job.chdir=True cannot be set"),
        (["-m", "+hydra.foo=1"], "hydra.foo is not a key of Hydra"),
        (["hydra/launcher=basic"], "hydra/launcher=basic has no effect on a single run: give -m"),
        (["+hydra.sweeper.params.seed='1,2'"], "hydra.sweeper.params.seed=.* has no effect on a single run"),
        (["tracking=off", "+tracking.project=x"], "tracking.project has no effect without a logger"),
        (
            ["+tracking.foo=1"],
            "tracking.foo is not a key of a run and would have no effect: there are tracking.project",
        ),
        (["+ablation.foo=1"], "ablation.foo is not a key of a run .*there are ablation.sites"),
        (["+checkpoint.foo=1"], "checkpoint.foo is not a key of a run .*checkpoint.keep"),
        (["+foo=1"], "^foo is not a key of a run"),
        (["checkpoint=null"], "^checkpoint is None: it must have keys"),
        (["data=_common"], "^data: it has no _target_"),
        (["+trainer.logger=true"], "^trainer.logger cannot be set: a run has its own; tracking= chooses it"),
        (["+trainer.callbacks=[]"], "^trainer.callbacks cannot be set"),
        (["+trainer.default_root_dir=x"], "^trainer.default_root_dir cannot be set"),
        (["optimizer._partial_=false"], "^optimizer._partial_ must be true"),
        (["-m", "seed=0,1", "hydra.sweeper.max_batch_size=1"], "^hydra.sweeper.max_batch_size has no effect"),
    ],
)
def test_what_would_have_no_effect_is_refused(refused, arguments, told):
    tracked = [one for one in QUICK if not one.startswith("tracking") or "tracking" not in arguments[0]]
    assert re.search(told, refused(*arguments, *tracked))


def test_place_of_runs_may_be_written_in_any_way(command, tmp_path):
    assert command("-m", "runs=./there//", "seed=0,1", *QUICK)[0] is None
    assert len(list((tmp_path / "there" / "single" / "demo-digits").glob("*/summary.json"))) == 2


NETWORK = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, classes))
class Silent(Net):
    def __init__(self, input_shape, classes):
        assert classes == 3
class Broken(Net):
    def forward(self, x):
        return self.body(x)
class InTraining(Net):
    def forward(self, x):
        if self.training:
            raise KeyError("only in training")
        return super().forward(x)
class NoKeys(nn.Module):
    def __init__(self): ...
def number(input_shape, classes):
    return 3
"""
TRACEBACK = r" \(traceback in (.*/error\.txt)\)$"


@pytest.fixture
def network(tmp_path, monkeypatch):
    """The arguments that train a network of the user's own."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_net.py").write_text(NETWORK)
    (tmp_path / "imports_nothing.py").write_text("from torch import nn\nimport nothing_there.deeper\n")
    (tmp_path / "no_syntax.py").write_text("class Net(:\n    pass\n")
    keys = [one for one in QUICK if "hidden" not in one]

    return lambda target: (f"network._target_={target}", "~network.hidden", "~network.dropout", *keys)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            "imports_nothing.Net",
            r"network: ModuleNotFoundError: No module named 'nothing_there' \(imports_nothing.py, line 2\)",
        ),
        ("no_syntax.Net", r"network: SyntaxError: invalid syntax \(no_syntax.py, line 1\)"),
        ("own_net.Silent", r"network: AssertionError \(own_net.py, line 8\)"),
        ("own_net.Broken", r"network: cannot take images \(1, 8, 8\): AttributeError: .*body. \(own_net.py, line 11\)"),
        ("own_net.InTraining", r"KeyError: 'only in training'"),
    ],
)  # fmt: skip
def test_own_code_that_fails_is_told_with_its_traceback(command, network, target, told):
    multirun = ("-m", "seed=0,1") if target == "own_net.Broken" else ()
    code, _out, err = command(*multirun, *network(target))
    messages = err.splitlines()[:-1] if multirun else [str(code)]
    assert len(messages) == (2 if multirun else 1)
    for message in messages:
        found = re.search(told + TRACEBACK, message)
        assert found
        kept = Path(found[1]).read_text()
        assert kept.startswith("Traceback")
        status = json.loads(Path(found[1]).with_name("status.json").read_text())
        assert status["state"] == "failed"
        assert re.search(f"^{told}$", status["error"])


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("own_net.Nett", "^network: own_net has no Nett; did you mean own_net.Net?"),
        ("nowhere_net.Net", "^network: there is no module nowhere_net to import; is its folder in PYTHONPATH?"),
        ("own_net.number", "^network: own_net.number gives a int, not a torch.nn.Module"),
        ("own_net.NoKeys", "^network: TypeError: .*; it is called with input_shape, classes and the keys of"),
        ("null", "^network: it has no _target_"),
    ],
)  # fmt: skip
def test_wrong_name_of_an_own_network_is_one_line(refused, network, target, told):
    assert re.search(told, refused(*network(target)))


def test_mended_code_takes_the_failure_away(command, network, tmp_path):
    command(*network("own_net.Broken"))
    [error] = tmp_path.rglob("error.txt")
    folder = RunFolder(error.parent)
    config = OmegaConf.to_container(OmegaConf.create({"data": {}}))
    folder.refuse(BadInput("something else"))
    assert folder.read_status()["error"] == "something else"
    assert not folder.error.exists()
    folder.begin(config)
    assert folder.read_status()["state"] == "running"


@pytest.mark.parametrize(
    ("error", "line", "first"),
    [
        (ValueError("one\ntwo"), "one", "ValueError: one"),
        (ValueError(), "ValueError", "ValueError"),
        (ValueError("\n\n"), "ValueError", "ValueError"),
        (BadInput("seed: no"), "seed: no", "seed: no"),
        (AssertionError(), "AssertionError", "AssertionError"),
    ],
)
def test_any_exception_has_one_line(error, line, first):
    assert (one_line(error), first_line(error)) == (line, first)


def test_exception_without_a_message_ends_in_one_line(command, monkeypatch):
    def fails(*_, **__):
        raise ValueError

    monkeypatch.setattr("single_directions.runs.fit.pl.Trainer", fails)
    assert command(*QUICK)[0] == "trainer: ValueError"


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_data_that_are_missing_are_told_once_before_a_sweep(refused, data):
    said = refused("-m", "experiment=memorization", "scale=paper", f"data={data}", "tracking=off")
    assert re.search(r"is not in .*data\.download=true \(the same for all 24 runs\)$", said)


def test_runs_of_a_sweep_that_can_work_are_not_kept_back(command, tmp_path):
    code, _out, err = command("-m", "data=mnist,digits", "data.train_samples=100", *QUICK[:-1])
    assert code == 1
    assert "failed: MNIST is not in " in err
    assert names(tmp_path) == ["digits"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ablation.sites=[relu9]"], "^ablation.sites: site 'relu9': "),
        (["ablation.sites=[relu1,relu1]"], r"^ablation.sites=\['relu1', 'relu1'\]: "),
        (["ablation.sites=[]"], r"^ablation.sites=\[\]: "),
        (["ablation.method=foo"], "^ablation.method must be one of auto, "),
        (["ablation.points=999"], "^ablation.points=999 is more than 8 units can give: .*, or ablation.points=all"),
        (["ablation.every_epoch={points: 99}"], "^ablation.every_epoch: .*'points'"),
        (["ablation.every_epoch={sites: [x]}"], "^ablation.every_epoch.sites: site 'x'"),
        (["ablation.every_epoch={clamp: x}"], "^ablation.every_epoch.clamp='x'"),
    ],
)  # fmt: skip
def test_messages_name_the_key_that_was_typed(command, arguments, told):
    assert re.search(told, str(command(*QUICK, *arguments)[0]))


def test_warnings_name_the_key_that_was_typed(settings, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dead_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_shape, classes):\n"
        "        super().__init__()\n"
        "        self.fc, self.relu = nn.Linear(64, classes), nn.ReLU()\n"
        "    def forward(self, x):\n"
        "        self.relu(x)\n"
        "        return self.fc(x.flatten(1))\n"
    )
    config = settings("network._target_=dead_net.Net", "~network.hidden", "~network.dropout", "ablation.points=2")
    with pytest.warns(UserWarning, match="^ablation.sites: site 'relu': clamping all units"):
        build(config)


def test_installed_package_names_its_commands(command, monkeypatch, tmp_path):
    assert commands.called("train") == "python scripts/train.py"
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "commands.py"))
    assert commands.called("train") == "single-directions-train"
    monkeypatch.setattr("sys.argv", ["status", "nowhere"])
    with pytest.raises(SystemExit, match="make some, with single-directions-train -m experiment=memorization"):
        commands.status()


def test_disk_that_torch_finds_full_fails_the_run_and_says_so(settings, place, monkeypatch):
    def save(checkpoint, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    config, folder = settings(), RunFolder(place)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", save)
        with pytest.raises(RuntimeError, match="enforce fail"):  # something else is the matter
            execute(config, folder)
        patched.setattr("single_directions.runs.folder._has_no_room", lambda file: True)
        with pytest.raises(BadInput, match=r"its disk is full .No space left on device.: make room, then the same"):
            execute(config, folder)
    assert folder.state() == "failed"
    assert "its disk is full" in folder.read_status()["error"]
    assert "enforce fail" in folder.error.read_text()
    assert not list(place.glob(".*"))
    execute(config, folder)
    assert folder.is_done()


def test_failure_is_told_over_the_old_state_where_there_is_no_room_for_a_file(settings, place, monkeypatch):
    folder = RunFolder(place)
    folder.begin(settings())

    def mkstemp(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("single_directions.runs.folder.tempfile.mkstemp", mkstemp)
    folder.fail(OSError(28, "No space left on device"), "Traceback")
    assert folder.read_status()["state"] == "failed"
    assert "No space left on device" in folder.read_status()["error"]
