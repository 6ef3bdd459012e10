"""The experiments: what each asks, its conditions, claims and figures; and how claims are judged.

- An experiment is a Python file with the name of its YAML file in `conf/experiment`: `memorization`, `ensemble`,
  `early_stopping`, `dropout`, `batch_norm`. To add one, write both files; `batch_norm` is the shortest example.
- `judge` judges the claims. `claim` has the rule of a verdict, `statistics` the intervals and p values.
- `pictures` makes figures with their captions from a `section`. `drawing` draws them.
- `reading` makes `tables` of run folders. `sweeps` says which of the runs are compared with each other.

Each module is imported below, and so every experiment is registered.
"""

from importlib import import_module
from pkgutil import iter_modules

from single_directions.experiments.claim import ALIKE, NEGATIVE, POSITIVE, SUBSTANTIAL, Claim, Finding, by_seed
from single_directions.experiments.conditions import by_column
from single_directions.experiments.experiment import EXPERIMENTS, Experiment, Picture, register
from single_directions.experiments.judge import Judgement, judge
from single_directions.experiments.pictures import areas, by_condition, by_each_key
from single_directions.experiments.reading import read_tables
from single_directions.experiments.section import Section
from single_directions.experiments.statistics import correlation, difference, mean_interval, share
from single_directions.experiments.tables import Tables

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "ALIKE",
    "EXPERIMENTS",
    "NEGATIVE",
    "POSITIVE",
    "SUBSTANTIAL",
    "Claim",
    "Experiment",
    "Finding",
    "Judgement",
    "Picture",
    "Section",
    "Tables",
    "areas",
    "by_column",
    "by_condition",
    "by_each_key",
    "by_seed",
    "correlation",
    "difference",
    "judge",
    "mean_interval",
    "read_tables",
    "register",
    "share",
]
