"""`dry_run=true`: what a command would run, and what of it is done already."""

from collections.abc import Sequence

from single_directions.errors import BadInput
from single_directions.runs.build import check_values
from single_directions.runs.causes import CodeFailed
from single_directions.runs.status import status_of, table
from single_directions.runs.sweep import Job


def preview(runs: Sequence[Job]) -> None:
    """Print each run's folder and state, and how many are left. Nothing is written.

    Raises `BadInput` at the end for runs that cannot work, see `check_jobs`.
    """
    known = {job.folder.path: job.folder for job in runs if job.folder is not None}
    lines = table([status_of(folder) for folder in known.values()], complete=True)
    print("\n".join(line for line in lines if "sweep.json" not in line))  # the file may not exist yet
    once = {job.folder.path if job.folder else str(job): job for job in runs}  # two jobs of one folder are one run
    done = sum(job.is_done() for job in once.values())
    skipped = f"; {done} done with the same settings would be skipped" if done else ""
    print(f"dry_run: nothing was run; {len(once) - done} of {len(once)} runs are left to do{skipped}", flush=True)
    check_jobs(runs, folders=True)


def check_jobs(runs: Sequence[Job], folders: bool = False) -> None:
    """Raises `BadInput` for runs whose configuration cannot work; with `folders` also where a folder holds another run.

    Each reason is told once, with the first of its runs. Data and networks are not looked at.
    """
    wrong: dict[str, list[str]] = {}
    for job in runs:
        if reason := _wrong(job, folders):
            wrong.setdefault(reason, []).append(str(job))
    told = [
        f"{reason} (the same for all {len(runs)} runs)"
        if 1 < len(names) == len(runs)
        else f"{names[0]}: {reason}" + (f" (the same for {len(names)} of {len(runs)} runs)" if len(names) > 1 else "")
        for reason, names in wrong.items()
    ]
    if told:
        raise BadInput("; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else ""))


def _wrong(job: Job, folders: bool) -> str:
    if job.folder is None:
        return job.invalid
    try:
        check_values(job.config)
        if folders:
            job.folder.holds(job.config)
    except CodeFailed as error:  # a run that is started keeps its traceback
        return str(error) if folders else ""
    except BadInput as error:
        return str(error)
    return ""
