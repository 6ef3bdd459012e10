"""Leases: one holder at a time; a lease is free when its holder is dead, whatever clocks and process numbers do."""

import json
import os
import signal

import pytest
from launches import holding, killed, until

from single_directions.runs import lease as leases
from single_directions.runs.lease import PATIENCE, SIZE, Lease, UnderLease, Watch, check_free, holder, silence


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease.json"


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands still until it is moved."""

    class Clock:
        now = 1000.0

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(leases.time, "sleep", clock.sleep)
    return clock


def of_another_machine(path, beat=0):
    """The lease of a holder whose lock cannot be seen here."""
    told = {"host": "far", "pid": os.getpid(), "kernel": "another", "beat": beat}
    path.write_bytes(json.dumps(told).encode().ljust(SIZE - 1) + b"\n")


def test_one_holder_at_a_time(path):
    assert holder(path) is None
    lease = Lease(path)
    assert holder(path).certain
    assert holder(path).fields["pid"] == os.getpid()
    with pytest.raises(UnderLease, match=f"under way in process {os.getpid()} on ") as caught:
        Lease(path)
    assert not caught.value.doubtful
    lease.release()
    assert not path.exists()
    Lease(path).release()


def test_lease_tells_how_far_the_work_is(path, monkeypatch):
    lease = Lease(path)
    before = holder(path)
    lease.update(epoch=3, epochs=9, left=1.5)
    lease.beat()
    assert holder(path).content != before.content
    assert {"epoch": 3, "epochs": 9, "left": 1.5}.items() <= holder(path).fields.items()
    assert path.stat().st_size == SIZE
    lease.release()


@pytest.mark.parametrize("child", [False, True])
def test_killed_process_loses_its_lease(path, child):
    process = holding(path, child)
    assert holder(path).fields["pid"] == process.pid
    with pytest.raises(UnderLease):
        check_free(path)
    if child:
        until(lambda: (path.parent / "child").read_text() != "")
    killed(process)
    try:
        assert path.exists()
        check_free(path)
        Lease(path).release()
    finally:
        if child:  # which outlives it, as a loader's worker may for some seconds
            os.kill(int((path.parent / "child").read_text()), signal.SIGKILL)


def test_process_number_used_anew_does_not_hold(path):
    Lease(path).release()
    told = {"host": "here", "pid": os.getpid(), "kernel": leases._kernel(), "beat": 5}
    path.write_text(json.dumps(told))
    assert holder(path) is None
    lease = Lease(path)
    assert holder(path).fields["beat"] == 0
    lease.release()


@pytest.mark.parametrize("seconds", [-1e8, 1e8])
def test_file_times_that_are_wrong_change_nothing(path, seconds):
    lease = Lease(path)
    os.utime(path, (path.stat().st_mtime + seconds,) * 2)
    with pytest.raises(UnderLease):
        Lease(path)
    assert not Watch().is_free(path)
    assert not lease.lost
    lease.release()


def test_dead_holder_of_another_machine_is_known_by_watching(path, clock):
    of_another_machine(path)
    os.utime(path, (0, 0))  # its clock may be wrong by decades
    with pytest.raises(UnderLease) as caught:
        Lease(path)
    assert caught.value.doubtful
    watch = Watch()
    assert not watch.is_free(path)
    clock.now += PATIENCE - 1
    assert not watch.is_free(path)
    of_another_machine(path, beat=1)
    clock.now += 2
    assert not watch.is_free(path)
    clock.now += PATIENCE
    assert watch.is_free(path)
    Lease(path).release()


def test_waiting_ends_with_a_sign_of_life_or_without_any(path, clock, monkeypatch):
    of_another_machine(path)
    start = clock.now
    assert Watch().outlives(path)
    assert PATIENCE <= clock.now - start <= PATIENCE + 2
    assert not path.exists()
    of_another_machine(path)
    start = clock.now
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: (clock.sleep(seconds), of_another_machine(path, beat=2)))
    assert not Watch().outlives(path)
    assert clock.now - start <= 2


def test_holder_that_was_taken_for_dead_notices(path):
    lease = Lease(path)
    path.unlink()
    other = Lease(path)
    before = path.read_bytes()
    lease.beat()
    assert path.read_bytes() == before
    with pytest.raises(UnderLease, match="taken over"):
        lease.update(epoch=2)
    lease.release()
    assert holder(path).certain
    other.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]\n"])
def test_file_that_cannot_be_read_is_in_doubt(path, content):
    path.write_bytes(content)
    with pytest.raises(UnderLease) as caught:
        Lease(path)
    assert caught.value.doubtful


def test_file_system_without_locks_leaves_holders_in_doubt(path, monkeypatch):
    def flock(file, kind):
        raise OSError(leases.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(leases.fcntl, "flock", flock)
    lease = Lease(path)
    with pytest.raises(UnderLease) as caught:
        Lease(path)
    assert caught.value.doubtful
    lease.release()
    Lease(path).release()


def test_silence_is_shown_by_the_age_of_the_file(path):
    of_another_machine(path)
    assert silence(path) < PATIENCE
    os.utime(path, (path.stat().st_mtime + 1e6,) * 2)
    assert silence(path) < PATIENCE
    os.utime(path, (0, 0))
    assert silence(path) > PATIENCE
    path.unlink()
    assert silence(path) > PATIENCE
