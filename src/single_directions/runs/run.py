"""One run: build, train, measure, write down."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

import torch
from pytorch_lightning.loggers import Logger

from single_directions.ablation import AblationCurve, ablation_curve
from single_directions.errors import BadInput
from single_directions.runs.build import Parts, build
from single_directions.runs.checkpoint import keep
from single_directions.runs.fit import fit
from single_directions.runs.folder import RunFolder, is_full, write_json
from single_directions.runs.identity import record_of
from single_directions.runs.lease import Lease, UnderLease
from single_directions.runs.messages import CodeFailed, in_keys
from single_directions.runs.precise import precise_auc
from single_directions.runs.summary import summarize
from single_directions.runs.tracking import log_results, tracked
from single_directions.training import NonFiniteLoss, measuring_loader


def execute(config: dict[str, Any], folder: RunFolder, record: dict[str, Any] | None = None) -> dict[str, Any]:
    """Train and measure the network that a resolved configuration describes, and return its summary.

    A run that is done is skipped. A run that was cut off or failed goes on from its last checkpoint. Raises `BadInput`,
    before anything is written, for settings that cannot work and for a folder that holds a run with other settings. Any
    later exception is written to the folder and raised again. Raises `UnderLease` where another process works on the
    run. `record` says where the run comes from, see `identity.record_of`.
    """
    record = record or record_of(config)
    if folder.holds(config) and folder.is_done():
        return folder.read_summary()
    folder.check_free()  # before anything expensive
    try:
        parts = build(config)
    except Exception as error:
        if isinstance(error, CodeFailed) or not isinstance(error, BadInput):
            folder.fail(error, traceback.format_exc())
        raise
    with folder.leased() as lease:
        if folder.holds(config) and folder.is_done():  # another process finished it a moment ago
            return folder.read_summary()
        try:
            folder.begin(config, record)
            with threads(config["threads"]), tracked(config, folder.path.name, folder.path) as loggers:
                summary = _trained_and_measured(config, parts, folder, record, lease, loggers)
            folder.set_state("done")
        except UnderLease:  # another process took the run over
            raise
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            with suppress(OSError):
                folder.set_state("cut off")
            raise
        except BaseException as error:
            if isinstance(error, OSError) and is_full(error):
                full = folder.full(error)
                folder.fail(full, traceback.format_exc())
                raise full from error
            folder.fail(error, traceback.format_exc())
            raise
    return summary


def follow(config: dict[str, Any], folder: RunFolder) -> None:
    """Take part in the training of a run as one of several processes. The first process writes, measures and reports.

    It also reports the exceptions that end the training of all processes.
    """
    with threads(config["threads"]), suppress(NonFiniteLoss, KeyboardInterrupt, SystemExit):
        fit(config, build(config), folder, None, ())


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Within it torch computes with this number of CPU threads, or with its own choice for None."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(keys: dict[str, Any], parts: Parts, progress: bool) -> AblationCurve:
    """The cumulative ablation curve of `parts.network`, as `keys`, the configuration's `ablation`, ask for it.

    Accuracy is that on training images with the labels trained with.
    """
    with in_keys():
        return ablation_curve(
            parts.network,
            measuring_loader(parts.data, parts.measured),
            **{key: keys[key] for key in ("sites", "orderings", "points", "clamp", "top_k", "method")},
            generator=torch.Generator().manual_seed(keys["seed"]),
            progress=progress,
        )


def _trained_and_measured(
    config: dict[str, Any],
    parts: Parts,
    folder: RunFolder,
    record: dict[str, Any],
    lease: Lease | None,
    loggers: Sequence[Logger],
) -> dict[str, Any]:
    training = fit(config, parts, folder, lease, loggers)
    start = perf_counter()
    keys, near = config["ablation"], parts.near(training.device)
    near.network.to(training.device)
    curve = measure(keys, near, progress=config["progress"] and sys.stderr.isatty())
    precise = precise_auc(near.network, near.data, near.measured, keys, curve)
    measuring = perf_counter() - start
    summary = summarize(record, config, parts, training, curve, precise, measuring)
    during = None if parts.every_epoch is None else parts.every_epoch.to_frame()
    if during is not None:
        during.insert(1, "ordering", 0)  # its mean curves have the columns of `curve`, after `epoch`
    log_results(config, loggers, summary, curve.to_frame(), during)
    if lease is not None:
        lease.check()
    folder.write_frame(folder.metrics, training.history.to_frame())
    if during is not None:
        folder.write_frame(folder.epoch_curves, during)
    folder.write_frame(folder.curves, curve.to_frame())
    write_json(folder.summary, summary)
    keep(config["checkpoint"]["keep"], folder.checkpoint, folder.best)
    return summary
