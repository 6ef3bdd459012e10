"""What tracks a run: Lightning's loggers. Only this file uses Weights & Biases, and imports it only where needed."""

import json
import logging
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from single_directions.errors import BadInput, first_line, one_line
from single_directions.runs.config import SPLITS, flat
from single_directions.runs.folder import write_text
from single_directions.runs.optimized import known_numbers
from single_directions.training import History

PROJECT = "single-directions"
KEYS = ("project", "entity", "group", "tags", "name", "mode", "loggers")
"""The keys of `tracking`."""
MODES = ("offline", "online", "disabled", "shared")
LINES = 10
"""The most epochs that a figure of curves shows."""
ASIDE = "set_aside"
"""The folder beside W&B's offline runs for parts that a later run repeats."""


def check_tracking(keys: Any) -> None:
    """Raises `BadInput` for unknown keys of `tracking`, and for invalid values."""
    if keys is None:
        return
    if not isinstance(keys, dict):
        raise BadInput(f"tracking must be null or have the keys {', '.join(KEYS)}, not be {keys!r}")
    for key in keys:
        if key not in KEYS:
            raise BadInput(f"tracking.{key} is not a key of tracking: there are {', '.join(KEYS)}")
    for key in ("project", "entity", "group", "name"):
        if keys.get(key) is not None and not isinstance(keys[key], str):
            raise BadInput(f"tracking.{key} must be null or a text, not {keys[key]!r}")
    tags = keys.get("tags")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise BadInput(f"tracking.tags must be null or a list of texts, such as [first,second], not {tags!r}")
    if keys.get("mode") not in (None, *MODES):
        raise BadInput(f"tracking.mode must be null, {', '.join(MODES[:-1])} or {MODES[-1]}, not {keys['mode']!r}")
    loggers = keys.get("loggers") or {}
    if not isinstance(loggers, dict):
        raise BadInput(f"tracking.loggers must have keys, not be {loggers!r}: choose loggers with tracking=[wandb,csv]")
    given = [key for key in keys if keys[key] is not None]
    if given and not loggers:
        raise BadInput(f"tracking.{given[0]} has no effect without a logger: choose one, such as tracking=wandb")
    for name, logger in loggers.items():
        if not isinstance(logger, dict) or not isinstance(logger.get("_target_"), str):
            raise BadInput(f"tracking.loggers.{name} must name a logger of Lightning's as its _target_, not {logger!r}")


@contextmanager
def tracked(config: dict[str, Any], name: str, folder: Path) -> Iterator[list[Logger]]:
    """Within it the loggers that `tracking` names are open; none if `tracking` is null.

    W&B's files go to `folder`/wandb, or $WANDB_DIR/wandb. A run that was cut off goes on as the same run of W&B and
    MLflow. A key of `tracking` wins over the environment's WANDB_*, which wins over the default. Raises `BadInput`
    where a logger cannot start, as online W&B without a key or a network.
    """
    keys = config["tracking"] or {}
    with ExitStack() as opened:
        loggers: list[Logger] = []
        for kind, settings in (keys.get("loggers") or {}).items():
            if settings["_target_"].endswith(".WandbLogger"):
                loggers.append(opened.enter_context(_wandb_logger(config, settings, name, folder)))
            else:
                loggers.append(opened.enter_context(_other_logger(config, kind, settings, name, folder)))
        yield loggers


