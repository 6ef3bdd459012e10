"""`dry_run=true`: what a command would run, and what of it is done already."""

from collections.abc import Sequence

from single_directions.errors import BadInput
from single_directions.runs.config import check
from single_directions.runs.optimized import check_optimized
from single_directions.runs.status import status_of, table
from single_directions.runs.sweep import Job
from single_directions.runs.tracking import check_tracking


def preview(runs: Sequence[Job]) -> None:
    """Print each run's folder and state, and how many are left. Nothing is written.

    Raises `BadInput` at the end for runs whose configuration is not valid. Data and networks are not looked at.
    """
    known = {job.folder.path: job.folder for job in runs if job.folder is not None}
    lines = table([status_of(folder) for folder in known.values()], complete=True)
    print("\n".join(line for line in lines if "sweep.json" not in line))  # the file may not exist yet
    once = {job.folder.path if job.folder else str(job): job for job in runs}  # two jobs of one folder are one run
    done = sum(job.is_done() for job in once.values())
    skipped = f"; {done} done with the same settings would be skipped" if done else ""
    print(f"dry_run: nothing was run; {len(once) - done} of {len(once)} runs are left to do{skipped}", flush=True)
    wrong = {str(job): message for job in runs if (message := _wrong(job))}
    if wrong:
        raise BadInput(
            "; ".join(f"{job}: {message}" for job, message in list(wrong.items())[:3]) + _more(len(wrong) - 3)
        )


def _wrong(job: Job) -> str:
    if job.folder is None:
        return job.invalid
    try:
        check(job.config)
        check_optimized(job.config)
        check_tracking(job.config["tracking"])
        job.folder.holds(job.config)
    except BadInput as error:
        return str(error)
    return ""


def _more(number: int) -> str:
    return f"; and {number} more" if number > 0 else ""
