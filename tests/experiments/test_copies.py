"""Networks that were trained twice under two names."""

import pandas as pd

from single_directions.experiments.copies import first_of

RESULTS = {"epochs": 9, "label_hash": "1", "auc": 0.51, "auc_std": 0.01, "train_accuracy": 1.0, "train_loss": 0.01,
           "test_accuracy": 0.5, "test_loss": 2.0}  # fmt: skip


def table(*rows):
    known = {"state": "done", "config.seed": 0, "config.data._target_": "single_directions.data.mnist", **RESULTS}
    return pd.DataFrame([{"run": name, **known, **row} for name, row in zip("abcdef", rows, strict=False)])


def test_what_only_ends_a_training_or_is_measured_on_the_way_makes_no_other_network():
    same = [
        {"config.experiment": "memorization", "config.stop_at_train_accuracy": 0.99, "config.trainer.max_epochs": 100},
        {"config.experiment": "ensemble", "config.trainer.max_epochs": 10, "config.trainer.check_val_every_n_epoch": 9},
        {"config.ablation.every_epoch.every_n_epochs": 1, "config.threads": 3, "config.data.root": "elsewhere"},
    ]
    assert first_of(table(*same)) == {"b": "a", "c": "a"}


def test_other_settings_or_other_results_are_another_network():
    other = [{}, {"config.seed": 1}, {"config.optimizer.lr": 0.1}, {"auc": 0.51 + 1e-12}, {"label_hash": "2"}]
    assert first_of(table(*other)) == {}


def test_a_key_that_there_was_not_yet_has_its_default():
    assert first_of(table({}, {"config.data.normalize": True})) == {"b": "a"}
    assert first_of(table({}, {"config.data.normalize": False})) == {}


def test_what_is_not_known_is_nobodys_copy():
    assert first_of(table({"auc": None}, {"auc": None})) == {}
    assert first_of(table({}, {"state": "failed"})) == {}
    assert first_of(table({}, {}).drop(columns="auc")) == {}
