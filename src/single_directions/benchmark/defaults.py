"""The document that says what the defaults of `AblationAUC` rest on, and the command that measures and writes it."""

import argparse
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from single_directions.benchmark.measured import PATIENCES, Measured
from single_directions.benchmark.resolution import (
    AFTER,
    BUDGET,
    FEWEST,
    KEYS,
    NEEDED,
    PATIENCE,
    RESOLVED,
    TIMES,
    choice,
    falls,
    peaks,
    precision,
    seen,
    sizes,
    turned,
)
from single_directions.benchmark.watch import FINEST, OF_THE_GRID, PORTION, TRAINING, Setting, watched
from single_directions.errors import BadInput
from single_directions.report.claims.early_stopping import TURNED
from single_directions.runs.folder import write_text

DEFAULT: Setting = (20, 21, 500)

PAGE = """\
# What the defaults of `AblationAUC` rest on

After each epoch `AblationAUC` measures {default}.
How well is the AUC known from them, at what cost, and is that enough to stop by?

*`{command}`, {date}, {hardware}, threads: {threads}, torch {torch}: n = {n} trainings of
`{training}`, the AUC measured after each epoch by {orderings} orderings
at {finest} points on {images} of the training images. They are among those of the grid in which it turned down in 100
epochs, and go on here for 25 epochs after the peak that it had there. Every number below comes from
[defaults.csv](defaults.csv) and [defaults.json](defaults.json), which the command writes too.*

{trainings}

## How precise, at what cost

{precision}

- *AUC ±*: standard error of the AUC if orderings and images were drawn anew, median over epochs; *by points*: root mean
  square of what the area at so few points differs from that at {finest}.
- *Rise in 10 ±*, *fall in 10 ±*: standard error of the AUC's change over 10 epochs, median over those before and after
  the peak; *{after} ±*: that of the change from the peak to {patience} epochs later, median over trainings. Errors of
  changes are smaller than that of the AUC since the callback takes the same orderings and images after every epoch;
  they are what a stopper looks at. Images count as drawn from many: where all training images are measured, their
  choice adds nothing.
- *Cost*: on how many images the same network could have been trained in the time that one measurement takes of the CPU,
  median over trainings; *of an epoch*: of MNIST's 60,000 images. It does not depend on how many there are to train on.

**The choice**: of the settings above that cost at most {budget} of an epoch and take at least {fewest} images, as the
accuracy on them is logged too, the one with the least error of the change from the peak to {patience} epochs later.
This is {choice}{is_default}. (Figure 3's runs in [results](results/README.md) were
measured during training by 5 orderings at 21 points on 2,000 images, the default before.)

## Which changes it resolves

A change is seen if it is larger than twice its standard error; a kind of change is resolved if {resolved} of its
changes are seen. Changes over 1, 5 and 10 epochs up to the peak, after it, and from the peak to 5, 10 and 20 epochs
later, where a stopper of this patience decides:

{sizes}

*Size*: median, by all orderings, points and images; *known ±*: the error of that. Of these changes are seen:

{seen}

(Left out are more than half as many orderings as the changes are known from, where noise alone would pass for them.)

{verdict}

{downturns}

## Where a stopper stops

How far the AUC falls after its peak, by all that was measured; by how many orderings, at as many points and on as many
images as by default, the fall {patience} epochs later would be larger than twice its error; and after how many epochs
it stays so by default. (The peak is the largest of noisy values too, so these falls are rather too large.)

{falls}

{needed}

Stock `EarlyStopping` keeps the epoch of the largest AUC so far and ends training once `patience` epochs have brought no
larger one. Which epoch it keeps, by all that was measured and by each part of it that is as large as the default; and
how far, by all, the AUC of what these keep lies below that of what all keep (below 0: above it), mean and worst:

{stops}

{lost}
"""


def page(measured: Measured) -> str:
    """The document, in Markdown."""
    about = measured.about
    table, shares, fallen = precision(measured), seen(measured), falls(measured, DEFAULT)
    best = choice(measured)
    trainings = [name.removeprefix(about["training"]).strip() for name in about["trainings"]]
    return PAGE.format(
        **{name: about[name] for name in ("command", "date", "hardware", "threads", "torch", "training", "orderings")},
        n=len(trainings),
        trainings="\n".join(f"{number}. `{name}`" for number, name in enumerate(trainings, 1)),
        images=f"{about['images']:,}",
        finest=FINEST,
        default=_setting(DEFAULT),
        patience=PATIENCE,
        after=AFTER,
        budget=f"{100 * BUDGET:g} %",
        fewest=FEWEST,
        resolved=f"{100 * RESOLVED:g} %",
        choice=_setting(best),
        is_default=", the default" if best == DEFAULT else f"; the default is {_setting(DEFAULT)}",
        precision=markdown(table),
        sizes=markdown(sizes(measured)),
        seen=markdown(shares),
        verdict=_verdict(shares),
        downturns=_downturns(measured, table),
        falls=markdown(fallen),
        needed=_needed(fallen, len(trainings)),
        stops=markdown(_stops(measured)),
        lost=_lost(measured),
    )


def _setting(setting: Setting) -> str:
    orderings, points, images = setting
    return f"{orderings} orderings at {points} points on {images:,} images"


