"""Training stops when the training set is learnt."""

import copy

from pytorch_lightning.callbacks import ModelCheckpoint

from single_directions.training import History, StopAtAccuracy


def test_ends_with_the_first_epoch_that_reaches_the_accuracy(data, network, trained):
    free, stopped = History(), History()
    trained(copy.deepcopy(network), data, epochs=12, callbacks=[free])
    accuracies = [row["train/accuracy"] for row in free.rows]
    first = accuracies.index(max(accuracies))
    assert first > 0
    trained(network, data, epochs=12, callbacks=[stopped, StopAtAccuracy(max(accuracies))])
    assert stopped.rows == free.rows[: first + 1]


def test_stays_stopped_when_resumed(data, network, trained, tmp_path):
    first, second = History(), History()
    saved = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    trained(copy.deepcopy(network), data, 12, [first, StopAtAccuracy(0.15), saved])
    assert 0 < len(first.rows) < 12
    trained(network, data, 12, [second, StopAtAccuracy(0.15)], checkpoint=saved.best_model_path)
    assert second.rows == first.rows