def log_results(
    config: dict[str, Any],
    loggers: Sequence[Logger],
    summary: dict[str, Any],
    curve: pd.DataFrame,
    epoch_curves: pd.DataFrame | None = None,
) -> None:
    """Give a run's final numbers to its loggers; W&B also gets its curves as tables and figures.

    W&B holds them in its summary, under the names of `summary.json`. A table or a figure logged as an epoch's would
    show as charts of a single point.

    Args:
        config: the run's.
        loggers: what `tracked` gave.
        summary: what `summary.json` holds.
        curve: the final one, as `AblationCurve.to_frame` gives it.
        epoch_curves: those of the training, with a column `epoch` before: all of them in a table, orderings averaged;
            in the figure one line per epoch, of `LINES` epochs at most.
    """
    for logger in loggers:
        if isinstance(logger, ByEpoch):
            numbers = {key: value for key, value in flat(summary).items() if key in known_numbers(config)}
            logger.log_metrics({"epoch": summary["epochs"], **{k: v for k, v in numbers.items() if v is not None}})
        else:
            _record_in_wandb(logger.experiment, summary, curve, epoch_curves)  # type: ignore[attr-defined]


def _record_in_wandb(run: Any, summary: dict[str, Any], curve: pd.DataFrame, epoch_curves: pd.DataFrame | None) -> None:
    import wandb

    shown = {"curves": wandb.Table(dataframe=curve), "curves_figure": wandb.Image(_figure(curve))}
    if epoch_curves is not None:
        means = epoch_curves.drop(columns="ordering").groupby(["epoch", "units_ablated"], as_index=False).mean()
        shown["epoch_curves"] = wandb.Table(dataframe=means)
        shown["epoch_curves_figure"] = wandb.Image(_figure_of_epochs(means))
    run.summary.update({key: value for key, value in summary.items() if key != "settings"} | shown)  # config has them


