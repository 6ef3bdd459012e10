"""The line that shows the progress of a training."""

import io
import re

import pytorch_lightning as pl

from single_directions.training import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Refreshed(pl.Callback):
    """Shows the bar after every step, which it does by itself only twice a second."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(self, *_) -> None:
        self.progress.bar.refresh()


def test_about_ten_lines_where_there_is_no_terminal(data, network, trained):
    stream = io.StringIO()
    trainer = trained(network, data, epochs=40, callbacks=[Progress("one", stream, least_seconds=0)])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    logged = trainer.callback_metrics
    assert lines[-1] == (
        f"one: epoch 40/40, train accuracy {logged['train/accuracy']:.3f} (loss {logged['train/loss']:.3g}), "
        f"test accuracy {logged['test/accuracy']:.3f} (loss {logged['test/loss']:.3g})"
    )


def test_nothing_where_training_is_over_at_once(data, network, trained):
    stream = io.StringIO()
    trained(network, data, epochs=5, callbacks=[Progress("one", stream)])
    assert stream.getvalue() == ""


def test_a_bar_over_all_epochs_on_a_terminal(data, network, trained):
    stream = Terminal()
    progress = Progress("one", stream)
    trained(network, data, epochs=3, callbacks=[progress, Refreshed(progress)])
    assert re.search(r"\rone:   0%\|", stream.getvalue())
    # The first epoch is done after 5 of 15 batches, and its numbers show from the next one on.
    assert re.search(r"\rone:  40%\|.*epoch 1/3, train accuracy 0\.\d{3} \(loss ", stream.getvalue())
    assert progress.bar is None


def test_bar_is_closed_after_an_exception(data, network, trained):
    progress = Progress("one", Terminal())
    try:
        trained(network, data, lr=1e30, callbacks=[progress])
    except ArithmeticError:
        assert progress.bar is None
    else:
        raise AssertionError("training should have diverged")
