"""Weights & Biases: the only file that knows of it, and imports it only where a run is tracked."""

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning.loggers import Logger

from single_directions.errors import BadInput
from single_directions.runs.folder import write_text

PROJECT = "single-directions"
LINES = 10
"""Epochs that a chart of curves shows, at most."""


@contextmanager
def tracked(config: dict[str, Any], name: str, folder: Path) -> Iterator[Logger | None]:
    """Within it a W&B run is open for the trainer to log to, or none if `tracking` is off.

    The run's group is the experiment, its tags are scale, data and network, its files go to `folder`/wandb; there also
    is the id with which a run that was cut off goes on. The environment's WANDB_MODE wins over the configuration.
    Raises `BadInput` where W&B cannot start, as without a key or a network when online.
    """
    if config["tracking"] is None:
        yield None
        return
    from pytorch_lightning.loggers import WandbLogger

    kinds = [config[part]["_target_"].rpartition(".")[2] for part in ("data", "network")]
    tags = list(dict.fromkeys([config["scale"], *kinds]))
    about = {"group": config["experiment"], "name": name, "tags": tags, "config": config}
    with _opened(folder, "run", config["tracking"]["mode"], config["tracking"]["project"], about) as run:
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        yield WandbLogger(experiment=run, save_dir=folder)


def record(
    logger: Logger | None, summary: dict[str, Any], curve: pd.DataFrame, epoch_curves: pd.DataFrame | None = None
) -> None:
    """Put a run's final numbers into its W&B summary, and its curves into tables, a figure and a line chart.

    Args:
        logger: what `tracked` gave.
        summary: what `summary.json` holds.
        curve: the final one, as `AblationCurve.to_frame` gives it.
        epoch_curves: those of the training, with a column `epoch` before: all of them in a table, orderings averaged;
            in the chart a line an epoch, of `LINES` epochs at most.
    """
    if logger is None:
        return
    import wandb

    shown: dict[str, Any] = {
        "ablation/curve": wandb.Table(dataframe=curve),
        "ablation/figure": wandb.Image(_figure(curve)),
    }
    if epoch_curves is not None:
        means = epoch_curves.drop(columns="ordering").groupby(["epoch", "units_ablated"], as_index=False).mean()
        some = wandb.Table(dataframe=means[means["epoch"].isin(_evenly_spaced(means["epoch"].unique()))])
        shown["ablation/epoch_curves"] = wandb.Table(dataframe=means)
        shown["ablation/curve_by_epoch"] = wandb.plot.line(some, "fraction_ablated", "accuracy", stroke="epoch")
    run: Any = logger.experiment  # type: ignore[attr-defined]
    run.log({"epoch": summary["epochs"], **shown})
    run.summary.update(summary)


def record_experiment(
    experiment: str,
    figures: Mapping[str, Path],
    tables: Mapping[str, pd.DataFrame],
    claims: list[dict[str, Any]],
    folder: Path,
    mode: str = "offline",
    project: str = PROJECT,
) -> None:
    """Put what a report says about an experiment into a W&B run, in the group of the experiment's runs.

    Args:
        experiment: its name.
        figures: image files by name, PNG or another of pixels.
        tables: by name.
        claims: as in `claims.json`: a table of them, and the verdict on each in the W&B summary.
        folder: the report's; W&B's files go to `folder`/wandb. A report made anew goes on in the same W&B run.
        mode: as `tracking.mode`; the environment's WANDB_MODE wins over it.
        project: as `tracking.project`.

    Raises:
        BadInput: W&B cannot start, as without a key or a network when online.
    """
    about = {"group": experiment, "name": f"{experiment}, report", "job_type": "report", "config": {}}
    with _opened(folder, f"report-{experiment}", mode, project, about) as run:
        import wandb

        plain = [{key: _plain(value) for key, value in claim.items()} for claim in claims]
        frames = {**tables, **({"claims": pd.DataFrame(plain)} if claims else {})}
        run.log(
            {f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()}
            | {f"tables/{name}": wandb.Table(dataframe=frame, allow_mixed_types=True) for name, frame in frames.items()}
        )
        run.summary.update(_verdicts(claims))


def _verdicts(claims: list[dict[str, Any]]) -> dict[str, str]:
    """The verdicts by claim and, where there are several sweeps, by what sets these apart."""
    sweeps = [
        "/".join(str(claim.get(key) or "") for key in ("scale", "data", "variant")).strip("/") for claim in claims
    ]
    several = len(set(sweeps)) > 1
    return {
        f"verdict/{claim['id']}{f'/{sweep}' if several else ''}": claim["verdict"]
        for claim, sweep in zip(claims, sweeps, strict=True)
    }


@contextmanager
def _opened(folder: Path, purpose: str, mode: str, project: str, about: dict[str, Any]) -> Iterator[Any]:
    """Within it a W&B run is open: a new one, or the one that was opened for this purpose in this folder before."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or mode
    try:
        run = wandb.init(
            id=_run_id(folder / "wandb" / f"{purpose}.id"),
            resume="allow",  # offline too: `wandb sync` puts the parts of a run together
            dir=folder,
            mode=mode,  # type: ignore[arg-type]
            project=project,
            settings=wandb.Settings(silent=mode != "online", console="off"),
            **about,
        )
    except wandb.Error as error:
        raise BadInput(f"tracking: W&B cannot start ({str(error).splitlines()[0]}): set WANDB_MODE=offline") from error
    try:
        with _staged(folder / "wandb" / "staged"):
            yield run
    finally:
        run.finish(exit_code=int(sys.exc_info()[0] is not None))


@contextmanager
def _staged(folder: Path) -> Iterator[None]:
    """Within it tables wait for their upload in the run's folder, not in the user's home, where they would stay."""
    key = "WANDB_DATA_DIR"
    if key in os.environ:  # the user has named a place
        yield
        return
    os.environ[key] = str(folder.resolve())
    try:
        yield
    finally:
        del os.environ[key]


def _run_id(file: Path) -> str:
    """The id in a file, made where there is none."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, secrets.token_hex(4))
    return file.read_text()


def _figure(curve: pd.DataFrame) -> Any:
    """A curve's mean over orderings; the band is one standard deviation."""
    from matplotlib.figure import Figure  # takes longer to import than a run that is not tracked should wait

    orderings = curve.groupby("fraction_ablated")["accuracy"]
    mean, std = orderings.mean(), orderings.std().fillna(0)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(mean.index, mean)
    axes.fill_between(mean.index, mean - std, mean + std, alpha=0.3)
    axes.set(xlabel="fraction of units ablated", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    return figure


def _evenly_spaced(epochs: Any) -> Any:
    """`LINES` of the epochs, the first and the last among them, or all where there are no more."""
    return epochs[np.linspace(0, len(epochs) - 1, min(len(epochs), LINES)).round().astype(int)]


def _plain(value: Any) -> Any:
    """What a cell of a table can hold."""
    return json.dumps(value) if isinstance(value, list | dict) else value
