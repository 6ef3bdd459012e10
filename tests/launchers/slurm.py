"""A Slurm of one node on loopback, from Debian's packages, with two pretended GPUs. For tests only, as root.

`python slurm.py FOLDER` starts it, prints the line that a shell needs to use it, and ends it with itself.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "sbatch", "srun")
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
JobRequeue=1
KillWait=2
SlurmdParameters=config_overrides
SlurmctldDebug=error
SlurmdDebug=error
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:2 State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here, or None."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"{', '.join(absent)} not installed: apt-get install slurm-wlm munge" if absent else None


@contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Within it a Slurm runs; what to add to the environment of whoever uses it. Its processes end with it.

    `folder` needs a short path, as sockets lie in it.
    """
    processes: list[subprocess.Popen[bytes]] = []
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}

    def start(*command: str | Path) -> None:
        log = (folder / "daemons.log").open("ab")
        with log:
            processes.append(
                subprocess.Popen(
                    command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
                )
            )

    try:
        _configure(folder, cpus)
        files = ("key", "socket", "pid", "log", "seed")
        places = [f"--{name}{'' if name == 'socket' else '-file'}={folder}/munge.{name}" for name in files]
        start("munged", "--foreground", "--force", *places)
        _until(lambda: (folder / "munge.socket").exists(), processes, folder)
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", socket.gethostname().split(".")[0])
        _until(lambda: _is_idle(environment), processes, folder)
        yield environment
    finally:
        _cancel_all(environment)
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _configure(folder: Path, cpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    for number in range(2):
        if not (device := folder / f"gpu{number}").exists():
            os.mknod(device, 0o20666, os.makedev(1, 3))  # what /dev/null is
    host = socket.gethostname().split(".")[0]
    values = {"host": host, "folder": folder, "cpus": cpus, "controller": _free_port(), "daemon": _free_port()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")


def _until(ready, processes: list[subprocess.Popen[bytes]], folder: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end or any(process.poll() is not None for process in processes):
            logs = "\n".join(file.read_text() for file in sorted(folder.glob("*.log")))
            raise RuntimeError(f"Slurm did not start:\n{logs}")
        time.sleep(0.1)


def _is_idle(environment: dict[str, str]) -> bool:
    command = ["sinfo", "--noheader", "--format=%T"]
    asked = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return asked.stdout.strip() == "idle"


def _cancel_all(environment: dict[str, str]) -> None:
    """So that no job outlives its daemons."""
    names = {**os.environ, **environment}
    subprocess.run(["scancel", "--state=PENDING"], env=names, capture_output=True, check=False)
    subprocess.run(
        ["scancel", "--full", "--signal=KILL", "--partition=tests"], env=names, capture_output=True, check=False
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def _path() -> str:
    """Debian keeps the daemons where only root's shell looks."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


if __name__ == "__main__":
    with slurm(Path(sys.argv[1])) as names:
        print("export", *(f"{key}={value}" for key, value in names.items()), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
