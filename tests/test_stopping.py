"""The rules that stop a training on series worked out by hand, and the committed result against its own table."""

import importlib.util
import json
import re
import sys
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from single_directions.errors import BadInput
from single_directions.runs.config import composed
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "stopping"
_spec = importlib.util.spec_from_file_location("stopping", ROOT / "scripts" / "stopping.py")
stopping = importlib.util.module_from_spec(_spec)
sys.modules["stopping"] = stopping  # a dataclass looks its module up
_spec.loader.exec_module(stopping)


def stop(kept, ended):
    return stopping.Stop(kept, ended)


@pytest.mark.parametrize(
    ("values", "mode", "expected"),
    [
        ([1, 3, *[2] * 9, 4, *[3] * 30], "max", stop(12, 22)),  # the 9 lower ones are not enough
        ([1, 3, *[2] * 10, 4, *[3] * 30], "max", stop(2, 12)),  # 10 are: the higher one is never seen
        ([1, 3, *[3] * 20], "max", stop(2, 12)),  # an equal one is no better, and the first is kept
        (list(range(50)), "max", stop(50, 50)),  # never stops
        (list(range(50)), "min", stop(1, 11)),
        ([5, 4, 3, nan, 1, 0], "min", stop(3, 4)),
        ([nan, 1, 2], "max", stop(1, 1)),
        ([1, 2, float("inf"), 3], "max", stop(2, 3)),
        ([7], "max", stop(1, 1)),
        ([2, 1, 1, 2, 3], "min", stop(2, 5)),
    ],
)
def test_patience(values, mode, expected):
    assert stopping.patience(values, mode) == expected


def test_patience_of_one_stops_at_the_first_epoch_that_is_no_better():
    assert stopping.patience([1, 2, 3, 3, 9], "max", epochs=1) == stop(3, 4)


def test_patience_is_stock_early_stopping():
    """On noisy series, which stop at different epochs."""
    import torch
    from pytorch_lightning.callbacks import EarlyStopping

    ended = set()
    for seed in range(20):
        values = np.random.default_rng(seed).normal(size=60).round(1) + np.linspace(0, 1, 60)
        stock = EarlyStopping("x", mode="max", patience=10)
        epoch = next(
            (
                epoch
                for epoch, value in enumerate(values, 1)
                if stock._evaluate_stopping_criteria(torch.tensor(value))[0]
            ),
            60,
        )
        found = stopping.patience(values)
        assert found.ended == epoch
        assert values[found.kept - 1] == pytest.approx(stock.best_score.item())
        ended.add(epoch)
    assert len(ended) > 3


def test_plateau_is_where_ten_epochs_do_not_lower_the_loss_by_a_ten_thousandth():
    falling = [0.99**epoch for epoch in range(20)]
    slow = [falling[-1] * (1 - 9e-6 * epoch) for epoch in range(1, 30)]  # 10 of them lower it by 0.00009 of itself
    rows = pd.DataFrame({"train_loss": falling + slow})
    assert stopping.RULES["train_loss"](rows) == stop(20, 30)
    rows["train_loss"] = [0.99**epoch for epoch in range(49)]
    assert stopping.RULES["train_loss"](rows) == stop(49, 49)


def test_label_wave_takes_the_mean_of_three_epochs():
    """Changed after epochs 2, 3, ...: the means after epochs 4, 5, ... are .5, .3, .2, .3, .3, .2, .1, ..."""
    changed = [nan, 0.9, 0.3, 0.3, 0.3, 0.0, 0.6, 0.3, -0.3, 0.3, *[0.9] * 20]
    means = [0.5, 0.3, 0.2, 0.3, 0.3, 0.2, 0.1, 0.3]
    assert np.convolve(changed[1:11], [1 / 3] * 3, "valid").round(7).tolist() == pytest.approx(means)
    assert stopping.label_wave(changed, epochs=1) == stop(6, 7)  # the first local minimum
    assert stopping.label_wave(changed, epochs=3) == stop(6, 9)  # the mean after the ninth is .2 again: no lower
    assert stopping.label_wave(changed) == stop(10, 20)


