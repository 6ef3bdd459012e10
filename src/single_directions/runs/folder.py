"""A run's folder: the one place that names the files of a run and says how they are written."""

import copy
import errno
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import OmegaConf

from single_directions.errors import BadInput, one_line
from single_directions.runs.config import differing_keys, flat, is_neutral
from single_directions.runs.lease import PATIENCE, Holder, Lease, check_free, holder, silence
from single_directions.runs.whole import broken_summary, broken_table

if TYPE_CHECKING:
    import pandas as pd

State = Literal["running", "done", "failed", "cut off"]
IN_PATH = ("experiment", "scale", "data")
"""Groups whose choice the path above a run's folder tells."""
LONGEST_NAME = 200
"""Characters; file systems allow 255 bytes."""
MOST_GUESSES = 100_000
"""At what may have been cut off, for as many overrides."""
AGAIN = "the same command makes it again"
"""What to do where a file of a run can be made again."""
UNFINISHED = ".part"
"""How files end that are being written."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. Every file in it appears whole or not at all."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, which rebuilds the run."""
        return self.path / "config.yaml"

    @property
    def status(self) -> Path:
        """The run's state, since when, and the error if it failed."""
        return self.path / "status.json"

    @property
    def metrics(self) -> Path:
        """A row an epoch."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The final measurement: a row for each ordering and point."""
        return self.path / "curves.csv"

    @property
    def epoch_curves(self) -> Path:
        """The measurements during training: a row for each epoch, ordering and point."""
        return self.path / "epoch_curves.csv"

    @property
    def summary(self) -> Path:
        """The final numbers, and where they come from; written last."""
        return self.path / "summary.json"

    @property
    def checkpoint(self) -> Path:
        """The training after its last saved epoch."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """The training after the best epoch, by what early stopping monitors."""
        return self.path / "best.ckpt"

    @property
    def error(self) -> Path:
        """The traceback of a run that failed."""
        return self.path / "error.txt"

    @property
    def lease(self) -> Path:
        """Who works on the run; there only while somebody does."""
        return self.path / "lease.json"

    def state(self) -> State | None:
        """What `status.json` says, or None where there is no run yet (or a file that cannot be read).

        A run that nobody works on any more is cut off, whatever its last process could still write.
        """
        state: State | None = self.read_status().get("state")
        return "cut off" if state == "running" and self.holder() is None else state

    def read_status(self) -> dict[str, Any]:
        """What `status.json` says; empty where there is none, or one that cannot be read."""
        try:
            status = json.loads(self.status.read_text())
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def holder(self) -> Holder | None:
        """Who works on the run, or None where nobody does, or nobody that gave a sign of life lately."""
        held = holder(self.lease)
        return None if held and not held.certain and silence(self.lease) > PATIENCE else held

    def check_free(self) -> None:
        """Raises `UnderLease` where another process works on the run."""
        if not _is_follower():
            check_free(self.lease)

    @contextmanager
    def leased(self) -> Iterator[Lease | None]:
        """Within it this process alone works here. Raises `UnderLease` if another does, `BadInput` if none can.

        Of several processes that train one network the first has the lease, the others None.
        """
        if _is_follower():
            yield None
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lease = Lease(self.lease)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        try:
            for unfinished in self.path.glob(f".*{UNFINISHED}"):  # a process died while it wrote
                unfinished.unlink(missing_ok=True)
            yield lease
        finally:
            lease.release()

    def holds(self, config: dict[str, Any]) -> bool:
        """Whether a run of this configuration has begun here.

        Raises `BadInput`, which names the keys that differ, where there is a run of another one.
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

    def begin(self, config: dict[str, Any]) -> None:
        """Mark the folder as that of a run of this configuration. Raises `BadInput` where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(config)))
            self.set_state("running")
            self.error.unlink(missing_ok=True)
        except OSError as error:
            unwritten = self._cannot_be_written(error)
            with suppress(OSError):
                self.set_state("failed", str(unwritten))
            raise unwritten from error

    def set_state(self, state: State, error: str = "") -> None:
        """Write `status.json`."""
        write_json(self.status, _status(state, error))

    def _overwrite_status(self, state: State, error: str) -> None:
        """Write `status.json` in its place, where there is no room for another file."""
        with self.status.open("r+") as file:
            file.write(json.dumps(_status(state, error)))
            file.truncate()

    def is_done(self) -> bool:
        """Whether the run has left behind all that it should, whole: quick enough to be asked of hundreds of runs."""
        return self.read_status().get("state") == "done" and not self.trouble()

    def trouble(self) -> str:
        """What in the folder is missing or broken, and how to mend it; "" where nothing is.

        This is the one place that decides it, for training, status and report alike.
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
        """Mark the run as failed: the error's one line in `status.json`, the traceback in `error.txt`.

        What cannot be written is left out: a full disk must not hide what went wrong.
        """
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            self.error.unlink(missing_ok=True)  # of an earlier failure
        try:
            self.set_state("failed", first_line(error))
        except OSError:
            with suppress(OSError):  # over the old state, which takes no more room
                self._overwrite_status("failed", first_line(error))
        with suppress(OSError):
            write_text(self.error, traceback)

    def refuse(self, error: BaseException) -> None:
        """Leave the reason why a run could not begin, where nothing else is: as of one that failed, and tried again."""
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            if {file.name for file in self.path.iterdir()} <= {self.status.name, self.error.name}:
                self.error.unlink(missing_ok=True)
                self.set_state("failed", first_line(error))

    def write_frame(self, path: Path, frame: "pd.DataFrame") -> None:
        """Write a table; numbers keep every digit that they need to be read back equal."""
        write_text(path, frame.to_csv(index=False))

    def read_config(self) -> dict[str, Any]:
        """The configuration of the run. Raises `OSError` if there is none, `BadInput` if it is broken."""
        try:
            stat = self.config.stat()
            config = copy.deepcopy(_parsed(self.config, stat.st_mtime_ns, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            raise
        except Exception as error:  # the parser's own kinds, bytes that are no text, a folder in its place
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
        """What to tell where the disk has become full in the midst of the run."""
        return BadInput(f"{self.path}: its disk is full ({error.strerror}): make room, then the same command goes on")

    def _cannot_be_written(self, error: OSError) -> BadInput:
        how = "make room, or choose" if is_full(error) else "choose"
        return BadInput(f"{self.path} cannot be written ({one_line(error)}): {how} another folder with runs=")


def run_name(overrides: Sequence[str], config: dict[str, Any]) -> str:
    """The folder's name out of Hydra's overrides: `data.corruption=0.5,seed=1`, or `default` where none matters.

    Overrides are sorted. Those are left out that do not change the result, and the choices that the path above already
    tells. Values are those of `config`, the resolved configuration, so that `.5` and `0.50` mean the same folder.
    """
    values: dict[str, str] = {}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if key not in IN_PATH and not key.startswith("hydra") and not is_neutral(key, config):
            values[key] = _value(config, key, text)
    return _cut(",".join(_named(key, value) for key, value in sorted(values.items())) or "default")


def whole_name(name: str, config: dict[str, Any]) -> str:
    """The name of a run's folder as it was before `run_name` cut it, or `name` where that cannot be found.

    What was cut off are values of `config`, the run's configuration; of which keys, the hash at the name's end tells.
    """
    if len(name) != LONGEST_NAME or not re.search(r"-[0-9a-f]{8}$", name):
        return name
    whole = re.split(r",(?=[A-Za-z_][\w.@/]*=|~)", name[:-9])  # not at the commas of a list
    last = whole.pop()
    key = last.partition("=")[0]
    value = _value(config, key, "")
    whole.append(_named(key, value) if value else last.rpartition(",")[0])
    later = [_named(other, _value(config, other, "")) for other in sorted(flat(config)) if other > key]
    later = [part for part in later if not is_neutral(part.partition("=")[0], config)]
    for amount in range(len(later) + 1):
        if comb(len(later), amount) > MOST_GUESSES:
            break
        for parts in combinations(later, amount):
            guess = ",".join([*whole, *parts])
            if guess.startswith(name[:-9]) and _cut(guess) == name:
                return guess
    return name


def _named(key: str, value: str) -> str:
    return re.sub(r"[^\w.,=+~\[\]-]", "_", (f"{key}={value}" if value else key).replace(" ", ""))


def _cut(name: str) -> str:
    """A name that file systems allow: the end of a longer one is replaced by a hash of all of it."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it takes the place of `path` at the end, or vanishes after an exception.

    Raises `OSError` where the disk is full, also for what does not say so, such as torch's writer.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)  # mkstemp's files are for their owner alone
        beside.replace(path)
    except Exception as error:
        full = not isinstance(error, OSError) and _has_no_room(beside)
        with suppress(OSError):
            os.truncate(beside, 0)  # whatever still holds it open keeps no room
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def _has_no_room(file: Path) -> bool:
    """Whether nothing more can be written to a file, since its disk or its owner's share of it is full."""
    try:
        with file.open("ab") as more:
            more.write(bytes(1 << 16))
            more.flush()
            os.fsync(more.fileno())
    except OSError as error:
        return is_full(error)
    return False


def is_full(error: OSError) -> bool:
    """Whether an error says that a disk, or somebody's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; NaN, which JSON lacks, is an error."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def first_line(error: BaseException) -> str:
    """An exception in one line: its kind, unless that is `BadInput`, and the first line of its message."""
    kind, line = type(error).__name__, one_line(error)
    return line if line == kind or isinstance(error, BadInput) else f"{kind}: {line}"


def _status(state: State, error: str) -> dict[str, str]:
    """What `status.json` says."""
    status = {"state": state, "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return {**status, "error": error} if error else status


def _is_follower() -> bool:
    """Whether this is one of several processes that train one network, but not the first."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


@lru_cache(maxsize=4096)
def _parsed(file: Path, *version: int) -> Any:
    """The content of a YAML file in one of its versions: looking again and again at many runs parses each once."""
    return OmegaConf.to_container(OmegaConf.load(file))  # it was resolved when it was written


def _value(config: Any, key: str, text: str) -> str:
    """The value of a dotted key, or `text` for a choice such as network=mlp and what the config lacks."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return text
        config = config[part]
    if isinstance(config, dict):
        return text
    return json.dumps(config) if config is None or isinstance(config, bool) else str(config)
