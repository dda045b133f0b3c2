"""Trains and audits on a full disk, then with room again: DIRECTORY; prints an error per line.

A limit on the size of files stands for a full disk: writes beyond it fail with an error.
"""

import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.forking import EVERY_STEP, audit, run, train


def limited(limit: int, work: Callable[[], object]) -> str:
    """The error of ``work`` where no file may have more than so many bytes."""

    def starved() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        work()

    return run(starved)


def main() -> None:
    folder = Path(sys.argv[1])
    whole, parts, log = (folder / name for name in ("whole", "parts", "log"))
    run(lambda: train(whole, EVERY_STEP))
    run(lambda: train(parts, EVERY_STEP, minutes=0))
    for name in ("optimizer", "weights"):
        size = (whole / f"checkpoint/last/{name}.safetensors").stat().st_size
        print(limited(size - 1, lambda: train(parts, EVERY_STEP)))
    print(run(lambda: train(parts, EVERY_STEP)))
    run(lambda: train(log, minutes=0))
    print(limited(100, lambda: train(log)))
    print((log / "metrics.jsonl").stat().st_size)
    print(run(lambda: train(log)))
    print(limited(2000, lambda: audit(parts)))


if __name__ == "__main__":
    main()
