"""Trains a tiny run in forked processes that are killed at random moments: DIRECTORY KILLS.

Forks share one import of PyTorch, so that a kill costs a fraction of a second.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from condgen import experiments, machine
from condgen.config import load_preset
from tests.conftest import TINY

SETTINGS = (
    *TINY,
    "training.epochs=4",
    "training.average=0.9",
    "training.snapshots=3",
    "training.checkpoint_minutes=1e-4",
    "objective.ramp=0.5",
)
LONGEST = 1.0  # seconds until a kill


def train(path: Path) -> None:
    config = load_preset("digits-reweight", SETTINGS)
    experiments.train(config, path, resume=path.exists(), quiet=True)


def killed(path: Path, after: float) -> bool:
    """Train in a process that is killed after so many seconds; whether it was still training."""
    child = os.fork()
    if not child:
        code = 1
        try:
            machine.prepare(1)
            train(path)
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + after
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended and time.monotonic() < end:
        time.sleep(0.01)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a training failed with exit status {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def main() -> None:
    path, kills = Path(sys.argv[1]), int(sys.argv[2])
    draw, survived = random.Random(0), 0
    while survived < kills and killed(path, draw.uniform(0.02, LONGEST)):
        survived += 1
    print(survived)
    while killed(path, 60.0):
        pass


if __name__ == "__main__":
    main()
