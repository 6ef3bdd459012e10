"""What each run of a sweep saw. A callback of Hydra's writes it down in the process of the run."""

import json
import os
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

from hydra.experimental.callback import Callback


class Witness(Callback):
    """Leaves `<folder>/<number of the run>-<process>.json` for each attempt at a run.

    The first process of run `kill` is killed once a checkpoint of it has been written, each one of run `doom` at once.
    """

    def __init__(self, folder: str, kill: int | None = None, doom: int | None = None) -> None:
        self.folder, self.kill, self.doom = Path(folder), kill, doom

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Writes down the start."""
        self.seen = {
            "run": config.hydra.job.num,
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "omp": os.environ.get("OMP_NUM_THREADS"),
            "start": time.time(),
        }
        self.write()
        if self.seen["run"] == self.doom:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seen["run"] == self.kill and len(list(self.folder.glob(f"{self.kill}-*"))) == 1:
            pattern = f"{config.runs}/*/*/*optimizer.lr={config.optimizer.lr},*/last.ckpt"
            Thread(target=kill_once_there_is, args=(Path(config.hydra.runtime.cwd), pattern), daemon=True).start()

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        """Writes down the end."""
        self.seen["end"] = time.time()
        self.write()

    def write(self) -> None:
        """The file of this attempt."""
        (self.folder / f"{self.seen['run']}-{os.getpid()}.json").write_text(json.dumps(self.seen))


def kill_once_there_is(folder: Path, pattern: str) -> None:
    """Ends this process without a chance to clean up."""
    while not list(folder.glob(pattern)):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
