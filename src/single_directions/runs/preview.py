"""`dry_run=true`: what a command would run, and what of it is done already."""

from collections.abc import Sequence

from single_directions.errors import BadInput
from single_directions.runs.build import check_values
from single_directions.runs.messages import CodeFailed
from single_directions.runs.status import status_of, table
from single_directions.runs.sweep import Job, refuse


def preview(runs: Sequence[Job]) -> None:
    """Print each run's folder and state, and how many are left. Nothing is written.

    Raises `BadInput` at the end for runs that cannot work, see `check_jobs`.
    """
    lines = table([status_of(job.folder) for job in runs], complete=True)
    print("\n".join(line for line in lines if "sweep.json" not in line))  # the file may not exist yet
    done = sum(job.is_done() for job in runs)
    skipped = f"; {done} done with the same settings would be skipped" if done else ""
    print(f"dry_run: nothing was run; {len(runs) - done} of {len(runs)} runs are left to do{skipped}", flush=True)
    check_jobs(runs, folders=True)


def check_jobs(runs: Sequence[Job], folders: bool = False) -> None:
    """Raises `BadInput` for runs whose configuration cannot work; with `folders` also where a folder holds another run.

    Data and networks are not looked at.
    """
    refuse([(str(job), reason) for job in runs if (reason := _wrong(job, folders))], len(runs))


def _wrong(job: Job, folders: bool) -> str:
    try:
        check_values(job.config)
        if folders:
            job.folder.holds(job.config)
    except CodeFailed as error:  # a run that is started keeps its traceback
        return str(error) if folders else ""
    except BadInput as error:
        return str(error)
    return ""
