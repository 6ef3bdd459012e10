"""The experiments: what each asks, its conditions, claims and figures; and how claims are judged.

Each experiment is a Python file of this package beside a YAML file of `conf/experiment`. The file registers the
experiment; all files are found here.
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
