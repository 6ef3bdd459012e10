"""A sweep as one thing: what is launched, what is returned to, what it leaves for those who look."""

import json
import time
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus

from single_directions.errors import BadInput
from single_directions.runs import lease, sweep
from single_directions.runs.config import conf_folder, resolved
from single_directions.runs.folder import RunFolder, write_json
from single_directions.runs.lease import Lease
from single_directions.runs.sweep import (
    UNDER_WAY,
    Job,
    ProcessDied,
    RunFailed,
    check_swept,
    finish,
    jobs,
    noted,
    sweep_size,
)


@pytest.fixture
def made():
    """The jobs of some lists of overrides."""

    def from_overrides(*overrides):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            master = compose("train", return_hydra_config=True)
            return list(jobs(master, GlobalHydra.instance().config_loader(), overrides))

    return from_overrides


def composed(*overrides):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return resolved(compose("train", list(overrides)))


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=3"],
        ["seed=3", "network.hidden=[7]", "scheduler=cosine", "trainer.max_epochs=9"],
        ["experiment=memorization", "scale=paper", "data.corruption=0.5"],
        ["scale=paper", "network=convnet", "data=cifar10", "optimizer.lr=1e-3", "stop_at_train_accuracy=null"],
        ["experiment=early_stopping", "ablation.every_epoch={every_n_epochs:2}", "+trainer.gradient_clip_val=1"],
        ["tracking=off", "early_stopping=test_loss", "early_stopping.patience=3", "++ablation.samples=50"],
        ["runs='a b'", "~scheduler", "data=digits"],
    ],
)
def test_jobs_are_configured_as_hydra_configures_them(made, overrides):
    [job] = made(overrides)
    assert job.config == composed(*overrides)


def test_files_are_composed_once_for_each_choice_of_them(made, monkeypatch):
    calls = []
    original = sweep._composed
    monkeypatch.setattr(sweep, "_composed", lambda *given: (calls.append(given[-1]), original(*given))[1])
    several = made(*(["network=mlp", f"optimizer={name}", f"seed={i}"] for name in ("sgd", "adam") for i in range(9)))
    assert calls == [["network=mlp", "optimizer=sgd"], ["network=mlp", "optimizer=adam"]]
    assert [job.config["seed"] for job in several] == [*range(9), *range(9)]
    assert several[10].folder.path.name == "network=mlp,optimizer=adam,seed=1"


def test_job_that_lacks_a_value_is_left_to_tell_so_itself(made):
    [job] = made(["data=imagenet"])
    assert job.folder is None
    assert not job.is_done()


@pytest.fixture
def places(tmp_path, settings):
    """Jobs of three seeds, and a launcher that does what it is told to each."""
    config = settings()

    class Places:
        def __init__(self):
            names = [f"seed={i}" for i in range(3)]
            self.jobs = [
                Job([name], {**config, "seed": i}, RunFolder(tmp_path / "s" / name)) for i, name in enumerate(names)
            ]
            self.passes, self.does = [], {}

        def launch(self, overrides):
            self.passes.append([" ".join(job) for job in overrides])
            return [self.one(next(job for job in self.jobs if job.overrides == own)) for own in overrides]

        def one(self, job):
            end = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
            does = self.does.get(job.overrides[0], self.finishes)
            end.return_value = does(job)
            if isinstance(end._return_value, Exception):
                end.status = JobStatus.FAILED
            return end

        def finishes(self, job):
            with job.folder.leased():
                job.folder.begin(job.config)
                job.folder.curves.write_text("ordering,units_ablated,fraction_ablated,accuracy\n0,0,0,1\n")
                job.folder.metrics.write_text("epoch\n1\n")
                numbers = dict.fromkeys(("train_accuracy", "test_accuracy", "auc"), 0.5)
                write_json(job.folder.summary, {"orderings": 1, "points": 1, "epochs": 1, "seconds": {}, **numbers})
                job.folder.set_state("done")

    return Places()


def test_done_runs_are_not_launched(places, capsys):
    places.finishes(places.jobs[1])
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=2"]]
    assert capsys.readouterr().out == "1 of 3 runs are done\n"
    finish(places.jobs, places.launch)
    assert len(places.passes) == 1


def test_done_run_of_another_configuration_is_launched_to_tell_so(places):
    places.finishes(places.jobs[1])
    places.jobs[1].config["batch_size"] = 7
    places.does = {"seed=1": lambda job: BadInput("other settings")}
    with pytest.raises(BadInput, match="other settings"):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]


def test_run_under_way_elsewhere_is_returned_to(places, monkeypatch, capsys):
    first = places.jobs[0].folder
    first.path.mkdir(parents=True)
    taken = Lease(first.lease)
    monkeypatch.setattr(sweep.time, "sleep", lambda _: taken.release())  # the other process dies
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=1", "seed=2"], ["seed=0"]]
    assert "waiting for 1 under way elsewhere" in capsys.readouterr().out
    assert first.is_done()


def test_run_finished_elsewhere_meanwhile_is_not_launched_again(places, monkeypatch):
    taken = []

    def busy(job):
        taken.append(Lease(job.folder.lease))
        return UNDER_WAY

    def elsewhere(_):
        taken[0].release()
        places.finishes(places.jobs[1])

    for job in places.jobs:
        job.folder.path.mkdir(parents=True)
    places.does = {"seed=1": busy}
    monkeypatch.setattr(sweep.time, "sleep", elsewhere)
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]


