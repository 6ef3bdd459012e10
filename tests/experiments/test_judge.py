"""All claims on all sweeps."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from constructed import judged, together

from single_directions.experiments.experiment import EXPERIMENTS
from single_directions.experiments.judge import REDUCED, as_text, judge, write_claims

KEYS = {
    "id", "experiment", "figure", "role", "family", "scale", "data", "variant", "paper", "statistic", "value", "low",
    "high", "n", "paper_value", "p", "p_corrected", "effect_size", "verdict", "rule", "caveats", "details", "runs",
    "reason", "history",
}  # fmt: skip


OPEN = {"main": "inconclusive", "further": "inconclusive", "check": "undecided"}


def test_entries_have_every_key_and_are_json(memorization, tmp_path):
    claims = judge(memorization())
    write_claims(claims, tmp_path / "claims.json")
    written = json.loads((tmp_path / "claims.json").read_text())
    assert written == [entry.as_json() for entry in claims]
    assert [set(entry) for entry in written] == [KEYS] * 3
    assert written[0]["value"] == pytest.approx(claims[0].value)
    assert written[0]["details"]["parts"]["corruption 1"]["holds"] is True
    assert {entry.runs for entry in claims} == {30}
    assert all("95 %" in entry.rule for entry in claims)


def test_verdicts_at_either_scale(memorization):
    assert judged(memorization())["auc"].verdict == "reproduced"
    assert judged(memorization(slope=-0.3))["auc"].verdict == "not reproduced"
    demo = judged(memorization(scale="demo", data="digits"))["auc"]
    assert demo.verdict == "holds on digits"
    assert "data digits in place of mnist" in demo.caveats


def test_three_networks_a_side_are_inconclusive(memorization):
    entry = judged(memorization(seeds=3))["auc"]
    assert (entry.verdict, entry.n, entry.p_corrected) == ("inconclusive", 3, pytest.approx(math.nan, nan_ok=True))
    assert entry.value > 0.05
    assert "none of the 5 levels of corruption has 4 networks in a group, so there is no verdict" in entry.caveats
    alone = judged(memorization(seeds=3, levels=(0, 1)))["auc"]
    assert "3 networks in a group, fewer than 4, so there is no verdict" in alone.caveats


def test_parts_with_too_few_networks_are_left_out_and_named(memorization):
    tables = memorization(slope=0.3)
    against = tables.runs["corruption"] == 0.2
    few = tables.runs[~against | (tables.runs["seed"] < 3)]
    runs = few.assign(auc=few["auc"] + against.astype(float), test_accuracy=0.5)  # clearly the other way
    entry = judged(tables.of(runs))["auc"]
    assert (entry.verdict, entry.n) == ("reproduced", 5)
    assert entry.parts["corruption 0.2"].n == 3
    told = "1 of 5 levels of corruption left out, with fewer than 4 networks in a group: corruption 0.2 (3)"
    assert told in entry.caveats
    assert "; levels of corruption that have fewer than 4 networks in a group are left out" in entry.rule
    whole = judged(tables.of(tables.runs.assign(auc=tables.runs["auc"] + against)))
    assert whole["auc"].verdict == "not reproduced"


@pytest.mark.parametrize("seeds", [1, 2])
def test_so_few_networks_are_no_error(memorization, seeds):
    for entry in judge(memorization(seeds=seeds)):
        assert (entry.verdict, entry.n) == (OPEN[entry.claim.role], seeds)
        assert seeds > 1 or not any("Welch" in caveat for caveat in entry.caveats)  # nothing is compared


def test_a_verdict_depends_on_nothing_else_in_the_folder(memorization, constructed):
    whole = memorization()
    others = [
        memorization(scale="demo", data="digits"),
        memorization(slope=0, variant="network.hidden=[8,8]"),
        *(
            constructed("early_stopping_grid", [{"seed": seed, "config.optimizer": optimizer} for seed in range(5)],
                        variant=f"{optimizer}=1,")
            for optimizer in ("sgd", "adam")
        ),
        constructed("batch_norm", [
            {"seed": seed, "auc": 0.5 + on / 5 + seed / 100, "auc_normalized": 0.5, "config.network.batch_norm": on}
            for seed in range(4) for on in (True, False)
        ], data="cifar10"),
    ]  # fmt: skip
    alone = judge(whole)
    beside = judge(together(whole, *others))
    assert [entry for entry in beside if entry.sweep == ("memorization", "paper", "mnist", "")] == alone
    main = alone[0]
    assert (main.claim.role, main.family) == ("main", 9)
    assert main.p_corrected == pytest.approx(9 * main.p)


def test_checks_are_no_claims(memorization):
    roles = {name: entry.claim.role for name, entry in judged(memorization()).items()}
    assert roles == {"auc": "main", "train_accuracy": "check", "test_accuracy": "check"}
    assert judged(memorization())["test_accuracy"].verdict == "met"
    assert judged(memorization(train_accuracy=0.5))["train_accuracy"].verdict == "not met"


def test_a_network_trained_twice_counts_once(memorization):
    tables = memorization(seeds=4)
    known = {"epochs": 9, "label_hash": "1", "auc_std": 0.1, "train_loss": 0.1, "test_loss": 0.2}
    runs = tables.runs.assign(**known, **{"config.seed": tables.runs["seed"]})
    runs["config.data.corruption"] = runs["corruption"]
    again = runs.assign(run=runs["run"] + ",trainer.devices=1")
    twice = tables.of(pd.concat([runs, again]))
    entry, once = (judged(one)["auc"] for one in (twice, tables.of(runs)))
    assert (entry.runs, entry.n, entry.p) == (24, 4, once.p)
    assert "24 of 48 runs are networks that others here are too: counted once" in entry.caveats
    other = tables.of(pd.concat([runs, again.assign(auc=0.5)]))
    assert not any("counted once" in caveat for caveat in judged(other)["auc"].caveats)


def test_runs_that_a_sweep_names_and_lacks_are_told_beside_every_claim(memorization):
    tables = memorization(seeds=4)
    name = "memorization/paper-mnist/" + tables.runs["corruption"].map("data.corruption={:g}".format)
    name += tables.runs["seed"].map(",seed={}".format)
    recorded = [json.dumps(run.rpartition("/")[2].split(",")) for run in name]
    runs = tables.runs.assign(run=name, overrides=recorded)
    assert not any("not done" in caveat for entry in judge(tables.of(runs)) for caveat in entry.caveats)
    failed = runs.assign(state=["failed", "broken", *["done"] * 22])
    names = "data.corruption=0,seed=0; data.corruption=0,seed=1"
    told = f"2 of 24 runs of this sweep are not done (1 broken, 1 failed): {names}"
    assert all(told in entry.caveats for entry in judge(tables.of(failed)))
    lacking = tables.of(runs.iloc[3:])
    told = "3 of 24 runs of this sweep are not done (3 missing): "
    for entry in judge(lacking):
        assert any(caveat.startswith(told + "data.corruption=0,seed=0; ") for caveat in entry.caveats)
    # With other settings than the experiment's own, each seed is expected in each condition.
    own = runs.assign(variant="data.train_samples=9", run=runs["run"] + ",data.train_samples=9")
    told = "1 of 24 runs of this sweep are not done (1 missing): data.corruption=0.2,seed=1"
    fewer = tables.of(own.drop(index=5))
    assert told in judged(fewer)["auc"].caveats


def test_correction_can_undecide(memorization):
    rows = memorization(slope=0.0, noise=0, seeds=4)
    shift = rows.runs["seed"].map({0: 0.01, 1: 0.02, 2: 0.03, 3: 0.012}) * (rows.runs["corruption"] > 0)
    runs = rows.runs.assign(auc=0.7 - shift, test_accuracy=0.5)
    alone = judged(rows.of(runs))["auc"]
    assert 0.025 < alone.p < 0.05 <= alone.p_corrected
    assert alone.low > 0
    assert alone.verdict == "inconclusive"
    assert any("once corrected" in caveat for caveat in alone.caveats)


def test_networks_that_did_not_memorize_are_named_and_left_out_once(memorization):
    tables = memorization(seeds=6)
    short = (tables.runs["seed"] == 5) & (tables.runs["corruption"] == 1)
    runs = tables.runs.assign(train_accuracy=1 - 0.5 * short, auc=tables.runs["auc"] + 2 * short)
    entry = judged(tables.of(runs))["auc"]
    assert entry.verdict == "inconclusive"
    assert entry.below_99 == list(runs.loc[short, "run"])
    assert entry.without_below_99.holds is True
    assert entry.without_below_99.n == 5
    [told] = [caveat for caveat in entry.caveats if "below 99 %" in caveat]
    assert told.startswith("1 of 36 networks are below 99 % training accuracy (run=35)")
    assert told.endswith("from 5, which is as claimed")
    single = runs.assign(train_accuracy=1 - 0.5 * (runs["seed"] > 0))
    told = judged(tables.of(single))["auc"].caveats[-1]
    assert "nan" not in told
    assert told.endswith("from 1, which is undecided")
    all_short = judged(memorization(train_accuracy=0.5))["auc"]
    [told] = [caveat for caveat in all_short.caveats if "below 99 %" in caveat]
    assert told == "30 of 30 networks are below 99 % training accuracy: without them there is no number to judge"


def test_number_without_networks_below_99_percent_says_how_many_parts_it_is_over(memorization):
    tables = memorization(seeds=6)
    runs = tables.runs.assign(train_accuracy=1 - 0.9 * (tables.runs["corruption"] > 0.6))
    told = judged(tables.of(runs))["auc"].caveats[-1]
    assert told.endswith("from 6, over 3 of the 5 levels of corruption, which is as claimed")
    few = (tables.runs["corruption"] > 0.3) & (tables.runs["seed"] > 2)  # leaves 3 networks at these levels
    told = judged(tables.of(runs.assign(train_accuracy=1 - 0.9 * few)))["auc"].caveats[-1]
    assert told.endswith("from 6, over 1 of the 5 levels of corruption, which is as claimed")


def test_conditions_below_99_percent_as_a_whole_are_named_once(constructed):
    rows = [
        {"seed": seed, "config.network.batch_norm": on, "auc": 0.5, "train_accuracy": 1 - 0.1 * (not on or seed == 0)}
        for seed in range(4)
        for on in (True, False)
    ]
    tables = constructed("batch_norm", rows)
    overrides = [json.dumps([f"network.batch_norm={row['config.network.batch_norm']}".lower(), f"seed={row['seed']}"])
                 for row in rows]  # fmt: skip
    runs = tables.runs.assign(overrides=overrides)
    for own in (runs, runs.set_index(pd.Index([0] * len(runs)))):
        [told] = [one for one in judged(tables.of(own))["auc"].caveats if "99 %" in one]
        assert told.startswith(
            "5 of 8 networks are below 99 % training accuracy "
            "(all of network.batch_norm=false; network.batch_norm=true,seed=0): without them"
        )


def test_departures_from_the_paper_are_named(memorization):
    tables = memorization()
    own = {"config.data.train_samples": 1000, "config.network.hidden": "[128, 128]", "config.trainer.max_epochs": 50}
    entry = judge(tables.of(tables.runs.assign(**own)))[0]
    assert entry.caveats == [
        REDUCED,
        "data.train_samples 1000 in place of all",
        "network.hidden [128, 128] in place of [512, 512]",
        "at most 50 epochs in place of 640",
    ]
    shorter = {"config.data.held_out": 0.1, "config.early_stopping.monitor": "test/loss",
               "config.trainer.limit_train_batches": 0.5, "config.trainer.max_steps": 99,
               "config.trainer.max_time": "00:01:00:00"}  # fmt: skip
    assert judge(tables.of(tables.runs.assign(**shorter)))[0].caveats == [
        REDUCED,
        "data.held_out 0.1 in place of 0",
        "early_stopping.monitor test/loss in place of none",
        "trainer.limit_train_batches 0.5 in place of 1",
        "trainer.max_steps 99 in place of -1",
        "trainer.max_time 00:01:00:00 in place of none",
    ]
    same = {"config.data.held_out": 0.0, "config.trainer.limit_train_batches": 1.0, "config.trainer.max_steps": -1}
    assert judge(tables.of(tables.runs.assign(**same)))[0].caveats == []
    own = {"config.data.train_samples": np.nan, "config.network.hidden": "[512, 512]", "config.trainer.max_epochs": 640}
    assert judge(tables.of(tables.runs.assign(**own)))[0].caveats == []


def test_reduced_runs_on_a_folder_of_images_are_told_as_such(memorization):
    tables = memorization(data="image_folder")
    own = {
        "experiment": "memorization_cifar10",
        "config.data.root": "cifar10",
        "config.data.train_samples": 10000,
        "config.ablation.samples": 2000.0,
        "config.network.width": 0.25,
        "config.stop_at_train_accuracy": 0.99,
        "config.trainer.max_epochs": [10, *[60] * (len(tables.runs) - 1)],
        "config.trainer.precision": "bf16-mixed",
        "config.channels_last": True,
    }
    runs = tables.runs.assign(**own)
    assert judge(tables.of(runs))[0].caveats == [
        REDUCED,
        "data.train_samples 10000 in place of all",
        "ablation.samples 2000 in place of all",
        "stop_at_train_accuracy 0.99 in place of all epochs",
        "data cifar10 (a folder of images) in place of cifar10",
        "network.width 0.25 in place of 1",
        "at most 10 epochs in place of 100",
        "trainer.precision bf16-mixed in place of 32",
        "channels_last True in place of False",
    ]
    rounding = tables.runs.assign(**{"data": "mnist", "config.trainer.precision": ["32-true", "16-mixed"] * 15})
    assert judge(tables.of(rounding))[0].caveats == ["trainer.precision 16-mixed in place of 32"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_missing_columns_are_no_error(constructed, experiment):
    for rows in ([{}], [{"seed": seed} for seed in range(5)], [{"seed": 0, "corruption": 0}, {"corruption": 1}]):
        for entry in judge(constructed(experiment, rows)):
            assert entry.verdict in (OPEN[entry.claim.role], "not measured")
            assert json.dumps(entry.as_json(), allow_nan=False)


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_numbers_that_are_missing_or_all_equal_are_no_error(constructed, value):
    columns = ("auc", "auc_normalized", "generalization_error", "train_accuracy", "train_loss", "test_accuracy")
    rows = [
        {
            "seed": seed,
            "corruption": corruption,
            "config.network.dropout": 0.1,
            "config.network.batch_norm": seed % 2 == 0,
            **dict.fromkeys(columns, value),
        }
        for seed in range(12)
        for corruption in (0, 1)
    ]
    epochs = dict.fromkeys(("ablation/auc_normalized", "train/loss", "test/loss"), [value] * 9)
    epochs["test/accuracy"] = [0] * 9
    for experiment in EXPERIMENTS:
        tables = constructed(experiment, rows, curves=[[value] * 11] * 24, epochs=[epochs] * 24)
        verdicts = {name: entry.verdict for name, entry in judged(tables).items()}
        verdicts.pop("up_to_the_fraction", None)  # an accuracy that never falls does hold up
        if value == 0.5:
            assert verdicts.pop("train_accuracy", "not met") == "not met"
            for name in ("past_the_fraction", "auc"):  # equals are not substantially different
                if experiment in ("dropout", "batch_norm"):
                    assert verdicts.pop(name, "not reproduced") == "not reproduced"
        assert set(verdicts.values()) <= {*OPEN.values(), "not measured"}


def test_nothing_done_is_nothing_judged(memorization):
    tables = memorization()
    assert judge(tables.of(tables.runs.assign(state="failed"))) == []
    assert as_text([]) == "no claim can be judged yet"


def test_terminal_shows_a_line_a_claim(memorization):
    lines = as_text(judge(memorization(seeds=1))).splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("memorization/")
    assert "memorization.auc" in lines[2]
    assert lines[2].endswith("inconclusive")
