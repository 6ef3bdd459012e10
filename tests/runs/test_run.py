"""Whole small runs: what they leave, that they can be repeated, and that they survive an interruption."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from cut_off import contents, cut_off
from PIL import Image

from single_directions.ablation import AblationCurve
from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.folder import RunFolder
from single_directions.runs.identity import identity
from single_directions.runs.run import execute
from single_directions.training import Classifier, NonFiniteLoss


@pytest.fixture
def folders(tmp_path):
    """Folders of runs by their names."""
    return lambda name: RunFolder(tmp_path / "runs" / "single" / "demo-digits" / name)


def test_run_leaves_whole_files(settings, folders):
    folder, config = folders("one"), settings("data.corruption=0.5", "ablation.top_k=5")
    summary = execute(config, folder)
    names = ["config.yaml", "curves.csv", "last.ckpt", "metrics.csv", "run.json", "status.json", "summary.json"]
    assert sorted(file.name for file in folder.path.iterdir()) == names
    record = json.loads(folder.record.read_text())
    assert {key: summary[key] for key in record} == record
    assert record["identity"] == identity(config)
    assert folder.state() == "done"
    assert json.loads(folder.summary.read_text()) == summary
    assert folder.read_config() == config
    metrics = pd.read_csv(folder.metrics)
    assert list(metrics["epoch"]) == [1, 2]
    assert "test/accuracy_top5" in metrics


def test_summary_agrees_with_the_tables(settings, folders):
    folder = folders("one")
    summary = execute(settings("data.corruption=1"), folder)
    curve = AblationCurve.from_frame(pd.read_csv(folder.curves))
    last = pd.read_csv(folder.metrics).iloc[-1]
    assert curve.accuracy.shape == (2, 25)  # as many points as there can be
    assert summary["auc"] == pytest.approx(curve.auc.mean().item())
    assert summary["auc_std"] == pytest.approx(curve.auc.std().item())
    assert summary["auc_normalized"] == pytest.approx(curve.auc_normalized.mean().item())
    assert summary["train_accuracy"] == pytest.approx(last["train/accuracy"], rel=1e-14)
    # With nothing ablated the curve is training accuracy, on the labels trained with.
    assert curve.accuracy[:, 0].tolist() == pytest.approx([last["train/accuracy"]] * 2)
    assert summary["generalization_error"] == pytest.approx(last["train/accuracy"] - last["test/accuracy"])
    assert (summary["epochs"], summary["units"], summary["sites"]) == (2, 24, {"relu1": 16, "relu2": 8})
    assert 0 < summary["corrupted"] <= 200
    assert summary["label_hash"] != execute(settings(), folders("two"))["label_hash"]


def test_aucs_of_epochs_are_in_their_table_alone(settings, folders):
    folder = folders("one")
    every = "ablation.every_epoch={every_n_epochs: 3, samples: 50}"
    summary = execute(settings(every), folder)
    measured = pd.read_csv(folder.metrics)["ablation/auc"]
    assert measured.isna().tolist() == [False, True]
    assert not [name for name in summary if name.startswith("ablation_auc")]  # `auc` is the run's


def test_run_with_held_out_images_tells_of_them(settings, folders):
    folder = folders("one")
    config = settings("data.held_out=0.1", "early_stopping=held_out_loss", "early_stopping.patience=1")
    summary = execute(config, folder)
    last = pd.read_csv(folder.metrics).iloc[-1]
    assert (summary["train_images"], summary["held_out_images"]) == (180, 20)
    assert summary["held_out_accuracy"] == pytest.approx(last["held_out/accuracy"], rel=1e-14)
    assert summary["held_out_loss"] == pytest.approx(last["held_out/loss"], rel=1e-14)


def test_same_configuration_gives_the_same_bytes(settings, folders):
    config = settings("network.dropout=0.2", "data.corruption=0.5")
    for name in ("one", "two"):
        execute(config, folders(name))
        torch.rand(5)  # whatever a process did between its runs
    assert contents(folders("one")) == contents(folders("two"))


def test_seeds_change_what_they_should(settings, folders):
    execute(settings(), folders("one"))
    execute(settings("ablation.seed=1"), folders("ablation"))
    execute(settings("seed=1"), folders("seed"))
    one, ablation, seed = (contents(folders(name)) for name in ("one", "ablation", "seed"))
    assert one[0] == ablation[0]
    assert one[1] != ablation[1]
    assert one[0] != seed[0]


def test_run_that_is_done_is_not_run_again(settings, folders):
    folder, config = folders("one"), settings()
    first = execute(config, folder)
    before = folder.metrics.stat().st_mtime_ns
    assert execute(config, folder) == first
    assert folder.metrics.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_run_whose_summary_is_broken_is_measured_again(settings, folders, content):
    folder, config = folders("one"), settings("trainer.max_epochs=3", "checkpoint.every_n_epochs=2")
    execute(config, folder)
    before = contents(folder)
    folder.summary.write_text(content)
    assert execute(config, folder) == folder.read_summary()
    assert contents(folder) == before


def test_folder_of_another_configuration_is_refused(settings, folders):
    folder = folders("one")
    execute(settings(), folder)
    before = contents(folder)
    with pytest.raises(BadInput, match=r"other settings \(seed, trainer.max_epochs\)"):
        execute(settings("seed=1", "trainer.max_epochs=3"), folder)
    assert contents(folder) == before


@pytest.mark.parametrize("every", [1, 2, 10])
@pytest.mark.parametrize("scheduler", ["constant", "cosine", "steps"])
def test_run_that_was_cut_off_ends_like_one_that_was_not(settings, folders, monkeypatch, scheduler, every):
    monkeypatch.setattr("single_directions.runs.checkpoint.PAUSE", 0)
    config = settings(
        "trainer.max_epochs=6",
        "network.dropout=0.3",
        f"scheduler={scheduler}",
        f"checkpoint.every_n_epochs={every}",
        *(["scheduler.milestones=[2,4]"] if scheduler == "steps" else []),
    )
    execute(config, folders("whole"))
    cut = cut_off(config, folders("cut").path)
    assert cut.state() == "cut off"
    assert not cut.summary.exists()
    execute(config, cut)
    assert cut.state() == "done"
    assert contents(cut) == contents(folders("whole"))


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["early_stopping=test_loss", "optimizer=adam"])
def test_run_that_is_cut_off_within_an_epoch_repeats_that_epoch_alone(settings, folders, monkeypatch, signal, kind):
    """What Ctrl-C and a cluster's preemption do; a checkpoint is written less often than that."""
    monkeypatch.setattr("single_directions.runs.checkpoint.PAUSE", 0)
    config = settings(
        "trainer.max_epochs=6", "network.dropout=0.3", "checkpoint.every_n_epochs=5", "batch_size=64", kind
    )
    execute(config, folders("whole"))
    begun = []

    def cut_off(self, batch, batch_index):
        begun.append((self.current_epoch + 1, batch_index))
        if begun[-1] == (4, 2):
            raise signal
        return step(self, batch, batch_index)

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", cut_off)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        execute(config, folders("cut"))
    assert torch.load(folders("cut").checkpoint, weights_only=True)["epoch"] + 1 == 3
    begun.clear()
    monkeypatch.setattr(
        Classifier, "training_step", lambda *given: begun.append(given[0].current_epoch) or step(*given)
    )
    execute(config, folders("cut"))
    assert begun[0] + 1 == 4
    assert contents(folders("cut")) == contents(folders("whole"))