def test_label_wave_without_enough_epochs_keeps_the_last():
    assert stopping.label_wave([nan, 0.3, 0.2]) == stop(3, 3)
    assert stopping.label_wave([nan, 0.3, 0.2, 0.1]) == stop(4, 4)


def test_equal_means_in_single_precision_are_equal():
    changed = [nan, *np.float32([0.1, 0.2, 0.3, 0.1, 0.2, 0.3]).tolist()]
    assert stopping.label_wave(changed, epochs=1) == stop(4, 5)


def made(seeds=3, **columns):
    """Trainings of 30 epochs whose test accuracy is best after the fifth, and the same with held-out images."""
    epoch = np.arange(1, 31)
    frames = []
    for seed in range(seeds):
        for corruption in (0.0, 0.5):
            for optimizer in ("sgd", "adam"):
                for held_out in (0.0, 0.1):
                    accuracy = 0.9 - 0.002 * abs(epoch - 5) - 0.001 * seed * (epoch != 5) - 0.1 * held_out
                    frames.append(
                        pd.DataFrame(
                            {
                                **{"corruption": corruption, "optimizer": optimizer, "images": 2000, "seed": seed},
                                **{"held_out": held_out, "epoch": epoch, "train_loss": 1 / epoch},
                                **{"test_accuracy": accuracy, "changed_predictions": 1 / epoch},
                                **{
                                    "auc": epoch / 40,
                                    "auc_normalized": -abs(epoch - 6.0),
                                    "auc_corrected": -abs(epoch - 8.0),
                                },
                                "held_out_loss": abs(epoch - 5.0),
                                **columns,
                            }
                        )
                    )
    return pd.concat(frames, ignore_index=True)


def test_loss_is_what_lies_between_the_best_and_the_kept():
    table = stopping.stopped(made(seeds=1)).query("corruption == 0 and optimizer == 'sgd'").set_index("rule")
    expected = {"auc": 0.05, "none": 0.05, "train_loss": 0.05, "auc_normalized": 0.002, "auc_corrected": 0.006}
    expected |= {"held_out": 0.01}  # its network is so much worse throughout
    assert table["loss"][list(expected)].tolist() == pytest.approx(list(expected.values()))
    assert set(table["best"]) == {5}
    assert table["kept"][["auc", "auc_normalized", "held_out"]].tolist() == [30, 6, 5]
    assert table["ended"][["auc", "auc_normalized", "held_out"]].tolist() == [30, 16, 15]


def test_recommended_is_the_least_mean_loss_of_the_three_areas():
    assert stopping.recommended(stopping.stopped(made())) == "auc_normalized"
    epoch = np.arange(1, 31)
    worse = made(auc_normalized=epoch / 40, train_loss=1 + abs(epoch - 5.0))
    assert stopping.recommended(stopping.stopped(worse)) == "auc_corrected"  # though the training loss loses nothing


