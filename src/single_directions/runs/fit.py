"""The training of a run: Lightning's trainer, which can be interrupted anywhere and continue later."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from single_directions.errors import BadInput, one_line
from single_directions.runs.build import Parts
from single_directions.runs.checkpoint import BetweenCheckpoints, WholeCheckpoints, readable
from single_directions.runs.folder import RunFolder
from single_directions.runs.lease import Lease, UnderLease
from single_directions.runs.messages import in_keys
from single_directions.runs.tracking import LogsAgain
from single_directions.training import Classifier, History, Loaders, Progress, StopAtAccuracy, quiet


@dataclass(frozen=True)
class Training:
    """The result of a training beside the network: its epochs, its device, and the number of devices."""

    history: History
    device: torch.device
    devices: int


class SignOfLife(Callback):
    """Writes into the run's lease how far the training is, and ends the training if the lease is lost."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, at the epoch that a resumed training goes on from."""
        self._start, self._first = perf_counter(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the epoch, and the seconds that the rest will take."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        pace = (perf_counter() - self._start) / (epoch - self._first)
        self.lease.update(epoch=epoch, epochs=epochs, left=round(pace * (epochs - epoch), 1))


def fit(
    config: dict[str, Any], parts: Parts, folder: RunFolder, lease: Lease | None, loggers: Sequence[Logger]
) -> Training:
    """Train `parts.network` in place, from the folder's checkpoint on if there is one.

    A training that a signal ended goes on from its last whole epoch, or an epoch of its last second. Raises
    `NonFiniteLoss` if training diverges, `BadInput` for trainer settings that do not work here, `UnderLease` if the
    lease is lost. Several processes may train together: the first writes, the others have no lease and no loggers.
    """
    history = History(lambda frame: folder.write_frame(folder.metrics, frame))
    # The sign of life comes first: a process that lost its lease raises before it writes.
    callbacks: list[Callback] = [history] if lease is None else [SignOfLife(lease), history]
    callbacks.append(LogsAgain(history, loggers))
    with quiet(), _interruptible():
        checkpoints = WholeCheckpoints()
        trainer = _trainer(config, folder, loggers, callbacks, parts, checkpoints)
        parts = parts.near(trainer.strategy.root_device)
        if config["channels_last"]:
            parts.network.to(memory_format=torch.channels_last)
        if config["compile"] is not None:
            parts.network.compile(backend=config["compile"])  # in place, so that names in checkpoints stay
        classifier = Classifier(
            parts.network, parts.optimizer, parts.scheduler, config["ablation"]["top_k"], config["seed"]
        )
        try:
            with in_keys(config["ablation"]["every_epoch"] or ()):
                trainer.fit(
                    classifier,
                    datamodule=Loaders(parts.data, config["batch_size"], config["seed"]),
                    ckpt_path=readable(folder.checkpoint),
                    weights_only=True,  # nothing in a checkpoint can run code
                )
        except (KeyboardInterrupt, SystemExit):  # by the user, or by a cluster that takes its host back
            with suppress(OSError, UnderLease):
                if lease is not None:
                    lease.check()
                checkpoints.write_held()
            raise
        except MisconfigurationException as error:
            raise BadInput(f"trainer: {one_line(error)}") from error
    if not history.rows:
        raise BadInput("trainer: its settings leave no epoch to train, as trainer.max_steps=0 does")
    parts.network.to(memory_format=torch.contiguous_format)
    if (trainer.current_epoch % config["checkpoint"]["every_n_epochs"]) != 0:
        trainer.save_checkpoint(folder.checkpoint, weights_only=False)
    return Training(history, trainer.strategy.root_device, trainer.world_size)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Restores Ctrl-C afterwards: Lightning leaves it without effect once it has ended a training."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # the only one that may
            signal.signal(signal.SIGINT, handler)


def _trainer(
    config: dict[str, Any],
    folder: RunFolder,
    loggers: Sequence[Logger],
    callbacks: list[Callback],
    parts: Parts,
    checkpoints: WholeCheckpoints,
) -> pl.Trainer:
    # Monitoring callbacks run after the others: the history is whole before the checkpoint takes it along.
    callbacks = list(callbacks)
    if parts.every_epoch is not None:
        callbacks.append(parts.every_epoch)
    if parts.stopper is not None:
        monitored = {key: config["early_stopping"][key] for key in ("monitor", "mode")}
        best = ModelCheckpoint(folder.path, filename=folder.best.stem, enable_version_counter=False, **monitored)
        callbacks += [parts.stopper, best]
    # After the best one, whose score the checkpoint takes along.
    last = ModelCheckpoint(
        folder.path,
        filename=folder.checkpoint.stem,
        every_n_epochs=config["checkpoint"]["every_n_epochs"],
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks += [last, BetweenCheckpoints(folder.checkpoint, config["checkpoint"]["every_n_epochs"])]
    if config["progress"]:
        callbacks.append(Progress(folder.path.name))
    if config["stop_at_train_accuracy"] is not None:
        callbacks.append(StopAtAccuracy(config["stop_at_train_accuracy"]))
    accelerator = "cpu" if config["gpus_per_run"] == 0 else config["trainer"]["accelerator"]
    try:
        return pl.Trainer(
            **{**config["trainer"], "accelerator": accelerator},
            use_distributed_sampler=False,  # the loaders know each process's share
            callbacks=callbacks,
            logger=list(loggers) or False,
            plugins=[checkpoints],
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise BadInput(f"trainer: {one_line(error)}") from error
