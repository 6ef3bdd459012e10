"""The table of the tuning, and which setting it marks."""

import pandas as pd
from constructed import tables

from single_directions.experiments.tables import Tables
from single_directions.report.tuning import tuning


def shown(settings, experiment="tuning"):
    """The rows of the table, without their heads, of {learning rate: (accuracies, losses)}."""
    [row] = tables({"ensemble": 1}).runs.to_dict("records")
    runs, epochs = [], []
    for rate, (accuracies, losses) in settings.items():
        name = f"{experiment}/demo-digits/optimizer.lr={rate},optimizer=sgd"
        runs.append({**row, "run": name, "experiment": experiment, "config.optimizer.lr": rate})
        numbers = {"train/accuracy": accuracies, "train/loss": losses}
        epochs.append(pd.DataFrame({"run": name, "epoch": range(1, 1 + len(losses)), **numbers}))
    parts = tuning(Tables(pd.DataFrame(runs).assign(variant=""), pd.DataFrame(), pd.concat(epochs)))
    return [[cell.text for cell in row] for part in parts if part.table for row in part.table.rows]


def test_fewest_epochs_then_the_lower_loss_is_chosen():
    rows = shown(
        {
            0.1: ([0.9, 0.95, 0.99], [3, 2, 0.001]),
            0.03: ([0.9, 0.99, 1.0], [3, 0.2, 0.1]),
            0.01: ([0.9, 0.99], [3, 0.15]),
            0.5: ([0.9, 0.9, 0.9, 0.9], [3, 3, 3, 0.0001]),
        }
    )
    assert rows == [
        ["SGD, learning rate 0.01", "0", "2", "2", "0.990", "0.1500", "chosen"],
        ["SGD, learning rate 0.03", "0", "2", "3", "0.990", "0.2000", ""],
        ["SGD, learning rate 0.1", "0", "3", "3", "0.990", "0.0010", ""],
        ["SGD, learning rate 0.5", "0", "never in 4", "4", "0.900", "0.0001", ""],
    ]


def test_none_is_chosen_where_none_got_there():
    assert shown({0.1: ([0.5], [2])}) == [["SGD, learning rate 0.1", "0", "never in 1", "1", "0.500", "2.0000", ""]]


def test_other_runs_are_no_tuning():
    assert shown({0.1: ([0.5], [2])}, experiment="single") == []
