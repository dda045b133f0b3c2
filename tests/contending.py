"""Two processes train or audit one directory: DIRECTORY; prints the error of the second.

The first is stopped while it holds the lock, continued until it has written another file, and
killed.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.forking import EVERY_STEP, audit, run, start, train


def contend(work: Callable[[], object], folder: Path, pattern: str) -> None:
    """Start ``work`` twice; the first has the lock as soon as a file ``pattern`` exists."""
    child, _ = start(work)
    newest(folder, pattern, 0)
    os.kill(child, signal.SIGSTOP)
    before = newest(folder, pattern, 0)
    print(run(work))
    os.kill(child, signal.SIGCONT)
    newest(folder, pattern, before)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("undisturbed,", run(work) or "continued")


def newest(folder: Path, pattern: str, after: float) -> float:
    """When the newest of these files was written; waits for one after a given time."""
    latest = 0.0
    while latest <= after:
        time.sleep(0.01)
        with suppress(FileNotFoundError):  # a checkpoint is being replaced
            latest = max((path.stat().st_mtime for path in folder.glob(pattern)), default=0.0)
    return latest


def main() -> None:
    path = Path(sys.argv[1])
    contend(lambda: train(path / "parts", EVERY_STEP), path, "parts/checkpoint/*/state.toml")
    contend(lambda: audit(path / "parts"), path, "parts/records/adversarial/*/*")
    run(lambda: train(path / "whole", EVERY_STEP))


if __name__ == "__main__":
    main()
