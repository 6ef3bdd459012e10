"""Planned runs that are missing, failed or broken."""

from itertools import product

import pandas as pd

from single_directions.experiments.sweeps import SWEEP, planned_runs, said, swept_keys
from single_directions.experiments.wording import count, some


def not_done(runs: pd.DataFrame, sweep: tuple[str, str, str, str]) -> list[str]:
    """A sentence on the runs of one sweep (experiment, scale, data, variant) that are not done, if there are any.

    The sweep of an experiment's YAML file has a known number of runs. Of a sweep with other settings, every combination
    of the values that occur in it is expected, such as each seed at each level of corruption.
    """
    experiment, scale, _, variant = sweep
    own = runs[(runs[SWEEP] == list(sweep)).all(axis=1)]
    done = own[own["state"] == "done"]
    others = own[own["state"] != "done"]
    values = [{key: said(row).get(key, "") for key in swept_keys(experiment)} for row in own.to_dict("records")]
    columns = {key: list(dict.fromkeys(row[key] for row in values)) for key in swept_keys(experiment)}
    made = {tuple(row.values()) for row in values}
    missing = [one for one in product(*columns.values()) if one not in made]
    planned = len(own) + len(missing)
    if not variant:
        planned = max(planned, planned_runs(experiment, scale) or 0)
    if planned == len(done):
        return []
    states = [f"{number} {state}" for state, number in sorted(others["state"].value_counts().items())]
    named = [run.rpartition("/")[2] for run in others["run"]]
    named += [",".join(f"{key}={value}" for key, value in zip(columns, one, strict=True) if value) for one in missing]
    left = planned - len(done)
    if planned > len(own):
        states.append(f"{planned - len(own)} missing")
    which = f": {some(named, left)}" if named else ""
    return [f"{left} of {count(planned, 'run')} of this sweep are not done ({', '.join(states)}){which}"]
