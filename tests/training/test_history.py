"""The table of epochs."""

import torch

from single_directions.training import AblationAUC, History


def test_a_row_an_epoch_each_written_at_once(data, network, trained):
    written = []
    history = History(written.append)
    trainer = trained(network, data, epochs=3, callbacks=[history])
    assert [len(frame) for frame in written] == [1, 2, 3]
    assert list(written[-1]["epoch"]) == [1, 2, 3]
    assert set(written[-1].columns) == set(trainer.callback_metrics)
    assert history.rows[-1]["test/loss"] == trainer.callback_metrics["test/loss"].item()
    assert len({row["train/loss"] for row in history.rows}) == 3
    assert history.seconds > 0


def test_rows_survive_a_checkpoint_that_holds_only_data(data, network, trained, tmp_path):
    history = History()
    trained(network, data, callbacks=[history])
    torch.save(history.state_dict(), tmp_path / "state")
    again = History()
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert (again.rows, again.seconds) == (history.rows, history.seconds)


def test_epoch_that_did_not_measure_has_no_auc(network, data, trained):
    """Lightning keeps the last value for stoppers; as a row of its own it would be counted as a measurement."""
    history, measured = History(), AblationAUC(every_n_epochs=2)
    trained(network, data, epochs=5, callbacks=[history, measured])
    rows = history.to_frame()
    assert list(rows["epoch"][rows["ablation/auc"].notna()]) == [epoch + 1 for epoch in measured.curves] == [1, 2, 4]
    assert rows["train/loss"].notna().all()


def test_epoch_without_validation_has_no_losses(network, data, trained):
    history = History()
    trained(network, data, epochs=4, callbacks=[history], check_val_every_n_epoch=2)
    rows = history.to_frame()
    assert list(rows["epoch"]) == [1, 2, 3, 4]
    assert list(rows["epoch"][rows["train/loss"].notna()]) == [2, 4]
    assert list(rows["epoch"][rows["test/accuracy"].notna()]) == [2, 4]
