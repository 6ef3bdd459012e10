"""Planned runs that are missing, failed or broken."""

from itertools import islice, product
from math import prod

import pandas as pd

from single_directions.experiments.sweeps import Sweep, overrides_of, planned_runs, swept_keys
from single_directions.experiments.wording import MOST, count, some


def not_done(runs: pd.DataFrame, sweep: Sweep) -> list[str]:
    """A sentence on the runs of one sweep that are not done, if there are any.

    The sweep of an experiment's YAML file has a known number of runs. Of a sweep with other settings, every combination
    of the values that occur in it is expected, such as each seed at each level of corruption.
    """
    own = runs[(runs[[*Sweep._fields]] == list(sweep)).all(axis=1)]
    others = own[own["state"] != "done"]
    keys = swept_keys(sweep.experiment)
    made = {tuple(overrides_of(row).get(key, "") for key in keys): None for row in own.to_dict("records")}
    values = [list(dict.fromkeys(run[place] for run in made)) for place in range(len(keys))]
    planned = len(own) + prod(map(len, values)) - len(made)
    if not sweep.variant:
        planned = max(planned, planned_runs(sweep.experiment, sweep.scale) or 0)
    left = planned - len(own) + len(others)
    if left == 0:
        return []
    states = [f"{number} {state}" for state, number in sorted(others["state"].value_counts().items())]
    if planned > len(own):
        states.append(f"{planned - len(own)} missing")
    missing = islice((one for one in product(*values) if one not in made), MOST)  # a search has too many for a list
    names = [run.rpartition("/")[2] for run in others["run"]]
    names += [",".join(f"{key}={value}" for key, value in zip(keys, one, strict=True) if value) for one in missing]
    which = f": {some(names, left)}" if names else ""
    return [f"{left} of {count(planned, 'run')} of this sweep are not done ({', '.join(states)}){which}"]
