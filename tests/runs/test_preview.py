"""`dry_run=true` lists what a command would run, and writes nothing."""

import pytest

QUICK = ("tracking=off", "network.hidden=[8]", "trainer.max_epochs=1", "ablation.orderings=1", "data.train_samples=50")


def test_sweep_is_listed_and_nothing_is_written(command, tmp_path):
    code, out, err = command("-m", "experiment=memorization", "seed=0,1", "dry_run=true")
    assert (code, err) == (None, "")
    first, *lines, last = out.splitlines()
    assert first == "runs/memorization/demo-digits: 12 runs: 12 missing"
    assert {line.split()[0] for line in lines} == {"missing"}
    levels = ("0", "0.2", "0.4", "0.6", "0.8", "1")
    names = [f"data.corruption={level},seed={seed}" for level in levels for seed in (0, 1)]
    assert sorted(line.split()[1] for line in lines) == sorted(names)
    assert last == "dry_run: nothing was run; 12 of 12 runs are left to do"
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_said(command, tmp_path):
    assert command("-m", *QUICK, "seed=1")[0] is None
    before = sorted(tmp_path.rglob("*"))
    code, out, err = command("-m", *QUICK, "seed=0,1", "dry_run=true")
    assert (code, err) == (None, "")
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["done", "missing"]
    assert "seed=1,trainer.max_epochs=1  train 0." in out
    assert out.endswith("1 of 2 runs are left to do; 1 done with the same settings would be skipped\n")
    assert command(*QUICK, "seed=0", "dry_run=true")[1].endswith("1 of 1 runs are left to do\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_run_that_is_named_twice_is_counted_once(command):
    assert ": 1 run: 1 missing\n" in command("-m", *QUICK, "seed=0,0", "dry_run=true")[1]


def test_options_may_stand_anywhere(command):
    shown = [command(*order, "dry_run=true") for order in (("-m", *QUICK, "seed=0,1"), (*QUICK, "-m", "seed=0,1"))]
    assert shown[0] == shown[1]
    assert "2 runs: 2 missing" in shown[0][1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-m", "seed=-1,0"], "seed=-1: seed must be a whole number of at least 0, not -1"),
        (["optimized_metric=aux"], "optimized_metric must be a number of summary.json"),
        (["tracking.mode=foo"], "tracking.mode must be null, offline, online, disabled or shared"),
        (["-m", "tracking.mode=foo", "seed=0,1"], "online, disabled or shared, not 'foo' (the same for all 2 runs)"),
        (["tracking=[csv,off]"], "tracking=[csv,off]: off cannot be combined with others; choose tracking=off"),
        (["-m", "tracking=[off,csv]", "seed=0,1"], "tracking=[off,csv]: off cannot be combined with others"),
        (["-m", "data=imagenet", "seed=0,1"], "data.root"),
        (["dry_run=no"], "dry_run must be true or false, not 'no'"),
        (["-m", "seed=0,1", "dry_run=maybe"], "dry_run must be true or false, not 'maybe'"),
        (["-m", "hydra/sweeper=optuna", "seed=0,1"], "dry_run: hydra/sweeper=optuna chooses each run"),
    ],
)
def test_what_cannot_run_is_said(command, tmp_path, arguments, told):
    code, _, err = command("dry_run=true", *arguments)
    assert err == ""
    assert told in code
    assert list(tmp_path.iterdir()) == []
