"""What an experiment is, and how a Python file registers one."""

import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from single_directions.errors import BadInput, one_line
from single_directions.experiments.claim import Claim

IMAGES = {"digits": (1297, 500), "mnist": (60_000, 10_000), "cifar10": (50_000, 10_000)}
"""How many training and test images a data set has, where that is the same everywhere."""


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and its caption."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Experiment:
    """One question, and all that the report says about its runs.

    Attributes:
        name: the name of its YAML file in `conf/experiment`.
        heading: the heading of its section.
        asks: its question, in one or two sentences.
        conditions: columns of the table of runs. Networks that differ in none of them are one condition, whatever
            their seeds. Without any, a user's experiment is split by every setting in which its runs differ.
        claims: the sentences that are judged by its runs.
        pictures: yields the figures of a `Section`; by default curves and AUC by each condition.
        figure: the number of its figure in the paper; "" for a user's experiment.
        papers: whether the paper has this experiment, so that its main claims are counted.
        settings: what the paper trains and on what, by column; `epochs` is the least number of epochs.
        equal_loss: whether conditions are also compared at equal training loss.
    """

    name: str
    heading: str = ""
    asks: str = ""
    conditions: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    pictures: Callable[..., Iterator[Picture]] | None = None
    figure: str = ""
    papers: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    equal_loss: bool = False


EXPERIMENTS: dict[str, Experiment] = {}
"""All registered experiments, by name."""
OWN_FILES: dict[str, Path] = {}
"""The YAML files of users' experiments in the folders that were loaded, by what their key `experiment` says."""


def register(*experiments: Experiment) -> None:
    """Make experiments known to the report. Raises `BadInput` for a name that this package uses."""
    for experiment in experiments:
        if experiment.name in EXPERIMENTS and EXPERIMENTS[experiment.name].figure:
            raise BadInput(f"there is already an experiment {experiment.name}: register yours under another name")
        EXPERIMENTS[experiment.name] = experiment


def in_order() -> list[Experiment]:
    """All registered experiments: the paper's by figure, then the others by name."""
    return sorted(EXPERIMENTS.values(), key=lambda one: (not one.figure, one.figure or one.name))


def papers() -> list[Experiment]:
    """The experiments that the paper has."""
    return [one for one in in_order() if one.papers]


def load(folder: Path) -> None:
    """Run each `experiment/NAME.py` beside a `NAME.yaml` of a user's configuration folder: it registers experiments.

    Other Python files there, and those whose names begin with an underscore, are helpers and not run. Raises `BadInput`
    where the folder is missing, for a file that fails or registers nothing, and for a name that no YAML file there has.
    """
    if not folder.is_dir():
        raise BadInput(f"--config-dir {folder} is not a folder")
    OWN_FILES.update(_named(folder.absolute() / "experiment"))
    for file in sorted((folder / "experiment").glob("*.py")):
        if file.name.startswith("_"):
            continue
        if not file.with_suffix(".yaml").is_file():
            if re.search(r"^register\(", file.read_text(), re.MULTILINE):
                raise BadInput(f"{file} registers an experiment, but {file.stem}.yaml is not beside it: rename one")
            continue
        before = dict(EXPERIMENTS)
        try:
            runpy.run_path(str(file))
        except Exception as error:
            raise BadInput(f"{file} failed: {type(error).__name__}: {one_line(error)}") from error
        registered = [name for name, one in EXPERIMENTS.items() if before.get(name) is not one]
        if not registered:
            raise BadInput(f"{file} registers no experiment: end it with register(Experiment(name={file.stem!r}, ...))")
        for name in registered:
            if name not in OWN_FILES:
                raise BadInput(
                    f"{file} registers the experiment {name!r}, but {file.with_suffix('.yaml')} does not have "
                    f"`experiment: {name}`: give both one name"
                )


def _named(folder: Path) -> dict[str, Path]:
    """The YAML files in a folder by the experiment that each names; of several, the first."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        except Exception as error:
            raise BadInput(f"{file} cannot be read: {one_line(error)}") from error
        if isinstance(config, dict) and config.get("experiment"):
            found.setdefault(str(config["experiment"]), file)
    return found