class LogsAgain(pl.Callback):
    """Logs the epochs before the checkpoint that a training goes on from, to loggers that start again.

    A process that is killed leaves an offline run of W&B with half a record at its end, and `wandb sync` uploads
    nothing after it. So the run starts again, with the same id. Lightning's CSVLogger can only start its table again.
    """

    def __init__(self, history: History, loggers: Sequence[Any]) -> None:
        self.history = history
        self.loggers = [logger for logger in loggers if getattr(logger, "starts_again", False)]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the epochs, which the checkpoint held."""
        for logger in self.loggers:
            for row in self.history.rows:
                if isinstance(logger, ByEpoch):
                    logger.log_metrics(dict(row))
                else:
                    logger.experiment.log(dict(row))
            logger.save()


class ByEpoch(Logger):
    """Lightning's logger, with epochs as steps; it ends with the run, not with the training."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.starts_again = isinstance(logger, CSVLogger)

    @property
    def name(self) -> str | None:
        """The logger's."""
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        """The logger's."""
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        """The logger's."""
        return self.logger.save_dir

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers as those of their epoch."""
        self.logger.log_metrics(dict(metrics), int(metrics.get("epoch", step or 0)))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """As the logger does."""
        self.logger.log_hyperparams(params, *args, **kwargs)

    def save(self) -> None:
        """As the logger does."""
        self.logger.save()


@contextmanager
def _wandb_logger(config: dict[str, Any], settings: dict[str, Any], name: str, folder: Path) -> Iterator[Logger]:
    from pytorch_lightning.loggers import WandbLogger

    keys, environment = config["tracking"], os.environ
    kinds = [config[part]["_target_"].rpartition(".")[2] for part in ("data", "network")]
    tags = [tag.strip() for tag in environment.get("WANDB_TAGS", "").split(",") if tag.strip()]
    about = {
        "name": keys.get("name") or environment.get("WANDB_NAME") or name,
        "group": keys.get("group") or environment.get("WANDB_RUN_GROUP") or config["experiment"],
        "tags": keys.get("tags") or tags or list(dict.fromkeys([config["scale"], *kinds])),
        "entity": keys.get("entity") or environment.get("WANDB_ENTITY"),
        "config": config,
        **{key: value for key, value in settings.items() if key != "_target_"},
    }
    with _opened(folder, "run", about, keys.get("mode"), keys.get("project")) as (run, repeats):
        run.define_metric("epoch")
        # Numbers of epochs have a slash in their names. W&B's summary holds those of the run, as in summary.json.
        for group in (*SPLITS, "ablation"):
            run.define_metric(f"{group}/*", step_metric="epoch", summary="none")
        logger = WandbLogger(experiment=run, save_dir=folder)
        logger.starts_again = repeats  # type: ignore[attr-defined]
        yield logger


@contextmanager
def _other_logger(
    config: dict[str, Any], kind: str, settings: dict[str, Any], name: str, folder: Path
) -> Iterator[ByEpoch]:
    """Any other logger of Lightning's. In its settings, {folder} stands for the run's folder, {name} for its name."""
    name = config["tracking"].get("name") or name
    id_file = folder / f"{kind}.id"
    is_mlflow = settings["_target_"].endswith(".MLFlowLogger")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    known = {"run_id": run_id} if is_mlflow and (run_id := _kept_id(id_file)) else {}
    filled = {
        key: value.replace("{folder}", str(folder)).replace("{name}", name) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    try:
        logger: Logger = instantiate(filled, **known, _convert_="all")
        if isinstance(logger, CSVLogger):
            for written in (ExperimentWriter.NAME_METRICS_FILE, ExperimentWriter.NAME_HPARAMS_FILE):
                Path(logger.log_dir, written).unlink(missing_ok=True)  # of a part that was cut off
        if not known:
            logger.log_hyperparams(config)
        if is_mlflow:
            write_text(id_file, str(logger.version))
    except InstantiationException as error:
        raise BadInput(f"tracking.loggers.{kind}: {one_line(error.__cause__ or error)}") from error
    except Exception as error:  # servers and databases have many types
        raise BadInput(f"tracking.loggers.{kind}: {first_line(error)}") from error
    status = "failed"
    try:
        yield ByEpoch(logger)
        status = "success"
    finally:
        logger.finalize(status)


def record_experiment(
    experiment: str,
    figures: Mapping[str, Path],
    tables: Mapping[str, pd.DataFrame],
    claims: list[dict[str, Any]],
    folder: Path,
) -> None:
    """Put what a report says about an experiment into a W&B run, in the group of the experiment's runs.

    Args:
        experiment: its name.
        figures: image files by name, PNG or another of pixels.
        tables: by name.
        claims: as in `claims.json`: a table of them, and the verdict on each in the W&B summary.
        folder: the report's; W&B's files go to `folder`/wandb. A report made again goes on in the same W&B run.

    Raises:
        BadInput: W&B cannot start, as without a key or a network when online.
    """
    about = {"group": experiment, "name": f"{experiment}, report", "job_type": "report", "config": {}}
    with _opened(folder, f"report-{experiment}", about) as (run, _):
        import wandb

        cells = pd.DataFrame(claims).map(lambda value: json.dumps(value) if isinstance(value, list | dict) else value)
        frames = {**tables, **({"claims": cells} if claims else {})}
        run.summary.update(
            {f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()}
            | {f"tables/{name}": wandb.Table(dataframe=frame, allow_mixed_types=True) for name, frame in frames.items()}
            | _verdicts(claims)
        )


def _verdicts(claims: list[dict[str, Any]]) -> dict[str, str]:
    """The verdicts by claim and, where there are several sweeps, by scale, data and variant."""
    sweeps = [
        "/".join(str(claim.get(key) or "") for key in ("scale", "data", "variant")).strip("/") for claim in claims
    ]
    several = len(set(sweeps)) > 1
    return {
        f"verdict/{claim['id']}{f'/{sweep}' if several else ''}": claim["verdict"]
        for claim, sweep in zip(claims, sweeps, strict=True)
    }


@contextmanager
def _opened(
    folder: Path, purpose: str, about: dict[str, Any], mode: str | None = None, project: str | None = None
) -> Iterator[tuple[Any, bool]]:
    """Within it a W&B run is open: a new one, or the one opened before in this folder for this purpose.

    The second value says whether everything that was logged before must be logged again.
    """
    import wandb
    from pydantic import ValidationError

    in_sweep = "WANDB_SWEEP_ID" in os.environ  # `wandb agent` sets it, and the run's id
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if in_sweep else "offline")
    place = Path(os.environ.get("WANDB_DIR") or folder)
    id_file = folder / "wandb" / f"{purpose}.id"
    given = os.environ.get("WANDB_RUN_ID") if purpose == "run" else None
    run_id = given or _kept_id(id_file) or secrets.token_hex(4)
    earlier = _not_uploaded(place / "wandb", run_id)
    _check_writable(place)
    try:
        run = wandb.init(
            id=run_id,
            resume="allow",
            dir=place,
            mode=mode,  # type: ignore[arg-type]
            project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
            settings=wandb.Settings(silent=mode != "online", console="off"),
            **about,
        )
    except TypeError as error:
        raise BadInput(f"tracking.loggers.wandb: {one_line(error)}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise BadInput(
            f"tracking: W&B refuses {wrong}; change it in tracking, or in the environment's WANDB_*"
        ) from error
    except wandb.Error as error:
        raise BadInput(f"tracking: W&B cannot start ({one_line(error)}): set WANDB_MODE=offline") from error
    try:
        id_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(id_file, run_id)  # only now: W&B refuses some ids
        _set_aside(earlier)
        with _staged(folder / "wandb" / "staged"):
            yield run, bool(earlier)
    finally:
        run.finish(exit_code=int(sys.exc_info()[0] is not None))


def _check_writable(place: Path) -> None:
    """Raises `BadInput` where W&B cannot write. It would silently write to the system's temporary folder."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        if os.access(place, os.W_OK):
            return
        reason = "permission denied"
    except OSError as error:
        reason = one_line(error)
    raise BadInput(f"{place} cannot be written by W&B ({reason}): set WANDB_DIR to another folder")


