"""Runs: one network trained and measured as a configuration says, and the folder that holds what came out."""

from single_directions.runs.build import Parts, build
from single_directions.runs.folder import RunFolder
from single_directions.runs.run import execute

__all__ = ["Parts", "RunFolder", "build", "execute"]
