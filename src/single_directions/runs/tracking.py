"""Weights & Biases: the only file that knows of it, and imports it only where a run is tracked."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from single_directions.errors import BadInput


@contextmanager
def tracked(config: dict[str, Any], name: str, folder: Path) -> Iterator[Logger | None]:
    """Within it a W&B run is open for the trainer to log to, or none if `tracking` is off.

    The run's group is the experiment, its files go to `folder`/wandb. The environment's WANDB_MODE wins over the
    configuration. Raises `BadInput` where W&B cannot start, as without a key or a network when online.
    """
    if config["tracking"] is None:
        yield None
        return
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    mode: Any = os.environ.get("WANDB_MODE") or config["tracking"]["mode"]
    # Opened here rather than by the logger, which would change the environment of every later run to offline.
    try:
        run = wandb.init(
            project=config["tracking"]["project"],
            group=config["experiment"],
            name=name,
            dir=folder,
            config=config,
            mode=mode,
            settings=wandb.Settings(silent=mode != "online", console="off"),
        )
    except wandb.Error as error:
        raise BadInput(f"tracking: W&B cannot start ({str(error).splitlines()[0]}): set WANDB_MODE=offline") from error
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    try:
        yield WandbLogger(experiment=run, save_dir=folder)
    finally:
        run.finish(exit_code=int(sys.exc_info()[0] is not None))


def record(logger: Logger | None, summary: dict[str, Any]) -> None:
    """Put a run's final numbers into its W&B summary."""
    if logger is not None:
        logger.experiment.summary.update(summary)  # type: ignore[attr-defined]