def _not_uploaded(place: Path, run_id: str) -> list[Path]:
    """The offline parts of a run that were not uploaded."""
    return [part for part in place.glob(f"offline-run-*-{run_id}") if not list(part.glob("*.wandb.synced"))]


def _set_aside(parts: Sequence[Path]) -> None:
    """Move away parts that the next one repeats: `wandb sync` uploads nothing after a part whose process was killed."""
    for part in parts:
        (part.parent / ASIDE).mkdir(exist_ok=True)
        part.rename(part.parent / ASIDE / part.name)


@contextmanager
def _staged(folder: Path) -> Iterator[None]:
    """Within it W&B keeps tables for upload in the run's folder, not in the user's home, where they would stay."""
    key = "WANDB_DATA_DIR"
    if key in os.environ:  # the user has named a place
        yield
        return
    os.environ[key] = str(folder.resolve())
    try:
        yield
    finally:
        del os.environ[key]


def _kept_id(file: Path) -> str:
    """The id in a file; "" where there is none."""
    return file.read_text().strip() if file.exists() else ""


def _figure(curve: pd.DataFrame) -> Any:
    """A curve's mean over orderings; the band is one standard deviation."""
    from matplotlib.figure import Figure  # slow to import, and not needed by runs without tracking

    orderings = curve.groupby("fraction_ablated")["accuracy"]
    mean, std = orderings.mean(), orderings.std().fillna(0)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(mean.index, mean)
    axes.fill_between(mean.index, mean - std, mean + std, alpha=0.3)
    axes.set(xlabel="fraction of units ablated", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    return figure


def _figure_of_epochs(means: pd.DataFrame) -> Any:
    """A line for each of `LINES` epochs' curves, the first and the last among them, the later the darker."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    epochs = means["epoch"].unique()
    epochs = epochs[np.linspace(0, len(epochs) - 1, min(len(epochs), LINES)).round().astype(int)]
    for place, epoch in enumerate(epochs):
        one = means[means["epoch"] == epoch]
        colour = colormaps["viridis_r"]((place + 1) / len(epochs))
        axes.plot(one["fraction_ablated"], one["accuracy"], color=colour, label=f"epoch {epoch}")
    axes.set(xlabel="fraction of units ablated", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    return figure
