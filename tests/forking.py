"""Work in forked processes, which share one import of PyTorch."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import tests.preloaded  # noqa: F401
from condgen import experiments, machine
from condgen.config import load_preset
from condgen.errors import CondgenError
from condgen.runs import Run
from tests.conftest import TINY

SETTINGS = (*TINY, "audit.adversarial.attacked=4", "training.snapshots=0")
EVERY_STEP = "training.checkpoint_minutes=1e-9"


def train(path: Path, *settings: str, minutes: float | None = None) -> None:
    config = load_preset("digits-base", (*SETTINGS, *settings))
    experiments.train(config, path, resume=path.exists(), minutes=minutes, quiet=True)


def audit(path: Path) -> None:
    experiments.audit(Run.open(path), ["adversarial"], quiet=True)


def start(work: Callable[[], object]) -> tuple[int, int]:
    """Fork a process for ``work``; returns its id and a pipe for its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 1
    try:
        machine.prepare(1)
        try:
            work()
        except CondgenError as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(child: int, reading: int) -> str:
    """The error of a process; empty if it had none."""
    with os.fdopen(reading) as pipe:
        error = pipe.read()
    if code := os.waitpid(child, 0)[1]:
        raise SystemExit(f"the process ended with {code}")
    return error


def run(work: Callable[[], object]) -> str:
    """Do ``work`` in a process; returns its error."""
    return wait(*start(work))
