"""Which signal should stop a training? `python scripts/stopping.py runs` applies rules to runs of `stopping_signals`.

It writes docs/results/stopping: epochs.csv from the runs, and the others from that file; without runs only these.
"""

import argparse
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from single_directions.errors import BadInput
from single_directions.experiments import mean_interval
from single_directions.experiments.drawing.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, VERMILLION
from single_directions.runs.folder import RunFolder, write_json, write_text

EXPERIMENT = "stopping_signals"
CONDITION = ["corruption", "optimizer", "images"]
TRAINING = [*CONDITION, "seed"]
SIGNALS = {  # a column of epochs.csv, and of metrics.csv
    "train_loss": "train/loss",
    "test_accuracy": "test/accuracy",
    "changed_predictions": "train/changed_predictions",
    "auc": "ablation/auc",
    "auc_normalized": "ablation/auc_normalized",
    "auc_corrected": "ablation/auc_corrected",
    "held_out_loss": "held_out/loss",
}
FRACTIONS = ["test_accuracy", "changed_predictions"]
"""Fractions of some thousand images: rounded to seven digits, as the noise of single precision would break ties."""
FAILS = 0.01
"""A rule fails in a condition where it loses more test accuracy than this."""


@dataclass(frozen=True)
class Stop:
    """The epoch whose network is kept, and the last one trained; 1 is the first."""

    kept: int
    ended: int


Values = Sequence[float] | pd.Series


def patience(values: Values, mode: str = "max", epochs: int = 10, threshold: float = 0.0) -> Stop:
    """Keep the best epoch so far, of equals the first; end after `epochs` in a row that were not better.

    With mode "min" better is below (1 - threshold) times the best. A value that is not finite ends training at once, as
    stock `EarlyStopping` does.
    """
    kept, best = 1, float("nan")
    for epoch, value in enumerate(values, 1):
        if not isfinite(value):
            return Stop(kept, epoch)
        if epoch == 1 or (value > best if mode == "max" else value < (1 - threshold) * best):
            kept, best = epoch, value
        elif epoch - kept == epochs:
            return Stop(kept, epoch)
    return Stop(kept, len(values))


def label_wave(changed: Values, epochs: int = 10, window: int = 3) -> Stop:
    """Keep the epoch with the lowest mean of changed predictions over the last `window` epochs, with patience.

    This is Label Wave (Yuan et al. 2024), Algorithm 1; with `epochs` = 1 it keeps the first local minimum (their
    equation 4). docs/results/stopping says which of its details could not be checked. The first epoch has no changed
    predictions (NaN), and no training stops before `window` epochs have some.
    """
    if len(changed) <= window:
        return Stop(len(changed), len(changed))
    means = np.convolve(np.asarray(changed, dtype=float)[1:], np.full(window, 1 / window), "valid").round(7)
    stop = patience(means.tolist(), "min", epochs)
    return Stop(stop.kept + window, stop.ended + window)


Rule = Callable[[pd.DataFrame], Stop]
HELD_OUT = "held_out"
"""The rule that has trainings of its own."""
AUCS: dict[str, Rule] = {
    "auc": lambda rows: patience(rows["auc"]),
    "auc_normalized": lambda rows: patience(rows["auc_normalized"]),
    "auc_corrected": lambda rows: patience(rows["auc_corrected"]),
}
RULES: dict[str, Rule] = {
    **AUCS,
    "none": lambda rows: Stop(len(rows), len(rows)),
    "train_loss": lambda rows: patience(rows["train_loss"], "min", threshold=1e-4),
    "label_wave": lambda rows: label_wave(rows["changed_predictions"]),
    "label_wave_first": lambda rows: label_wave(rows["changed_predictions"], epochs=1),
    HELD_OUT: lambda rows: patience(rows["held_out_loss"], "min"),
}


