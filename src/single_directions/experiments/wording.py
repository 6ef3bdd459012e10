"""Numbers and settings as text, the same in captions and tables."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Protocol

import pandas as pd

MOST = 6
"""The most names that a sentence lists."""
DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10", "imagenet": "ImageNet"}
"""Data sets as the literature spells them; others keep their own names."""
SETTINGS = {
    "ablation.samples": "measured on {} images",
    "data.test_samples": "{} test images",
    "data.train_samples": "{} training images",
    "network.hidden": "hidden layers {}",
    "network.width": "width {}",
    "optimizer": "optimizer {}",
    "optimizer.lr": "learning rate {}",
    "stop_at_train_accuracy": "stopped at training accuracy {}",
    "trainer.check_val_every_n_epoch": "tested every {} epochs",
    "trainer.max_epochs": "at most {} epochs",
    "trainer.precision": "precision {}",
}


def setting(key: str, value: str) -> str:
    """An override in words, `10,000 training images`; `key=value` where there are no words for it."""
    if key in SETTINGS and value not in ("", "null"):
        return SETTINGS[key].format(f"{int(value):,}" if value.isdigit() else value)
    return f"{key}={value}" if value else key


def place(data: str, scale: str, overrides: Mapping[str, str]) -> str:
    """A data set with its scale and settings; a folder of images by its name."""
    root = overrides.get("data.root") if data == "image_folder" else None
    named = f"{root} (a folder of images)" if root else data
    settings = [setting(*one) for one in overrides.items() if not (root and one[0] == "data.root")]
    return ", ".join([f"{named} at {scale} scale", *settings])


def number(value: Any, digits: int = 3) -> str:
    """A number for reading, with a true minus sign; "–" where there is none."""
    if value is None or not isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def shown(value: Any) -> str:
    """The value of a setting as on a command line: `0.1`, `10000`, `True`, `null` where there is none."""
    return "null" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def corrupted(level: float) -> str:
    """`true labels`, `20 % corrupted`."""
    return "true labels" if level == 0 else f"{100 * level:.0f} % corrupted"


class Interval(Protocol):
    """A value and its interval: an `Estimate`, a `Judgement`."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def interval(estimate: Interval, digits: int = 3) -> str:
    """`0.31 [0.20, 0.42]`; the value alone where there is no interval."""
    value, low, high = (number(one, digits) for one in (estimate.value, estimate.low, estimate.high))
    return value if "–" in (low, high) else f"{value} [{low}, {high}]"


def count(amount: int, noun: str) -> str:
    """`1 network`, `2 networks`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def some(names: Sequence[str], total: int | None = None) -> str:
    """The first names, and how many more there are: `a; b and 4 more`. `total` also counts what has no name."""
    more = (len(names) if total is None else total) - len(names[:MOST])
    return "; ".join(names[:MOST]) + (f" and {more} more" if more else "")


def duration(seconds: float) -> str:
    """`8.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def sentence(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]