def numbers_apart(text):
    """Words, and numbers with the unit of their last digit."""
    found = re.findall(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?", text)
    return re.sub(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?", "#", text), [
        (float(number.replace(",", "")), 10.0 ** -len(number.partition(".")[2])) for number in found
    ]


def assert_same(one, other):
    (words, numbers), (other_words, other_numbers) = numbers_apart(one), numbers_apart(other)
    assert words == other_words
    for (number, unit), (another, _) in zip(numbers, other_numbers, strict=True):
        assert abs(number - another) <= 1.001 * unit


def test_texts_are_compared_by_words_and_rounded_numbers():
    assert_same("a 1.23 [-4, 5,000]", "a 1.24 [-4, 5,000]")
    for other in ("b 1.23 [-4, 5,000]", "a 1.25 [-4, 5,000]", "a 1.23 [-6, 5,000]"):
        with pytest.raises(AssertionError):
            assert_same("a 1.23 [-4, 5,000]", other)


def test_files_are_made_from_the_epochs_alone(tmp_path, monkeypatch):
    made().to_csv(tmp_path / "epochs.csv", index=False)
    about = {"date": "2026-01-01", "hardware": "x", "threads": 1, "torch": "2", "every_epoch": None, "seconds": {}}
    about["every_epoch"] = {"orderings": 20, "points": 21, "images": 500}
    about["seconds"] = {"training": 7200, "of it the AUC": 3600, "training with held-out images": 1800}
    (tmp_path / "about.json").write_text(json.dumps(about))
    (tmp_path / "README.md").write_text(f"# Rules\n\n{stopping.MARK}\nold\n")
    monkeypatch.setattr(sys, "argv", ["stopping.py", "--output", str(tmp_path)])
    stopping.main()
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# Rules\n")
    assert "old" not in text
    assert "**Monitor `ablation/auc_normalized`**" in text
    # Losses of the three seeds are 0.2, 0.3 and 0.4 points in each condition; t of 2 degrees of freedom is 4.303.
    assert "| **auc_normalized** | 0.30 [0.30, 0.30] |  | 0.3 (0 Adam 2,000) |" in text
    assert "12 trainings and as many with a tenth held out: 4 conditions, n = 3 of each." in text
    assert re.search(r"\| 0.5 SGD 2,000 \| 90.0 \| [^|]* \| 0.3 ±0.2 \|", text)
    assert "- **auc**, in 4 of 4: " in text
    assert "- **auc_normalized**, in 0 of 4." in text
    assert len(pd.read_csv(tmp_path / "stopping.csv")) == 12 * len(stopping.RULES)
    assert {file.name for file in tmp_path.glob("*.png")} == {"losses.png", "signals.png"}


def test_committed_result_is_that_of_the_committed_epochs():
    """Up to the last digit shown, which may be rounded otherwise by another machine."""
    table = stopping.stopped(pd.read_csv(RESULT / "epochs.csv"))
    about, text = json.loads((RESULT / "about.json").read_text()), (RESULT / "README.md").read_text()
    assert_same(stopping.page(table, about, text), text)
    committed = pd.read_csv(RESULT / "stopping.csv")
    pd.testing.assert_frame_equal(table, committed, check_exact=False, atol=1e-6)


def test_conditions_count_alike_however_many_seeds_they_have():
    table = stopping.stopped(made())
    fewer = table[(table["seed"] == 2) | (table["corruption"] == 0)]
    losses = stopping.by_condition(fewer, "auc_normalized")
    assert losses.tolist() == pytest.approx([0.003, 0.003, 0.004, 0.004])


def test_runs_with_and_without_held_out_images_become_epochs(tmp_path):
    small = ["experiment=stopping_signals", "data=digits", "data.train_samples=200", "data.test_samples=100"]
    small += ["network.hidden=[16]", "trainer.max_epochs=2", "ablation.orderings=2", "tracking=off", "progress=false"]
    during = [f"+ablation.every_epoch.{setting}" for setting in ("samples=50",)]
    trained = [(0, 0.0), (0, 0.1), (1, 0.0)]  # the second seed lacks the one with held-out images, and is left out
    for seed, held_out in trained:
        own = [f"seed={seed}", f"data.held_out={held_out}"]
        own += ["ablation.every_epoch=null"] if held_out else during
        config = composed([*small, *own])
        execute(config, RunFolder(tmp_path / f"{seed}{held_out}"))
    epochs, about = stopping.read_runs(tmp_path)
    assert epochs[["seed", "held_out", "epoch"]].to_numpy().tolist() == [[0, 0, 1], [0, 0, 2], [0, 0.1, 1], [0, 0.1, 2]]
    assert epochs["auc"].notna().tolist() == epochs["held_out_loss"].isna().tolist() == [True, True, False, False]
    assert epochs["changed_predictions"].notna().tolist() == [False, True, False, True]
    assert about["every_epoch"]["images"] == 50
    with pytest.raises(BadInput, match=r"no run of stopping_signals in .*nowhere is done"):
        stopping.read_runs(tmp_path / "nowhere")
    for folder in tmp_path.glob("00.1"):
        folder.rename(tmp_path.parent / "away")
    with pytest.raises(BadInput, match=r"0 SGD 200 lacks the runs with or without data.held_out=0.1"):
        stopping.read_runs(tmp_path)
