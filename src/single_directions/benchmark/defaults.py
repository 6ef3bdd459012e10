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
from single_directions.benchmark.precision import Spread, areas, mean_spread
from single_directions.data import collate
from single_directions.data.images import Batch
from single_directions.errors import BadInput
from single_directions.runs import build
from single_directions.runs.cli import conf_folder
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
)
LAGS = (1, 2, 5, 10)
"""Epochs between two measurements that a stopper compares."""
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
    """A row a setting: how far off are an AUC and its change over an epoch, and what it costs."""
    return pd.DataFrame([_precision(watches, setting) for setting in SETTINGS])


def _precision(watches: Sequence[Watch], setting: Setting) -> dict[str, Any]:
    orderings, points, images = setting
    row: dict[str, Any] = {"orderings": orderings, "points": points, "images": images}
    epochs = [epoch for watch in watches for epoch in watch.areas]
    for name, fine, coarse in (
        ("AUC", [epoch[FINEST] for epoch in epochs], [epoch[points] for epoch in epochs]),
        ("change", changes(watches, 1, FINEST), changes(watches, 1, points)),
    ):
        row[f"{name} ±"] = mean_spread([Spread.of(one, PORTION) for one in coarse]).error(orderings, images)
        off = [(one - other).mean().item() for one, other in zip(coarse, fine, strict=True)]
        row[f"{name}, by points"] = statistics.fmean(value**2 for value in off) ** 0.5
    cost = statistics.median(cost for watch in watches for cost in watch.costs[setting])
    return {**row, "cost": cost}


def to_be_seen(watches: Sequence[Watch]) -> pd.DataFrame:
    """A row a lag: how large the AUC's changes over so many epochs are, beside what is known of them by default."""
    orderings, points, images = DEFAULT
    rows = []
    for lag in LAGS:
        sizes = torch.stack([change.mean().abs() for change in changes(watches, lag, FINEST)])
        error = mean_spread([Spread.of(change, PORTION) for change in changes(watches, lag, points)])
        of_one = error.error(orderings, images)
        rows.append(
            {
                "epochs apart": lag,
                "median change": sizes.median().item(),
                "change ±": of_one,
                "changes over 2 of it": (sizes > 2 * of_one).double().mean().item(),
            }
        )
    return pd.DataFrame(rows)


def peaks(watches: Sequence[Watch]) -> pd.DataFrame:
    """A row a training: the epoch of the largest AUC, by all orderings and points, and by fewer of them."""
    orderings, points, _ = DEFAULT
    rows: list[dict[str, Any]] = []
    for watch in watches:
        whole = torch.stack([epoch[FINEST].mean() for epoch in watch.areas])
        groups = torch.stack([epoch[points].mean(1) for epoch in watch.areas]).split(orderings, 1)
        found = [int(group.mean(1).argmax()) for group in groups]
        rows.append(
            {
                "training": len(rows) + 1,
                "peak": int(whole.argmax()) + 1,
                f"by {orderings} orderings": ", ".join(str(epoch + 1) for epoch in found),
                "AUC lost by it": max((whole.max() - whole[epoch]).item() for epoch in found),
            }
        )
    return pd.DataFrame(rows)


def observed(folders: Sequence[Path]) -> pd.DataFrame:
    """A row a run that measured its AUC in each epoch: how that changed."""
    rows = []
    for folder in folders:
        try:
            auc = pd.read_csv(folder / "metrics.csv")["ablation/auc"].dropna().to_numpy()
        except (OSError, KeyError) as error:
            raise BadInput(f"{folder} holds no run that measured its AUC in each epoch ({error})") from error
        changes = {f"median change, {lag} apart": float(np.median(np.abs(auc[lag:] - auc[:-lag]))) for lag in (1, 10)}
        fallen = {"peak": int(auc.argmax()) + 1, "fallen since": float(auc.max() - auc[-1])}
        rows.append({"run": folder.name, "epochs": len(auc), **changes, **fallen})
    return pd.DataFrame(rows)


PAGE = """\
# What the defaults of `AblationAUC` rest on

After each epoch `AblationAUC` measures {orderings} orderings at {points} points on {images} images. How well is the AUC
known from them, at what cost, and is that enough to stop by?

*`{command}`: {trainings} trainings, seeds {seeds}, of `{training}`, {epochs} epochs each, the AUC measured after every
epoch by {measured} orderings at {finest} points on all training images. {machine}, torch {torch}, {date}.*

## How precise, at what cost

{precision}

- *AUC ±*: standard error of the AUC if orderings and images were drawn anew. *Change ±*: that of its change from one
  epoch to the next. It is smaller because the callback takes the same orderings and images after every epoch, and it is
  what a stopper looks at. Both are for images drawn from many: where all training images are measured, the choice of
  images adds nothing.
- *By points*: root mean square of what the area at so few points differs from that at {finest}.
- *Cost*: on how many images the same network could have been trained in the time of one measurement, median over epochs
  of {trainings} trainings; *of an epoch*: of MNIST's 60,000 images. It does not depend on how many images there are to
  train on, so that of a small training set is larger.

## What stopping has to see

{to_be_seen}

*Median change*: of the AUC over so many epochs, up or down, by all orderings and points. *Change ±*: as above, by
default. The last column is the share of changes that are larger than twice this.

{peaks}

*Peak*: the epoch of the largest AUC, by all orderings and points; beside it that which disjoint sets of {orderings}
orderings find at {points} points, and how far below its maximum the AUC is at the worst of these.
{observed}"""

OBSERVED = """
Trainings that logged the callback's own AUC, measured by default:

{table}
"""


def page(watches: Sequence[Watch], runs: pd.DataFrame, **about: object) -> str:
    """The document, in Markdown; `about` says how it was made."""
    orderings, points, images = DEFAULT
    table = precision(watches)
    table.insert(len(table.columns), "of an epoch", table["cost"] / MNIST)
    return PAGE.format(
        orderings=orderings,
        points=points,
        images=f"{images:,}",
        finest=FINEST,
        trainings=len(watches),
        epochs=len(watches[0].areas),
        measured=watches[0].orderings,
        precision=markdown(table),
        to_be_seen=markdown(to_be_seen(watches)),
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
    if name in ("of an epoch", "changes over 2 of it"):
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
        if arguments.seeds < 1 or arguments.orderings < 2:
            raise BadInput("--seeds, at least 1, and --orderings, at least 2, are needed")
        runs = observed(arguments.runs)
        configs = [composed([*chosen, f"seed={seed}"], conf_folder()) for seed in seeds]
        if configs[0]["trainer"]["max_epochs"] <= max(LAGS):
            raise BadInput(f"trainer.max_epochs: more than {max(LAGS)} epochs are needed")
        watches = [watched(config, arguments.orderings) for config in configs]
    except BadInput as error:
        sys.exit(str(error))
    text = page(
        watches,
        runs,
        command=shlex.join(["python", "scripts/precision.py", *sys.argv[1:]]),
        training=" ".join(chosen),
        seeds=", ".join(map(str, seeds)),
        machine=f"{torch.get_num_threads()} threads of {_processor()}",
        torch=torch.__version__,
        date=time.strftime("%Y-%m-%d"),
    )
    arguments.output.write_text(text)
    print(text)