def test_older_epoch_never_replaces_a_newer_checkpoint(settings, folders, monkeypatch):
    monkeypatch.setattr("single_directions.runs.checkpoint.PAUSE", 0)
    config = settings("trainer.max_epochs=6", "checkpoint.every_n_epochs=2")
    cut = cut_off(config, folders("cut").path)  # within the third epoch
    assert torch.load(cut.checkpoint, weights_only=True)["epoch"] + 1 == 2


@pytest.fixture
def photographs(tmp_path):
    """A folder of class folders with random images, to be streamed by workers."""
    noise = np.random.default_rng(0)
    for split, images in (("train", 12), ("val", 4)):
        for kind in ("cat", "dog"):
            (tmp_path / "photographs" / split / kind).mkdir(parents=True)
            for image in range(images):
                pixels = noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photographs" / split / kind / f"{image}.png")
    return tmp_path / "photographs"


def test_augmentation_in_workers_follows_from_the_epoch(settings, folders, photographs):
    streamed = ("data=imagenet", f"data.root={photographs}", "data.image_size=32", "data.workers=2", "network=mlp")
    small = ("network.hidden=[8]", "optimizer.lr=0.01", "tracking=off", "progress=false", "ablation.orderings=2")
    config = settings(
        *streamed, *small, "batch_size=8", "trainer.max_epochs=4", "checkpoint.every_n_epochs=1", quick=False
    )
    execute(config, folders("whole"))
    cut = cut_off(config, folders("cut").path)
    execute(config, cut)
    assert contents(cut) == contents(folders("whole"))


def test_run_cut_off_while_measuring_does_not_train_on(settings, folders):
    config = settings("trainer.max_epochs=40", "stop_at_train_accuracy=0.5", "checkpoint.every_n_epochs=1")
    whole, cut = folders("whole"), folders("cut")
    epochs = execute(config, whole)["epochs"]
    assert 1 < epochs < 40
    execute(config, cut)
    cut.set_state("cut off")
    cut.curves.unlink()
    assert execute(config, cut)["epochs"] == epochs
    assert contents(cut) == contents(whole)


