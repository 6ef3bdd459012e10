"""Warns of callbacks and learning-rate schedules that monitor what `AblationAUC` logs in a way that cannot be meant."""

from collections.abc import Iterator
from math import ceil, inf, isfinite, lcm
from typing import TYPE_CHECKING, Any

from single_directions.training.frameworks import in_each

if TYPE_CHECKING:
    import pytorch_lightning as pl

EARLY_STOPPING = in_each("callbacks", "EarlyStopping")
MODEL_CHECKPOINT = in_each("callbacks", "ModelCheckpoint")


def doubtful_monitors(trainer: "pl.Trainer", name: str, every_n_epochs: int) -> Iterator[str]:
    """For each callback or schedule that monitors `name/...` in a way that cannot be meant: what to set instead."""
    yield from _doubtful_schedules(trainer, name, every_n_epochs)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitored = str(getattr(callback, "monitor", None))
        if not monitored.startswith(f"{name}/"):
            continue
        kind = type(callback).__name__
        yield from _wrong_mode(kind, getattr(callback, "mode", None), monitored)
        if isinstance(callback, EARLY_STOPPING):
            if not callback._check_on_train_epoch_end and not trainer.enable_validation:
                yield (
                    f"{kind}: without a validation loop it never looks at {monitored}, because validation does not run "
                    "once after each epoch; set check_on_train_epoch_end=True"
                )
            checks, patience = checks_a_measurement(callback, trainer, every_n_epochs), callback.patience
            if monitored == f"{name}/fall":
                epochs = inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
                if callback.divergence_threshold is None or patience < epochs * checks_an_epoch(callback, trainer):
                    yield (
                        f"{kind}: {monitored} is 0 or above, and 0 at first, so it never improves; to stop once it is "
                        f"above 3 set divergence_threshold=3 and patience={10**6}"
                    )
            elif patience < checks or patience % checks:
                waited, several = max(1, patience), checks_an_epoch(callback, trainer) > 1
                often = f" and val_check_interval={trainer.val_check_interval}" if several else ""
                yield (
                    f"{kind}: patience={patience} counts checks, but with every_n_epochs={every_n_epochs}{often} there "
                    f"are {checks} checks to {'an epoch with measurements' if several else 'a measurement'} of "
                    f"{monitored}; to wait for {waited} {'such epochs' if several else 'measurements'}, "
                    f"set patience={waited * checks}"
                )

        if isinstance(callback, MODEL_CHECKPOINT) and monitored == f"{name}/fall" and callback.save_top_k > 0:
            yield (
                f"{kind}: {monitored} is 0 whenever there is no fall, so the first epochs stay the best; monitor "
                f'{name}/auc_corrected with mode="max"'
            )
        elif isinstance(callback, MODEL_CHECKPOINT) and saves_stale_values(callback, trainer, every_n_epochs):
            yield (
                f"{kind}: it saves epochs under a {monitored} that was measured in an earlier one, since with "
                f"every_n_epochs={every_n_epochs} not every epoch that it checks is measured; "
                f"set {kind}(every_n_epochs={every_n_epochs})"
            )


def _doubtful_schedules(trainer: "pl.Trainer", name: str, every_n_epochs: int) -> Iterator[str]:
    for config in trainer.lr_scheduler_configs:
        monitored, kind = str(config.monitor), type(config.scheduler).__name__
        if not config.reduce_on_plateau or not monitored.startswith(f"{name}/"):
            continue
        if monitored == f"{name}/fall":
            yield (
                f"{kind}: {monitored} is 0 whenever there is no fall, so it never improves; monitor "
                f'{name}/auc_corrected with mode="max"'
            )
            continue
        yield from _wrong_mode(kind, getattr(config.scheduler, "mode", None), monitored)
        if config.interval != "epoch" or config.frequency % every_n_epochs:
            yield (
                f"{kind}: it counts {monitored} again where nothing new was measured, with every_n_epochs="
                f'{every_n_epochs}; set "interval": "epoch" and "frequency": {every_n_epochs} beside its "monitor"'
            )


def _wrong_mode(kind: str, mode: str | None, monitored: str) -> Iterator[str]:
    best = "min" if monitored.endswith("/fall") else "max"
    if mode not in (None, best) and not monitored.endswith("_se"):
        lowest = "lowest" if mode == "min" else "highest"
        yield f'{kind}: mode="{mode}" takes the {lowest} {monitored} for the best; set mode="{best}"'


def saves_stale_values(saver: Any, trainer: "pl.Trainer", every_n_epochs: int) -> bool:
    """Whether a `ModelCheckpoint` may save an epoch's weights under a value that an earlier epoch's weights had."""
    if not saver.save_top_k:
        return False
    if saver._every_n_train_steps or saver._train_time_interval is not None:
        return True
    looks = saver._every_n_epochs
    if not saver._should_save_on_train_epoch_end(trainer):
        looks = lcm(looks, trainer.check_val_every_n_epoch or 1)
    # If it looks after every epoch and keeps one checkpoint, a stale value is no improvement, so it saves nothing.
    return looks % every_n_epochs != 0 and not (looks == 1 and saver.save_top_k == 1)


def checks_a_measurement(stopper: Any, trainer: "pl.Trainer", every_n_epochs: int) -> int:
    """How often a stopper looks between one epoch that is measured and the next."""
    between = 1 if stopper._check_on_train_epoch_end else trainer.check_val_every_n_epoch or 1
    return ceil(every_n_epochs / between) * checks_an_epoch(stopper, trainer)


def checks_an_epoch(stopper: Any, trainer: "pl.Trainer") -> int:
    """How often a stopper looks in an epoch: as often as validation runs in it."""
    batches, interval = trainer.num_training_batches, trainer.val_check_batch
    if stopper._check_on_train_epoch_end or not trainer.enable_validation or not interval or not isfinite(batches):
        return 1
    return max(1, int(batches // interval))
