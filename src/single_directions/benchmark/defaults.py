"""What the defaults of `AblationAUC` rest on: their precision and cost, beside the changes that stopping has to see."""

import argparse
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from single_directions.ablation import ablation_curve
from single_directions.benchmark.clock import timed
from single_directions.benchmark.precision import Spread, areas
from single_directions.data import collate
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.runs.build import build
from single_directions.runs.config import conf_folder
from single_directions.runs.target import composed
from single_directions.training import Classifier, Loaders, quiet
from single_directions.training.ablation_auc import ORDERINGS, POINTS, SAMPLES

Setting = tuple[int, int, int]
"""Orderings, points, images."""
DEFAULT: Setting = (ORDERINGS, POINTS, SAMPLES)
FINEST = 101
SETTINGS: tuple[Setting, ...] = (
    *((orderings, POINTS, SAMPLES) for orderings in (1, 2, 5, 10, 20)),
    *((ORDERINGS, points, SAMPLES) for points in (6, 11, 51, FINEST)),
    *((ORDERINGS, POINTS, images) for images in (250, 500, 1000, 5000, 10000)),
    *((ORDERINGS * times, POINTS, SAMPLES // times) for times in (2, 4)),  # for about what the default costs
)
LAGS = (1, 10)
"""Epochs from a measurement to another that a stopper compares with it: with no patience, and with some."""
PORTION = 100
"""Images measured together; each portion stands for as many drawn anew."""
TIMED_EVERY = 5
"""Epochs from one timing of all settings to the next."""
MNIST = 60_000
TRAINING = ("experiment=early_stopping", "scale=paper", "network.hidden=[512,512]", "data.train_samples=2000")


class Watch(pl.Callback):
    """Measures each epoch more finely than `AblationAUC` does by default, and times the settings.

    Attributes:
        areas: of each epoch, for each number of points, the AUC (orderings, portions).
        costs: of each setting, on how many images could have been trained in the time it takes.
    """

    def __init__(self, images: Batch, orderings: int) -> None:
        self.images, self.orderings = images, orderings
        self.areas: list[dict[int, Tensor]] = []
        self.costs: dict[Setting, list[float]] = {setting: [] for setting in SETTINGS}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures."""
        an_image = (time.perf_counter() - self._start) / len(self.images[1])
        network: Any = pl_module.network
        self.areas.append(areas(network, self.images, self.orderings, (6, 11, 21, 51, FINEST), PORTION))
        if trainer.current_epoch % TIMED_EVERY == TIMED_EVERY - 1:
            for setting, costs in self.costs.items():
                costs.append(self._seconds(network, setting) / an_image)

    def _seconds(self, network: Any, setting: Setting) -> float:
        orderings, points, images = setting
        taken = torch.arange(images) % len(self.images[1])  # which ones makes no difference to the time
        batch = tuple(tensor[taken] for tensor in self.images)
        return timed(lambda: ablation_curve(network, [batch], orderings=orderings, points=points))


def watched(config: dict[str, Any], orderings: int) -> Watch:
    """Train as a configuration says, on the CPU, and watch it."""
    parts = build(config)
    train = parts.data.train_plain
    watch = Watch(collate([train[i] for i in range(len(train))]), orderings)
    with quiet():
        trainer = pl.Trainer(
            max_epochs=config["trainer"]["max_epochs"],
            accelerator="cpu",
            callbacks=[watch],
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        classifier = Classifier(parts.network, parts.optimizer, parts.scheduler, seed=config["seed"])
        trainer.fit(classifier, datamodule=Loaders(parts.data, config["batch_size"], config["seed"]))
    return watch


def changes(watches: Sequence[Watch], lag: int, points: int) -> list[Tensor]:
    """How the AUCs (orderings, portions) change over so many epochs."""
    return [
        later[points] - earlier[points]
        for watch in watches
        for earlier, later in zip(watch.areas, watch.areas[lag:], strict=False)
    ]


def precision(watches: Sequence[Watch]) -> pd.DataFrame:
    """A row a setting: the error of an AUC and of its changes, how many changes it sees, and what it costs.

    What it sees is NaN for as many orderings as the changes are known from, or more: noise alone would pass for them.
    """
    return pd.DataFrame([_precision(watches, setting) for setting in SETTINGS])


def _precision(watches: Sequence[Watch], setting: Setting) -> dict[str, Any]:
    orderings, points, images = setting
    epochs = [epoch for watch in watches for epoch in watch.areas]
    by_points = torch.stack([epoch[points].mean() - epoch[FINEST].mean() for epoch in epochs])
    row: dict[str, Any] = dict(zip(("orderings", "points", "images"), setting, strict=True))
    row["AUC ±"] = statistics.median(Spread.of(epoch[points], PORTION).error(orderings, images) for epoch in epochs)
    row["by points"] = by_points.square().mean().sqrt().item()
    for lag in LAGS:
        errors = [Spread.of(change, PORTION).error(orderings, images) for change in changes(watches, lag, points)]
        row[f"change in {lag} ±"] = statistics.median(errors)
        sizes = [abs(change.mean().item()) for change in changes(watches, lag, FINEST)]
        seen = statistics.fmean(size > 2 * error for size, error in zip(sizes, errors, strict=True))
        row[f"seen in {lag}"] = seen if orderings < watches[0].orderings else float("nan")
    row["cost"] = statistics.median(cost for watch in watches for cost in watch.costs[setting])
    row["of an epoch"] = row["cost"] / MNIST
    return row


def sizes(watches: Sequence[Watch]) -> pd.DataFrame:
    """A row a part of the trainings: how much the AUC changes, by all orderings and points."""
    half = len(watches[0].areas) // 2
    rows = []
    for name, part in (("first half", slice(0, half)), ("second half", slice(half, None))):
        means = [torch.stack([epoch[FINEST].mean() for epoch in watch.areas[part]]) for watch in watches]
        by_lag = {lag: torch.cat([(mean[lag:] - mean[:-lag]).abs() for mean in means]) for lag in LAGS}
        rows.append({"epochs": name, **{f"change in {lag}": by_lag[lag].median().item() for lag in LAGS}})
    return pd.DataFrame(rows)


def peaks(watches: Sequence[Watch]) -> pd.DataFrame:
    """A row a training: the epoch of the largest AUC, by all orderings and points, and by fewer of them."""
    orderings, points, _ = DEFAULT
    rows: list[dict[str, Any]] = []
    for watch in watches:
        whole = torch.stack([epoch[FINEST].mean() for epoch in watch.areas])
        groups = torch.stack([epoch[points].mean(1) for epoch in watch.areas]).split(orderings, 1)
        found = [int(group.mean(1).argmax()) for group in groups if group.shape[1] == orderings]
        rows.append(
            {
                "training": len(rows) + 1,
                "peak": int(whole.argmax()) + 1,
                f"by {orderings} orderings": ", ".join(str(epoch + 1) for epoch in found),
                "AUC lost by it": max((whole.max() - whole[epoch]).item() for epoch in found),
            }
        )
    return pd.DataFrame(rows)


def turned(watches: Sequence[Watch]) -> str:
    """Whether the AUC turns down in the trainings, and what can be said of stopping by it."""
    found, epochs = list(peaks(watches)["peak"]), len(watches[0].areas)
    down = sum(peak <= 0.9 * epochs for peak in found)
    if not down:
        return (
            "**In these trainings the AUC never turns down**: it is largest in the last tenth of the epochs. What is\n"
            "shown is how well its rise is resolved, not that stopping by it finds a peak."
        )
    return f"In {down} of {len(found)} trainings the AUC is largest before the last tenth of the epochs."


def observed(folders: Sequence[Path]) -> pd.DataFrame:
    """A row a run that measured its AUC during training: how that changed from an epoch to those measured later."""
    rows = []
    for folder in folders:
        try:
            table = pd.read_csv(folder / "metrics.csv").set_index("epoch")
            auc = table["ablation/auc"].dropna()
        except (OSError, KeyError) as error:
            raise BadInput(f"{folder} holds no run that measured its AUC during training ({error})") from error
        later = {lag: auc.reindex(auc.index + lag).to_numpy() for lag in LAGS}
        changes = {f"change in {lag}": float((auc - later[lag]).abs().median()) for lag in LAGS}
        fallen = {"peak": int(auc.index.to_numpy()[auc.argmax()]), "fallen since": float(auc.max() - auc.iloc[-1])}
        rows.append({"run": folder.name, "epochs": int(table.index.max()), **changes, **fallen})
    return pd.DataFrame(rows)


PAGE = """\
# What the defaults of `AblationAUC` rest on

After each epoch `AblationAUC` measures {orderings} orderings at {points} points on {images} images.
How well is the AUC known from them, at what cost, and is that enough to stop by?

*`{command}`: trainings of `{training}` with seeds {seeds}, {epochs} epochs
each, the AUC measured after every epoch by {measured} orderings at {finest} points on all training images. {machine},
torch {torch}, {date}.*

## How precise, at what cost

{precision}

- *AUC ±*: standard error of the AUC if orderings and images were drawn anew, median over epochs; *by points*: root mean
  square of what the area at so few points differs from that at {finest}.
- *Change in 1 ±*, *in 10 ±*: standard error of the change over so many epochs. It is smaller than that of the AUC since
  the callback takes the same orderings and images after every epoch; it is what a stopper looks at. Images count as
  drawn from many: where all training images are measured, their choice adds nothing.
- *Seen in 1*, *in 10*: of the changes over so many epochs, how many are larger than twice their standard error. How
  large they are is known from {measured} orderings: left out in rows of as many or more, where noise alone would pass.
- *Cost*: on how many images the same network could have been trained in the time of one measurement, median over
  epochs; *of an epoch*: of MNIST's 60,000 images. It does not depend on how many images there are to train on.

## What stopping has to see

{sizes}

The median size of the AUC's changes over 1 and 10 epochs, by all orderings and points. By default {seen} epochs
are seen, of both halves together. The early rise is what is seen best: compare the rows with what has to be exceeded,
{errors} (medians of all epochs). A stopper needs the patience to wait that long.

{turned}

The epoch of the largest AUC, by all orderings and points; by each {orderings} of the orderings at {points} points; and
how far below the largest the AUC is at the worst of these:

{peaks}
{observed}"""

OBSERVED = """
In runs that measured with the defaults, or what their configuration says:

{table}
"""


def page(watches: Sequence[Watch], runs: pd.DataFrame, **about: object) -> str:
    """The document, in Markdown; `about` says how it was made."""
    orderings, points, images = DEFAULT
    table = precision(watches)
    default = table.set_index(["orderings", "points", "images"]).loc[[DEFAULT]].iloc[0]
    return PAGE.format(
        orderings=orderings,
        points=points,
        images=f"{images:,}",
        finest=FINEST,
        epochs=len(watches[0].areas),
        measured=watches[0].orderings,
        precision=markdown(table),
        seen=" and ".join(f"{_cell('seen', default[f'seen in {lag}'])} of those over {lag}" for lag in LAGS),
        errors=" and ".join(f"twice {default[f'change in {lag} ±']:.2g} over {lag}" for lag in LAGS),
        turned=turned(watches),
        sizes=markdown(sizes(watches)),
        peaks=markdown(peaks(watches)),
        observed=OBSERVED.format(table=markdown(runs)) if len(runs) else "",
        **about,
    )


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; numbers with two significant digits, shares in percent."""
    lines = [list(table.columns), ["---"] * len(table.columns)]
    lines += [[_cell(name, value) for name, value in row.items()] for row in table.to_dict("records")]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(name: object, value: Any) -> str:
    if isinstance(value, float) and np.isnan(value):
        return ""
    if name == "of an epoch" or str(name).startswith("seen"):
        return f"{100 * value:.2g} %"
    if name == "cost":
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        names = re.findall("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def defaults() -> None:
    """Train, measure, and write the document."""
    parser = argparse.ArgumentParser(description="Writes what the defaults of AblationAUC rest on: precision and cost.")
    parser.add_argument("overrides", nargs="*", help=f"of the configuration, after {' '.join(TRAINING)}")
    parser.add_argument("--seeds", type=int, default=2, help="so many trainings")
    parser.add_argument("--orderings", type=int, default=10, help="by which each epoch is measured")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="folders of runs to show the changes of, too")
    parser.add_argument("--output", type=Path, default=Path("docs/defaults.md"))
    arguments = parser.parse_args()
    chosen = [*TRAINING, *arguments.overrides]
    seeds = range(arguments.seeds)
    try:
        if arguments.seeds < 1 or arguments.orderings <= ORDERINGS:
            raise BadInput(f"--seeds, at least 1, and --orderings, above {ORDERINGS}, are needed")
        observed(arguments.runs)  # what is wrong with them is told before the trainings
        configs = [composed([*chosen, f"seed={seed}"], conf_folder()) for seed in seeds]
        if configs[0]["trainer"]["max_epochs"] < 3 * max(LAGS):
            raise BadInput(f"trainer.max_epochs: at least {3 * max(LAGS)} epochs are needed")
        watches = [watched(config, arguments.orderings) for config in configs]
    except BadInput as error:
        sys.exit(str(error))
    text = page(
        watches,
        observed(arguments.runs),
        command=shlex.join(["python", "scripts/precision.py", *sys.argv[1:]]),
        training=" ".join(chosen),
        seeds=", ".join(map(str, seeds)),
        machine=f"{_processor()}, threads: {torch.get_num_threads()}",
        torch=torch.__version__,
        date=time.strftime("%Y-%m-%d"),
    )
    arguments.output.write_text(text)
    print(text)
