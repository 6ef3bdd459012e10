"""The lease of a run's folder: it says which process works on the run, and ends with that process.

The holder keeps the file locked, and the kernel unlocks it when the process dies. Reused process ids and wrong clocks
do no harm. Between hosts, locks of a shared file system may not work: the holder also changes the file every few
seconds. A process that saw it unchanged for long enough, by its own clock, may remove it.
"""

import errno
import fcntl
import json
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEAT = 10.0
"""Seconds between two changes of the file, the holder's signs of life."""
PATIENCE = 90.0
"""Seconds without a sign of life after which a holder on another host counts as dead."""
SIZE = 512
"""Bytes of the file. They are written over in place, which works on a full disk too."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class UnderLease(Exception):
    """Another process works in the folder. `doubtful`: it may have died; only watching the lease can tell."""

    def __init__(self, message: str, doubtful: bool = False) -> None:
        super().__init__(message)
        self.doubtful = doubtful


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease, as the lease says; `certain`: the process is known to be alive."""

    content: bytes
    certain: bool
    fields: dict[str, Any]

    def __str__(self) -> str:
        return f"process {self.fields.get('pid', '?')} on {self.fields.get('host', '?')}"


class Lease:
    """The lease of a file's folder, held until `release` or the end of the process. Raises `UnderLease` if it is held.

    Attributes:
        lost: another process assumed that this one had died, as after a suspension of its host. Stop working.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lost = path, False
        self._fields: dict[str, Any] = {
            "host": platform.node()[:100],
            "pid": os.getpid(),
            "kernel": _kernel(),
            "beat": 0,
        }
        self._file = _locked(path)
        _HELD.add(self._file)
        self._write()
        self._released = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._live, daemon=True).start()

    def update(self, **fields: Any) -> None:
        """Write down how far the work is. Raises `UnderLease` if the lease is lost."""
        with self._lock:
            self._fields.update(fields)
        if time.monotonic() - self._written > 1:
            self.beat()
        self.check()

    def check(self) -> None:
        """Raises `UnderLease` if the lease is lost."""
        with self._lock:
            self._look()
        if self.lost:
            raise UnderLease(f"{self.path.parent} was taken over: this process gave no sign of life for too long")

    def beat(self) -> None:
        """Change the file, or notice that another process has replaced it."""
        with self._lock:
            self._look()
            if not (self.lost or self._released.is_set()):
                self._fields["beat"] += 1
                self._write()

    def release(self) -> None:
        """End the lease."""
        with self._lock:
            self._released.set()
            if _is_at(self._file, self.path):
                self.path.unlink(missing_ok=True)
            _HELD.discard(self._file)
            os.close(self._file)

    def _look(self) -> None:
        """Notice whether another process has replaced the file."""
        self.lost = self.lost or not (self._released.is_set() or _is_at(self._file, self.path))

    def _write(self) -> None:
        self._written = time.monotonic()
        with suppress(OSError):  # an error of the file system must not end a training
            os.pwrite(self._file, json.dumps(self._fields).encode().ljust(SIZE - 1) + b"\n", 0)
            os.fsync(self._file)

    def _live(self) -> None:
        while not self._released.wait(BEAT):
            self.beat()


def holder(path: Path) -> Holder | None:
    """The holder of a lease; None where there is no lease, or its holder is known to be dead."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content = os.pread(file, SIZE, 0)
        free = _try_lock(file, fcntl.LOCK_SH)
    finally:
        os.close(file)
    fields = _parsed(content)
    if free and fields.get("kernel") == _kernel():
        return None
    return Holder(content, free is False, fields)


def check_free(path: Path) -> None:
    """Raises `UnderLease` where a lease is held, or may be."""
    held = holder(path)
    if held is not None:
        raise UnderLease(f"{path.parent}: under way in {held}", doubtful=not held.certain)


class Watch:
    """Distinguishes dead holders from living ones by watching their leases, with its own clock."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def is_free(self, path: Path) -> bool:
        """Whether no process holds the lease. A lease without a sign of life for `PATIENCE` seconds is removed."""
        held = holder(path)
        if held is None:
            return True
        content, since = self._seen.get(path, (b"", 0.0))
        if held.certain or held.content != content:
            self._seen[path] = (held.content, time.monotonic())
            return False
        if time.monotonic() - since < PATIENCE:
            return False
        again = holder(path)
        if again is not None and again.content != content:
            return False
        path.unlink(missing_ok=True)
        return True

    def outlives(self, path: Path) -> bool:
        """Wait for a sign of life: False once there is one, True once the holder counts as dead."""
        first = holder(path)
        while not self.is_free(path):
            now = holder(path)
            if first and now and (now.certain or now.content != first.content):
                return False
            time.sleep(min(1.0, BEAT / 4))
        return True


def silence(path: Path) -> float:
    """Seconds since a lease was changed, by the file system's clock. For display, not for decisions."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


_HELD: set[int] = set()


def _close_in_child() -> None:
    """Close leases in forked processes: a loader's worker that outlives its parent must not hold them."""
    for file in _HELD:
        os.close(file)
    _HELD.clear()


os.register_at_fork(after_in_child=_close_in_child)


def _locked(path: Path) -> int:
    """The lease's file, opened and locked by this process."""
    for attempt in range(25):
        if attempt:
            time.sleep(0.002)
        try:
            file, fresh = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), True
        except FileExistsError:
            try:
                file, fresh = os.open(path, os.O_RDWR | os.O_CLOEXEC), False
            except FileNotFoundError:  # released just now
                continue
        free = _try_lock(file, fcntl.LOCK_EX)
        while fresh and free is False:  # another process tests the lock, which takes a moment
            time.sleep(0.002)
            free = _try_lock(file, fcntl.LOCK_EX)
        if fresh:
            return file
        ours = free and _is_at(file, path)
        if ours and _parsed(os.pread(file, SIZE, 0)).get("kernel") == _kernel():  # its holder died
            return file
        os.close(file)
        check_free(path)
    raise UnderLease(f"{path.parent}: under way in another process")


def _try_lock(file: int, kind: int) -> bool | None:
    """Whether a file could be locked; None where the file system has no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one that has this name."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # unknown
    return os.path.samestat(os.fstat(file), there)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _kernel() -> str:
    """An id of the running kernel, as locks may not work between hosts. A restart changes it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
