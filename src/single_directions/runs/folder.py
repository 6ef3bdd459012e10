"""A run's folder: the one place that names the files of a run and says how they are written."""

import copy
import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import OmegaConf

from single_directions.errors import BadInput, first_line, one_line
from single_directions.runs.identity import differing_keys
from single_directions.runs.lease import PATIENCE, Holder, Lease, check_free, holder, silence
from single_directions.runs.whole import broken_record, broken_summary, broken_table

if TYPE_CHECKING:
    import pandas as pd

State = Literal["running", "done", "failed", "cut off"]
AGAIN = "the same command makes it again"
"""What to do where a file of a run can be made again."""
UNFINISHED = ".part"
"""How the names of files end that are being written."""


class _File:
    """The path of a file in a run's folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: "RunFolder", kind: type) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. Every file in it appears whole or not at all."""

    path: Path

    config = _File("config.yaml")
    """The resolved configuration, which rebuilds the run."""
    record = _File("run.json")
    """Where the run comes from, see `identity.record_of`; from its start on."""
    status = _File("status.json")
    """The run's state, since when, and the error if it failed."""
    metrics = _File("metrics.csv")
    """One row per epoch."""
    curves = _File("curves.csv")
    """The final measurement: a row for each ordering and point."""
    epoch_curves = _File("epoch_curves.csv")
    """The measurements during training: a row for each epoch, ordering and point."""
    summary = _File("summary.json")
    """The final numbers, and where they come from; written last."""
    checkpoint = _File("last.ckpt")
    """The training after its last saved epoch."""
    best = _File("best.ckpt")
    """The training after the best epoch, by what early stopping monitors."""
    error = _File("error.txt")
    """The traceback of a run that failed."""
    lease = _File("lease.json")
    """The process that works on the run; the file is there only while one does."""

    def state(self) -> State | None:
        """What `status.json` says; None where there is no such file, or it cannot be read.

        A run that says "running" although no process works on it is cut off.
        """
        state: State | None = self.read_status().get("state")
        return "cut off" if state == "running" and self.holder() is None else state

    def read_status(self) -> dict[str, Any]:
        """What `status.json` says; empty where there is no such file, or it cannot be read."""
        return read_json(self.status)

    def read_record(self) -> dict[str, Any]:
        """Where the run comes from, see `identity.record_of`; empty for a run of older code, and where it is broken."""
        records = (read_json(file) for file in (self.summary, self.record))
        return next((one for one in records if "overrides" in one and not broken_record(one)), {})

    def holder(self) -> Holder | None:
        """The process that works on the run; None where none does, or none gave a sign of life lately."""
        held = holder(self.lease)
        return None if held and not held.certain and silence(self.lease) > PATIENCE else held

    def check_free(self) -> None:
        """Raises `UnderLease` where another process works on the run."""
        if not _is_follower():
            check_free(self.lease)

    @contextmanager
    def leased(self) -> Iterator[Lease | None]:
        """Within it no other process works in this folder.

        Several processes may train one network: the first gets the lease, the others get None. Raises `UnderLease` if
        another process works here, `BadInput` if the folder cannot be written.
        """
        if _is_follower():
            yield None
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lease = Lease(self.lease)
        except OSError as error:
            raise cannot_be_written(self.path, error) from error
        try:
            for unfinished in self.path.glob(f".*{UNFINISHED}"):  # of a process that died while it wrote
                unfinished.unlink(missing_ok=True)
            yield lease
        finally:
            lease.release()

    def holds(self, config: dict[str, Any]) -> bool:
        """Whether a run with the settings of this configuration has begun here.

        Raises `BadInput` for a run with other settings; it names the keys that differ.
        """
        try:
            other = self.read_config()
        except (FileNotFoundError, NotADirectoryError):
            return False
        keys = differing_keys(other, config)
        if keys:
            raise BadInput(
                f"{self.path} holds a run with other settings ({', '.join(keys)}): remove it or change runs="
            )
        return True

    def begin(self, config: dict[str, Any], record: dict[str, Any] | None = None) -> None:
        """Write the configuration, the record and the state "running". Raises `BadInput` where that cannot be done."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(config)))
            if record is not None:
                write_json(self.record, record)
            self.set_state("running")
            self.error.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_be_written(self.path, error) from error

    def set_state(self, state: State, error: str = "") -> None:
        """Write `status.json`."""
        write_json(self.status, _status(state, error))

    def epochs(self) -> int:
        """How many epochs have been written down."""
        try:
            return max(0, self.metrics.read_bytes().count(b"\n") - 1)
        except OSError:
            return 0

    def is_done(self) -> bool:
        """Whether the run is done and its files are whole. Fast enough for hundreds of runs."""
        return self.read_status().get("state") == "done" and not self.trouble()

    def trouble(self) -> str:
        """What in the folder is missing or broken, and how to fix it; "" where nothing is.

        Training, status and report all ask here.
        """
        done = self.read_status().get("state") == "done"
        try:
            self.read_config()
        except BadInput as error:
            return str(error).replace(f"{self.path}/", "", 1)
        except OSError:
            return f"{self.config.name} is missing: {AGAIN}" if done else ""
        if not done:
            return ""
        try:
            summary = self.read_summary()
        except (OSError, ValueError):
            return f"{self.summary.name} is missing or broken: {AGAIN}"
        trouble = broken_summary(summary) or broken_table(self.curves, self.metrics, self.epoch_curves, summary)
        return f"{trouble}: {AGAIN}" if trouble else ""

    def fail(self, error: BaseException, traceback: str) -> None:
        """Mark the run as failed: the error's first line in `status.json`, the traceback in `error.txt`.

        What cannot be written is left out, so that a full disk does not hide the error.
        """
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            self.error.unlink(missing_ok=True)  # of an earlier failure
        try:
            self.set_state("failed", first_line(error))
        except OSError:
            with suppress(OSError), self.status.open("r+") as file:  # over the old one, which needs no more room
                file.write(json.dumps(_status("failed", first_line(error))))
                file.truncate()
        with suppress(OSError):
            write_text(self.error, traceback)

    def refuse(self, error: BaseException, record: dict[str, Any] | None = None) -> None:
        """Mark a run that could not begin as failed, unless the folder holds files of an earlier attempt."""
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            own = {self.status.name, self.error.name, self.record.name}
            if {file.name for file in self.path.iterdir()} <= own:
                self.error.unlink(missing_ok=True)
                if record is not None:
                    write_json(self.record, record)
                self.set_state("failed", first_line(error))

    def write_frame(self, path: Path, frame: "pd.DataFrame") -> None:
        """Write a table. Numbers have all their digits, so that they are read back equal."""
        write_text(path, frame.to_csv(index=False))

    def read_config(self) -> dict[str, Any]:
        """The configuration of the run. Raises `OSError` if there is none, `BadInput` if it is broken."""
        try:
            stat = self.config.stat()
            config = copy.deepcopy(_parsed(self.config, stat.st_mtime_ns, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            raise
        except Exception as error:  # errors of the parser, bytes that are no text, a folder of that name
            raise BadInput(f"{self.config} cannot be read ({one_line(error)}): remove {self.path}") from error
        if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
            raise BadInput(f"{self.config} is not a run's configuration: remove {self.path}")
        return {str(key): value for key, value in config.items()}

    def read_summary(self) -> dict[str, Any]:
        """The summary of a run that is done. Raises `OSError` or `ValueError` where there is none or it is broken."""
        summary = json.loads(self.summary.read_text())
        if not isinstance(summary, dict):
            raise ValueError(f"{self.summary} is not a summary")
        return summary

    def full(self, error: OSError) -> BadInput:
        """The error to raise where the disk became full during the run."""
        return BadInput(f"{self.path}: its disk is full ({error.strerror}): make room, then the same command continues")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to. At the end it replaces `path`; after an exception it is removed.

    Raises `OSError` where the disk is full, also for writers that raise something else, such as torch's.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)  # mkstemp gives only the owner access
        beside.replace(path)
    except Exception as error:
        full = not isinstance(error, OSError) and _has_no_room(beside)
        with suppress(OSError):
            os.truncate(beside, 0)  # frees the room even where something still holds the file open
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def _has_no_room(file: Path) -> bool:
    """Whether nothing more can be written to a file, since its disk or the user's quota is full."""
    try:
        with file.open("ab") as more:
            more.write(bytes(1 << 16))
            more.flush()
            os.fsync(more.fileno())
    except OSError as error:
        return is_full(error)
    return False


def cannot_be_written(folder: Path, error: OSError) -> BadInput:
    """The error to raise where a folder below `runs` cannot be written."""
    how = "make room, or choose" if is_full(error) else "choose"
    return BadInput(f"{folder} cannot be written ({one_line(error)}): {how} another folder with runs=")


def is_full(error: OSError) -> bool:
    """Whether an error says that a disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; NaN, which JSON does not have, is an error."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _status(state: State, error: str) -> dict[str, str]:
    """What `status.json` says."""
    status = {"state": state, "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return {**status, "error": error} if error else status


def _is_follower() -> bool:
    """Whether this is one of several processes that train one network, but not the first."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


@lru_cache(maxsize=4096)
def _parsed(file: Path, *version: int) -> Any:
    """The content of a YAML file. Each version of a file is parsed once, however often many runs are looked at."""
    return OmegaConf.to_container(OmegaConf.load(file))  # it was resolved when it was written


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
