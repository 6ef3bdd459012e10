"""The titles of figures: data, network, and how many networks there are."""

import json
from typing import Any

import pandas as pd

from single_directions.experiments.drawing.style import TITLE_WIDTH
from single_directions.experiments.section import Section
from single_directions.experiments.sweeps import overrides
from single_directions.experiments.wording import setting

DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10", "imagenet": "ImageNet"}
"""Names as the literature spells them; other data sets keep their own."""


def heading(section: Section, amount: str = "") -> str:
    """Data, network, the settings that the experiment's other sweeps do not have, and `amount`.

    For example "MNIST (10,000 images), MLP 2 × 512, 4 networks per condition". A part in which runs differ is left out,
    since the conditions show it. If the line is too long, `amount` is on the next.
    """
    variant, data = overrides(section.variant), section.source
    images, network = _only(section.runs, "train_images"), _network(section.runs)
    shown = {"data.train_samples"} if images is not None else set()
    shown |= {"network", "network.hidden", "network.width"} if network else set()
    parts = [
        DATA.get(data, data) + (f" ({images:,.0f} images)" if images is not None else ""),
        network,
        *(setting(key, variant[key]) for key in section.apart if key not in shown),
    ]
    text = ", ".join(filter(None, parts))
    between = ", " if len(text) + len(amount) + 2 <= TITLE_WIDTH else "\n"
    return between.join(filter(None, (text, amount)))


def _network(runs: pd.DataFrame) -> str:
    """The network and its size: "MLP 2 x 512", "ConvNet (width 0.25)"."""
    name = str(_only(runs, "config.network._target_") or "").rpartition(".")[2].replace("ResNet50", "ResNet-50")
    width = _only(runs, "config.network.width")
    hidden = json.loads(_only(runs, "config.network.hidden") or "[]") if name == "MLP" else []
    if hidden:
        alike = len(set(hidden)) == 1
        return f"{name} {len(hidden)} × {hidden[0]:,}" if alike else f"{name} {', '.join(map(str, hidden))}"
    return f"{name} (width {width:g})" if name and width not in (None, 1) else name


def _only(runs: pd.DataFrame, column: str) -> Any:
    """The value that all runs share in a column, or None."""
    values = list(runs[column].dropna().unique()) if column in runs else []
    return values[0] if len(values) == 1 else None