def test_run_that_failed_elsewhere_is_told_and_not_tried_again(places, monkeypatch, capsys):
    last = places.jobs[2].folder
    last.path.mkdir(parents=True)
    taken = Lease(last.lease)

    def fail(_):
        last.fail(ValueError("too bad"), "Traceback")
        taken.release()

    monkeypatch.setattr(sweep.time, "sleep", fail)
    with pytest.raises(RunFailed):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1"]]
    assert capsys.readouterr().err.startswith("1 of 3 runs failed (1 in other processes: seed=2); the same command ")


def test_run_whose_process_died_is_marked_failed_beside_the_others(places, capsys):
    """What a launcher tells of a process that could tell nothing itself."""

    def dies(job):
        return ProcessDied("WorkerCrashedError")

    def dies_while_it_trains(job):
        with job.folder.leased():
            job.folder.begin(job.config)
        return dies(job)

    places.does = {"seed=0": dies, "seed=1": dies_while_it_trains}
    with pytest.raises(ProcessDied, match=r"its process ended without a result \(WorkerCrashedError\)"):
        finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]
    assert [job.folder.state() for job in places.jobs] == ["failed", "failed", "done"]
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        *(f"seed={i}: failed: its process ended without a result" for i in (0, 1)),
        "2 of 3 runs failed; the same command tries them again",
    ]
    places.does = {}
    finish(places.jobs, places.launch)
    assert places.passes[1:] == [["seed=0", "seed=1"]]


@pytest.fixture
def elsewhere(monkeypatch):
    """Has the process of a run die on another machine: its lease stays, in which `signs` of life may follow."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now, time=time.time)
    signs = []

    def sleep(seconds):
        clock.now += seconds
        for sign in signs:
            sign(clock)

    clock.sleep = sleep
    monkeypatch.setattr(sweep, "time", clock)
    monkeypatch.setattr(lease, "time", clock)

    def dies(job):
        job.folder.path.mkdir(parents=True)
        job.folder.begin(job.config)
        write_lease(job.folder, beat=0)
        return ProcessDied("NodeDiedError")

    return SimpleNamespace(dies=dies, signs=signs, clock=clock)


def write_lease(folder, beat):
    """As the holder on another machine writes it."""
    told = {"host": "far", "pid": 7, "kernel": "another", "beat": beat}
    folder.lease.write_bytes(json.dumps(told).encode().ljust(lease.SIZE - 1) + b"\n")


def test_run_that_died_on_another_machine_is_marked_failed_once_its_lease_has_ended(places, elsewhere, capsys):
    places.does = {"seed=1": elsewhere.dies}
    with pytest.raises(ProcessDied, match="NodeDiedError"):
        finish(places.jobs, places.launch)
    assert [job.folder.state() for job in places.jobs] == ["done", "failed", "done"]
    assert 0 <= elsewhere.clock.now - 1000 - lease.PATIENCE < 5
    assert not places.jobs[1].folder.lease.exists()
    told = capsys.readouterr()
    assert "seed=1: process 7 on far died, or another has taken the run on: watching for 90 s at most" in told.out
    assert told.err.splitlines()[0] == "seed=1: failed: its process ended without a result (NodeDiedError)"


def test_run_that_died_is_no_failure_where_another_machine_has_taken_it_on(places, elsewhere, capsys):
    folder = places.jobs[1].folder

    def beats_then_finishes(clock):
        if clock.now < 1100:
            return write_lease(folder, beat=clock.now)
        if folder.lease.exists():
            folder.lease.unlink()
            places.finishes(places.jobs[1])

    elsewhere.signs.append(beats_then_finishes)
    places.does = {"seed=1": elsewhere.dies}
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]
    told = capsys.readouterr()
    assert "waiting for 1 under way elsewhere" in told.out
    assert told.err == ""


def test_run_that_failed_before_is_tried_again(places):
    places.jobs[0].folder.path.mkdir(parents=True)
    places.jobs[0].folder.fail(ValueError("too bad"), "Traceback")
    finish(places.jobs, places.launch)
    assert places.passes == [["seed=0", "seed=1", "seed=2"]]


def test_names_of_all_sweeps_of_a_folder_are_noted(places, tmp_path):
    finish(places.jobs[:2], places.launch)
    assert noted(tmp_path / "s") == ["seed=0", "seed=1"]
    finish(places.jobs[1:], places.launch)
    assert noted(tmp_path / "s") == ["seed=0", "seed=1", "seed=2"]
    (tmp_path / "s" / "sweep.json").write_text("{")
    assert noted(tmp_path / "s") == noted(tmp_path / "nowhere") == []


@pytest.mark.parametrize("swept", ["experiment=memorization,dropout", "scale=demo,paper"])
def test_sweep_over_sweeps_is_refused(swept):
    parse = OverridesParser.create().parse_overrides
    with pytest.raises(BadInput, match=f"{swept}: each has a sweep of its own"):
        check_swept(parse(["seed=0,1", swept]))
    check_swept(parse(["experiment=memorization", "scale=paper", "seed=0,1", "network=mlp,convnet"]))


def test_size_of_a_sweep():
    assert sweep_size([]) == 1
    assert sweep_size(["seed=0,1,2", "data.corruption=0,0.5", "tracking=off"]) == 6
    assert sweep_size(["seed=0,1,2", "data.corruption=0,0.5", "seed=7"]) == 2
    assert sweep_size(["seed=range(0,200)"]) == 200
    assert sweep_size(["network.hidden=[8,8],[4]"]) == 2
