"""The commands behind runs, as the runs recorded them, and the command of an experiment's own sweep."""

import pandas as pd

from single_directions.commands import called
from single_directions.experiments.experiment import OWN_FILES


def commands(runs: pd.DataFrame) -> list[str]:
    """The different commands that made some runs, rows of the table, and a line on runs that did not record theirs."""
    known = runs["command"].dropna() if "command" in runs else pd.Series(dtype=str)
    lines = list(dict.fromkeys(map(str, known)))
    if len(known) < len(runs):
        which = f"{len(runs) - len(known)} of {len(runs)} runs"
        lines.append(f"# not known for {which}: older code did not record it; their settings are in config.yaml")
    return lines


def command_for(experiment: str, scale: str) -> str:
    """The command that makes all runs of an experiment. FOLDER stands for a user's configuration folder."""
    own = "--config-dir FOLDER " if experiment in OWN_FILES else ""
    return f"{called('train')} {own}-m experiment={experiment}{'' if scale == 'demo' else f' scale={scale}'}"
