"""Lightning's callbacks that monitor what `AblationAUC` logs, and whether they do what their user will want."""

from collections.abc import Iterator
from math import ceil

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping


def doubtful_monitors(trainer: pl.Trainer, name: str, every_n_epochs: int) -> Iterator[str]:
    """What to set in callbacks that monitor what is logged as `name/...`, but do not do what their user will want."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitored = str(getattr(callback, "monitor", None))
        if not monitored.startswith(f"{name}/"):
            continue
        kind = type(callback).__name__
        if getattr(callback, "mode", "max") == "min" and monitored != f"{name}/auc_std":
            yield f'{kind}: mode="min" takes the lowest {monitored} for the best; set mode="max"'
        if isinstance(callback, EarlyStopping):
            if not callback._check_on_train_epoch_end and not trainer.enable_validation:
                yield (
                    f"{kind}: without a validation loop it never looks at {monitored}, as validation is not to be run "
                    "once after each epoch; set check_on_train_epoch_end=True"
                )
            checks, patience = checks_a_measurement(callback, trainer, every_n_epochs), callback.patience
            if patience < checks or patience % checks:
                yield (
                    f"{kind}: patience={patience} counts checks, but with every_n_epochs={every_n_epochs} there are "
                    f"{checks} checks to a measurement of {monitored}; to wait for {max(1, patience)} measurements, "
                    f"set patience={max(1, patience) * checks}"
                )


def checks_a_measurement(stopper: EarlyStopping, trainer: pl.Trainer, every_n_epochs: int) -> int:
    """How often a stopper looks at one and the same measurement."""
    after_each_epoch = stopper._check_on_train_epoch_end
    return ceil(every_n_epochs / (1 if after_each_epoch else trainer.check_val_every_n_epoch or 1))