def read_runs(runs: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row per epoch of the trainings that are done with and without held-out images, and where they come from.

    Raises `BadInput` where there is none in some condition.
    """
    frames, summaries = [], {}
    for folder in map(RunFolder, sorted(path.parent for path in runs.rglob("metrics.csv"))):
        config = folder.read_config()
        if config["experiment"] != EXPERIMENT or not folder.is_done():
            continue
        key = (
            float(config["data"]["corruption"]),
            config["optimizer"]["_target_"].rpartition(".")[2].lower(),
            int(config["data"]["train_samples"]),
            int(config["seed"]),
            float(config["data"]["held_out"]),
        )
        rows = pd.read_csv(folder.metrics)
        named = {name: rows.get(column, np.nan) for name, column in SIGNALS.items()}
        training = dict(zip([*TRAINING, "held_out"], key, strict=True))
        frames.append(pd.DataFrame({**training, "epoch": rows["epoch"], **named}))
        summaries[key] = {**folder.read_summary(), "finished": folder.read_status().get("since", "")}
    if not frames:
        raise BadInput(f"no run of {EXPERIMENT} in {runs} is done: python scripts/train.py -m experiment={EXPERIMENT}")
    epochs = pd.concat(frames, ignore_index=True)
    epochs[FRACTIONS] = epochs[FRACTIONS].round(7)
    partners = epochs.groupby(TRAINING)["held_out"].transform("nunique")
    both = epochs[partners == 2]
    lacking = set(map(tuple, epochs[CONDITION].to_numpy())) - set(map(tuple, both[CONDITION].to_numpy()))
    if lacking:
        raise BadInput(
            f"{runs}: {_named(min(lacking))} lacks the runs with or without data.held_out=0.1; run both sweeps"
        )
    seen = set(map(tuple, both[[*TRAINING, "held_out"]].to_numpy().tolist()))
    used = [summary for key, summary in summaries.items() if tuple(key) in seen]
    return both.sort_values([*TRAINING, "held_out", "epoch"], ignore_index=True), _about(used)


def _about(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Where trainings come from: hardware, versions, times, and how the AUC was measured."""
    measured = [summary for summary in summaries if summary["every_epoch"]]
    seconds = {
        "training": sum(summary["seconds"]["training"] for summary in measured),
        "of it the AUC": sum(summary["seconds_of_every_epoch"] for summary in measured),
        "training with held-out images": sum(s["seconds"]["training"] for s in summaries if not s["every_epoch"]),
    }
    return {
        "date": max(summary["finished"] for summary in summaries)[:10],
        "hardware": _processor(),
        "threads": summaries[0]["device"]["threads"],
        "torch": summaries[0]["versions"]["torch"],
        "every_epoch": measured[0]["every_epoch"],
        "seconds": {name: round(value) for name, value in seconds.items()},
    }


def _processor() -> str:
    try:
        names = re.findall("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def stopped(epochs: pd.DataFrame) -> pd.DataFrame:
    """One row per training and rule: epochs `kept`, `ended` and `best`, test accuracy at the first and last, `loss`."""
    rows = []
    for training, both in epochs.groupby(TRAINING):
        whole, part = (both[both["held_out"] == fraction] for fraction in sorted(both["held_out"].unique()))
        accuracy = whole["test_accuracy"].to_numpy()
        best = int(accuracy.argmax())
        for name, rule in RULES.items():
            own = part if name == HELD_OUT else whole
            stop = rule(own)
            kept = own["test_accuracy"].iloc[stop.kept - 1]
            found = {"rule": name, "kept": stop.kept, "ended": stop.ended, "best": best + 1, "test_accuracy": kept}
            found |= {"best_test_accuracy": accuracy[best], "loss": round(accuracy[best] - kept, 7)}
            rows.append({**dict(zip(TRAINING, training, strict=True)), **found})
    return pd.DataFrame(rows)


def by_seed(table: pd.DataFrame, rule: str) -> pd.DataFrame:
    """A rule's losses, one row per condition and one column per seed; NaN where that was not trained."""
    return table[table["rule"] == rule].pivot(index=CONDITION, columns="seed", values="loss")


def by_condition(table: pd.DataFrame, rule: str) -> pd.Series:
    """A rule's mean loss in each condition."""
    return by_seed(table, rule).mean(axis=1)


def recommended(table: pd.DataFrame) -> str:
    """Of the three AUCs the one with the least mean loss, in which each condition counts alike."""
    return min(AUCS, key=lambda rule: by_condition(table, rule).mean())


def page(table: pd.DataFrame, about: dict[str, Any], template: str) -> str:
    """README.md, out of what stands in its template above and below the line of marks."""
    return template.partition(MARK)[0] + MARK + "\n\n" + "\n\n".join(_results(table, about)) + "\n"


MARK = "<!-- What follows is written by scripts/stopping.py. -->"


def _results(table: pd.DataFrame, about: dict[str, Any]) -> Iterator[str]:
    trainings = table[TRAINING].drop_duplicates()
    seeds = trainings.groupby(CONDITION).size()
    number = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    best = recommended(table)
    taken, measured = about["seconds"], about["every_epoch"]
    yield "## Result"
    yield (
        f"**Monitor `ablation/{best}`** is what the rule gives: its mean loss is the least of the three AUCs. "
        f"{len(trainings)} trainings and as many with a tenth held out: {len(seeds)} conditions, n = {number} of each. "
        "Losses are percentage points of test accuracy."
    )
    epochs = table.pivot(index=TRAINING, columns="rule", values="kept")
    alike = int((epochs["auc_normalized"] == epochs["auc_corrected"]).sum())
    yield f"Normalized and corrected AUC keep the same epoch in {alike} of {len(trainings)} trainings."
    yield "![Loss of each rule in each condition](losses.png)"
    yield "\n".join(_by_rule(table, best))
    yield (
        f"*Loss*: mean over conditions, each counting alike, with its 95 % interval over the {len(seeds)} conditions "
        "(Student's t). *Minus*: the loss beyond that of the recommended signal, computed condition by condition in "
        "the same way. *Worst*: the largest mean loss in a condition. *Kept*, *ended*: mean epoch whose network is "
        "kept, and after which training ends."
    )
    yield "### By condition"
    yield "\n".join(_by_condition(table))
    yield (
        "*best*: the best test accuracy of the training on all images, in percent. ± is half the width of the 95 % "
        "interval over seeds, by Student's t."
    )
    yield "### Where each fails"
    yield f"Conditions in which a rule loses more than {100 * FAILS:g} point of test accuracy in the mean:"
    yield "\n".join(_failures(table))
    yield (
        "![Test accuracy and AUCs over the epochs of four trainings, and the epochs that the AUCs keep](signals.png)"
    )
    yield (
        f"*{about['date']}, {about['hardware']}, threads: {about['threads']}, torch {about['torch']}. The AUC was "
        f"measured by {_how(measured)}. "
        f"Trainings took {taken['training'] / 3600:.1f} hours by the clock of a machine shared with other work, "
        f"{taken['of it the AUC'] / 3600:.1f} of them for the AUC; those with held-out images "
        f"{taken['training with held-out images'] / 3600:.1f}. [epochs.csv](epochs.csv) has each epoch, "
        "[stopping.csv](stopping.csv) each training and rule; `python scripts/stopping.py` makes this page and its "
        "figures from the former, `python scripts/stopping.py runs` everything from the runs.*"
    )


def _by_rule(table: pd.DataFrame, best: str) -> Iterator[str]:
    losses = {name: by_condition(table, name) for name in RULES}
    epochs = table.groupby([*CONDITION, "rule"])[["kept", "ended"]].mean().groupby("rule").mean()
    yield f"| rule | loss | minus {best} | worst | kept | ended |"
    yield "|---|---|---|---|---|---|"
    for name in sorted(RULES, key=lambda rule: losses[rule].mean()):
        minus = "" if name == best else _points(losses[name] - losses[best], sign="+")
        shown = f"**{name}**" if name == best else name
        worst = f"{100 * losses[name].max():.1f} ({_named(losses[name].idxmax())})"
        kept, ended = (f"{epochs[column][name]:.0f}" for column in ("kept", "ended"))
        yield f"| {shown} | {_points(losses[name])} | {minus} | {worst} | {kept} | {ended} |"


def _how(measured: dict[str, Any]) -> str:
    """How the AUC was measured after an epoch, by orderings or by masks of each image's own."""
    if "orderings" in measured:
        return f"{measured['orderings']} orderings at {measured['points']} points on {measured['images']} images"
    return f"{measured['masks']:,} masks on {measured['images']:,} images"


def _by_condition(table: pd.DataFrame) -> Iterator[str]:
    losses = {name: by_seed(table, name) for name in RULES}
    yield f"| condition | best | {' | '.join(RULES)} |"
    yield f"|---|---|{'---|' * len(RULES)}"
    accuracies = table.groupby(CONDITION)["best_test_accuracy"].mean()
    for place, (condition, best) in enumerate(accuracies.items()):
        cells = [_points(losses[name].iloc[place], brief=True) for name in RULES]
        yield f"| {_named(condition)} | {100 * best:.1f} | {' | '.join(cells)} |"


def _failures(table: pd.DataFrame) -> Iterator[str]:
    for name in RULES:
        losses = by_condition(table, name).sort_values(ascending=False, kind="stable")
        failed = [f"{_named(condition)}: {100 * loss:.1f}" for condition, loss in losses.items() if loss > FAILS]
        yield f"- **{name}**, in {len(failed)} of {len(losses)}{': ' if failed else ''}{'; '.join(failed)}."


def _named(condition: Any) -> str:
    corruption, optimizer, images = condition
    return f"{corruption:g} {OPTIMIZERS[optimizer][0]} {images:,}"


def _points(losses: Values, sign: str = "", brief: bool = False) -> str:
    """A mean in percentage points, with its interval or half the width of it."""
    found = mean_interval(losses)
    mean = round(100 * found.value, 1 if brief else 2) + 0.0  # never -0.0
    half = 100 * (found.high - found.low) / 2
    if not isfinite(half):
        return f"{mean:{sign}.1f}"
    return (
        f"{mean:.1f} ±{half:.1f}" if brief else f"{mean:{sign}.2f} [{mean - half:{sign}.2f}, {mean + half:{sign}.2f}]"
    )


OPTIMIZERS = {"sgd": ("SGD", BLUE, "o"), "adam": ("Adam", VERMILLION, "D")}
COLOURS = {"auc": ORANGE, "auc_normalized": PURPLE, "auc_corrected": GREEN}


def losses_figure(table: pd.DataFrame) -> Figure:
    """The loss of each rule, a panel a level of corruption; small marks are trainings, large ones means."""
    levels = sorted(table["corruption"].unique())
    names = sorted(RULES, key=lambda rule: -by_condition(table, rule).mean())
    figure = Figure(figsize=(3.1 * len(levels) + 1.1, 0.42 * len(names) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(levels), sharex=True, sharey=True, squeeze=False)[0]
    images = sorted(table["images"].unique())
    kinds = [(optimizer, number) for optimizer in OPTIMIZERS for number in images]
    for axes, level in zip(panels, levels, strict=True):
        for place, (optimizer, number) in enumerate(kinds):
            label, colour, marker = OPTIMIZERS[optimizer]
            own = table[
                (table["corruption"] == level) & (table["optimizer"] == optimizer) & (table["images"] == number)
            ]
            face = colour if number == images[-1] else "white"
            rows = np.arange(len(names)) + 0.18 * ((len(kinds) - 1) / 2 - place)
            losses = 100 * own.pivot(index="rule", columns="seed", values="loss").loc[names]
            for seed in losses:
                axes.plot(losses[seed], rows, marker, color=colour, markersize=2, alpha=0.35, zorder=2)
            axes.plot(
                losses.mean(axis=1), rows, marker, color=colour, markerfacecolor=face, markersize=5, zorder=3,
                label=f"{label}, {number:,} images",
            )  # fmt: skip
        axes.set_title("true labels" if level == 0 else f"{100 * level:g} % of the labels shuffled")
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
        axes.set_xticks([-1, 0, 1, 3, 10, 30], ["−1", "0", "1", "3", "10", "30"])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=1)
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        for row in range(0, len(names), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="0.95", linewidth=0, zorder=0)
        axes.set_ylim(-0.5, len(names) - 0.5)
    panels[len(levels) // 2].set_xlabel("test accuracy below the best epoch's, percentage points")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(kinds))
    return figure


def signals_figure(epochs: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Test accuracy and the AUCs of the first seed on the most images, without and with the most corruption."""
    levels = [epochs["corruption"].min(), epochs["corruption"].max()]
    shown = [(level, optimizer) for level in levels for optimizer in OPTIMIZERS]
    figure = Figure(figsize=(2.6 * len(shown), 4.6), layout="constrained")
    grid = figure.subplots(2, len(shown), sharex=True, sharey="row", squeeze=False)
    first = (epochs["seed"] == epochs["seed"].min()) & (epochs["images"] == epochs["images"].max())
    for (top, bottom), (level, optimizer) in zip(grid.T, shown, strict=True):
        own = epochs[first & (epochs["held_out"] == 0)]
        own = own[(own["corruption"] == level) & (own["optimizer"] == optimizer)]
        stops = table.merge(own[TRAINING].drop_duplicates(), on=TRAINING).set_index("rule")
        top.plot(own["epoch"], own["test_accuracy"], color=GREY, linewidth=1.2)
        for height, (name, colour) in enumerate(COLOURS.items()):
            kept = int(stops["kept"][name])
            top.plot(
                kept, stops["test_accuracy"][name], "osD"[height], color=colour, markersize=9 - 2.5 * height, zorder=3
            )
            bottom.plot(own["epoch"], own[name], color=colour, label=name.replace("_", " "), linewidth=1.4)
            bottom.plot(kept, own[name].iloc[kept - 1], "osD"[height], color=colour, markersize=6)
        labels = "true labels" if level == 0 else f"{100 * level:g} % shuffled"
        top.set_title(f"{OPTIMIZERS[optimizer][0]}, {labels}")
        bottom.set(xlabel="epoch", xscale="log", ylim=(0, 1))
        bottom.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
        bottom.xaxis.set_minor_locator(NullLocator())
    grid[0, 0].set_ylabel("test accuracy")
    grid[1, 0].set_ylabel("AUC")
    handles, labels_ = grid[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels_, loc="outside lower center", ncols=3, title="marks: the epochs kept, patience 10")
    return figure


def write(folder: Path) -> None:
    """Make all files of a folder anew from its epochs.csv and about.json, and the README's text above the results."""
    epochs, about = pd.read_csv(folder / "epochs.csv"), json.loads((folder / "about.json").read_text())
    table = stopped(epochs)
    write_text(folder / "stopping.csv", table.to_csv(index=False, float_format="%.10g"))
    readme = folder / "README.md"
    write_text(readme, page(table, about, readme.read_text()))
    with matplotlib.rc_context(STYLE):
        for name, figure in {"losses": losses_figure(table), "signals": signals_figure(epochs, table)}.items():
            figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})


def main() -> None:
    """Write the result of the study."""
    parser = argparse.ArgumentParser(description="Which signal should stop a training? Writes docs/results/stopping.")
    parser.add_argument("runs", type=Path, nargs="?", help=f"the folder of the runs of {EXPERIMENT}; else epochs.csv")
    parser.add_argument("--output", type=Path, default=Path("docs/results/stopping"))
    arguments = parser.parse_args()
    try:
        if arguments.runs is not None:
            epochs, about = read_runs(arguments.runs)
            write_text(arguments.output / "epochs.csv", epochs.to_csv(index=False, float_format="%.10g"))
            write_json(arguments.output / "about.json", about)
        write(arguments.output)
    except BadInput as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"{error.filename}: {error.strerror}; --output must be a folder with README.md, epochs.csv, about.json"
        )


if __name__ == "__main__":
    main()
