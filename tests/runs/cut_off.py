"""Runs that are interrupted, and the tables that must come out the same."""

import pytest

from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute

TABLES = ("metrics.csv", "curves.csv")


def contents(folder):
    """The tables of a run."""
    return [(folder.path / name).read_bytes() for name in TABLES]


def cut_off(config, path):
    """The folder of a run that is interrupted once it has written three epochs."""
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        execute(config, CutOff(path))
    return RunFolder(path)


class CutOff(RunFolder):
    """A folder in which a run is interrupted once it has written three epochs."""

    def write_frame(self, path, frame):
        super().write_frame(path, frame)
        if path == self.metrics and len(frame) == 3:
            raise KeyboardInterrupt