@pytest.mark.parametrize("every", [1, 10])
def test_checkpoint_holds_the_network_that_was_measured(settings, folders, every):
    folder, config = folders("one"), settings(f"checkpoint.every_n_epochs={every}", "trainer.max_epochs=3")
    execute(config, folder)
    weights = torch.load(folder.checkpoint, weights_only=True)["state_dict"]
    network = build(config).network
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    network.eval()
    images = build(config).data.train_plain
    logits = network(torch.stack([images[i][0] for i in range(len(images))]))
    accuracy = (logits.argmax(1) == images.labels).double().mean().item()
    assert accuracy == pytest.approx(pd.read_csv(folder.metrics)["train/accuracy"].iloc[-1])


def test_run_that_diverges_is_marked_failed(settings, folders):
    folder = folders("one")
    with pytest.raises(NonFiniteLoss, match="after epoch 1"):
        execute(settings("optimizer.lr=1e30"), folder)
    status = json.loads(folder.status.read_text())
    assert status["state"] == "failed"
    assert status["error"].startswith("NonFiniteLoss: the training loss is ")
    assert "epoch 1" in status["error"]
    assert "Traceback" in folder.error.read_text()
    assert not folder.summary.exists()
    assert not folder.curves.exists()


def test_run_that_failed_is_tried_again(settings, folders, monkeypatch):
    folder, config = folders("one"), settings()
    monkeypatch.setattr("single_directions.runs.run.ablation_curve", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute(config, folder)
    assert folder.state() == "failed"
    monkeypatch.undo()
    execute(config, folder)
    assert folder.state() == "done"
    assert not folder.error.exists()
    execute(config, folders("two"))
    assert contents(folder) == contents(folders("two"))


def test_bad_input_leaves_nothing_behind(settings, folders):
    with pytest.raises(BadInput):
        execute(settings("ablation.sites=[relu9]"), folders("one"))
    assert not folders("one").path.exists()


def test_threads_are_those_asked_for(settings, folders):
    before = torch.get_num_threads()
    assert execute(settings("threads=2"), folders("one"))["device"]["threads"] == 2
    assert torch.get_num_threads() == before


def test_every_epoch_is_measured_where_it_is_asked_for(settings, folders):
    folder = folders("one")
    summary = execute(settings("ablation.every_epoch={cost: 0.1, samples: 150}", "trainer.max_epochs=3"), folder)
    metrics, table = pd.read_csv(folder.metrics), pd.read_csv(folder.epoch_curves)
    assert list(table["epoch"].unique()) == [1, 2, 3]
    for (_, epoch), row in zip(table.groupby("epoch"), metrics.itertuples(), strict=True):
        curve = AblationCurve.from_frame(epoch)
        assert curve.accuracy.shape == (1, 25)
        assert metrics.loc[row.Index, "ablation/auc"] == pytest.approx(curve.auc.item(), rel=1e-6)
        assert metrics.loc[row.Index, "ablation/accuracy"] == pytest.approx(curve.accuracy[0, 0].item(), rel=1e-6)
        assert 0 < metrics.loc[row.Index, "ablation/auc_se"] < 0.05
        assert metrics.loc[row.Index, "ablation/fall"] >= 0
    assert summary["every_epoch"]["images"] == 150
    assert summary["every_epoch"]["masks"] >= 150
    # Measuring changes nothing: the training is that of a run without it.
    execute(settings("trainer.max_epochs=3"), folders("two"))
    without = pd.read_csv(folders("two").metrics)
    pd.testing.assert_frame_equal(metrics[without.columns], without)
    assert folder.curves.read_bytes() == folders("two").curves.read_bytes()
    assert not folders("two").epoch_curves.exists()


STOPPED = ("early_stopping=auc", "early_stopping.monitor=ablation/auc", "early_stopping.patience=2",
           "ablation.every_epoch={}", "trainer.max_epochs=60")  # fmt: skip
"""By the raw AUC, which rises for some epochs here; the normalized one is largest after the first."""


def test_early_stopping_keeps_the_best_epoch(settings, folders):
    folder = folders("one")
    epochs = execute(settings(*STOPPED), folder)["epochs"]
    auc = pd.read_csv(folder.metrics)["ablation/auc"]
    best = int(auc.argmax()) + 1
    assert epochs == best + 2 < 60  # as many epochs as patience asks for have passed since
    assert torch.load(folder.best, weights_only=True)["epoch"] == best - 1
    # At the end of the last epoch, or after it.
    assert torch.load(folder.checkpoint, weights_only=True)["epoch"] in (epochs - 1, epochs)


def test_training_that_was_stopped_early_ends_the_same_when_it_is_cut_off(settings, folders):
    config = settings(*STOPPED, "checkpoint.every_n_epochs=1")
    whole = folders("whole")
    execute(config, whole)
    cut = cut_off(config, folders("cut").path)
    execute(config, cut)
    assert contents(cut) == contents(whole)
    assert cut.epoch_curves.read_bytes() == whole.epoch_curves.read_bytes()
    # Cut off while the final curve was measured, the training does not go on.
    cut.set_state("cut off")
    cut.curves.unlink()
    execute(config, cut)
    assert contents(cut) == contents(whole)