def _verdict(shares: pd.DataFrame) -> str:
    """Which kinds of changes the default resolves."""
    [row] = [row for row in shares.to_dict("records") if tuple(row[key] for key in KEYS) == DEFAULT]

    def told(held: bool) -> str:
        kinds = {str(name): share for name, share in row.items() if name not in KEYS}
        return ", ".join(f"{kind} ({_cell(kind, kinds[kind])})" for kind in kinds if (kinds[kind] >= RESOLVED) is held)

    return f"**By default resolved**: {told(True) or 'nothing'}. **Not resolved**: {told(False) or 'nothing'}."


def _downturns(measured: Measured, table: pd.DataFrame) -> str:
    """Whether the default sees what counts as a downturn where Figure 3's claims are judged."""
    series = {number: measured.auc(number, FINEST) for number in peaks(measured)}
    rises = {number: series[number][peak] - series[number].iloc[0] for number, peak in peaks(measured).items()}
    turned_down = [
        number
        for number, peak in peaks(measured).items()
        if series[number][peak] - series[number].iloc[-1] > TURNED * rises[number]
    ]
    [row] = [row for row in table.to_dict("records") if tuple(row[key] for key in KEYS) == DEFAULT]
    least, counts = TIMES * row[f"{AFTER} ±"], [TURNED * rise for rise in rises.values()]
    which = f" (training {', '.join(map(str, turned_down))})" if turned_down else ""
    return (
        f"**A downturn**: from the first epoch to its peak the AUC rises by {min(rises.values()):.2g} to "
        f"{max(rises.values()):.2g}. Where Figure 3's claims are judged it turns down if it ends lower than its peak "
        f"by {100 * TURNED:g} % of that, here {min(counts):.2g} to {max(counts):.2g}. By all that was measured it does "
        f"in {len(turned_down)} of the {len(rises)}{which}. By default a fall from the peak to {PATIENCE} epochs later "
        f"is seen where it is larger than {least:.2g}, so {'every' if least < min(counts) else 'not every'} downturn "
        "of that size."
    )


def _needed(fallen: pd.DataFrame, trainings: int) -> str:
    """What stopping needs."""
    waits, orderings = (list(fallen[column].dropna()) for column in ("seen for good after", NEEDED))
    said = [f"**What stopping needs**: in {len(fallen)} of {trainings} trainings the AUC turns down as measured here."]
    if len(waits):
        said.append(f"In {len(waits)} the fall is seen for good after {_span(waits)} epochs by default.")
    if len(waits) < len(fallen):
        said.append(f"In {len(fallen) - len(waits)} it is not seen for good within the epochs measured.")
    if orderings:
        where = "" if len(orderings) == len(fallen) else f", in {len(orderings)} where it can be"
        needed = f"takes {_span(orderings)} orderings on {DEFAULT[2]:,} images"
        said.append(f"To see it {PATIENCE} epochs after the peak {needed}{where}.")
    return " ".join(said)


def _stops(measured: Measured) -> pd.DataFrame:
    """A row a training and patience."""
    down = turned(measured)
    return pd.DataFrame(
        {
            "training": stop["training"],
            "patience": stop["patience"],
            "kept": stop["kept"],
            "by each part": _span(stop["kept_by_each"]),
            "ended": stop["ended"],
            "by each": _span(stop["ended_by_each"]),
            "AUC lost": float(np.mean(stop["lost"])),
            "at worst": max(stop["lost"]),
        }
        for stop in measured.stops
        if stop["training"] in down
    )


def _span(numbers: Sequence[float]) -> str:
    """Whole numbers, from the least to the largest."""
    low, high = min(numbers), max(numbers)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _lost(measured: Measured) -> str:
    """What measuring no more than by default loses."""
    down = turned(measured)
    said = []
    for patience in PATIENCES:
        stops = [stop for stop in measured.stops if stop["patience"] == patience and stop["training"] in down]
        lost = float(np.mean([loss for stop in stops for loss in stop["lost"]]))
        said.append(f"{lost:.2g} with patience {patience}")
    return f"To measuring no more than by default, in the mean, of the AUC is lost: {', '.join(said)}."


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; numbers with two significant digits, shares in percent."""
    lines = [list(table.columns), ["---"] * len(table.columns)]
    lines += [[_cell(name, value) for name, value in row.items()] for row in table.to_dict("records")]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(name: object, value: Any) -> str:
    if isinstance(value, float) and np.isnan(value):
        return ""
    if name == "of an epoch" or (str(name).startswith(("rise", "fall in", "peak to")) and "±" not in str(name)):
        return f"{float(f'{100 * value:.2g}'):g} %"
    if name == "AUC":
        return f"{value:.3f}"
    if name in (NEEDED, "seen for good after"):
        return f"{value:,.0f}"
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
    """Train, measure, and write the document and what it is made of."""
    parser = argparse.ArgumentParser(description="Writes what the defaults of AblationAUC rest on: precision and cost.")
    parser.add_argument("--measured", type=Path, default=Path("measured/precision"), help="keeps what is done")
    parser.add_argument("--output", type=Path, default=Path("docs/defaults.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the CPU's time is then that of the clock
    try:
        trainings = [watched(f"{TRAINING} {training}", arguments.measured) for training in OF_THE_GRID]
    except BadInput as error:
        sys.exit(str(error))
    measured = Measured.of(
        trainings,
        PORTION,
        DEFAULT,
        training=TRAINING,
        command=shlex.join(["python", "scripts/precision.py", *sys.argv[1:]]),
        date=time.strftime("%Y-%m-%d"),
        hardware=_processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    if not turned(measured):
        sys.exit("In none of these trainings the AUC turned down: nothing is written")
    measured.write(arguments.output)
    text = page(Measured.read(arguments.output))  # as it can be made again from the files
    write_text(arguments.output, text)
    print(text)
