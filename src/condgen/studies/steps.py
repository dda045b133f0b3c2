"""A step of a study, and its execution by a worker; a step returns errors instead of raising."""

import json
import os
import platform
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from condgen import experiments, machine
from condgen.config import Config
from condgen.errors import CondgenError
from condgen.files import atomic_write
from condgen.runs import Run
from condgen.studies.labels import file_name

TRAINING = "training"
Ending = Literal["done", "stopped", "failed", "not run"]

_step_lock = threading.Lock()  # a training seeds the generators of the whole process
_prepared: list[int | None] = []


@dataclass(frozen=True)
class Step:
    """The training of a run, or one audit of it.

    Args:
        label: Label of the run, unique in its study.
        config: Configuration of the training and of the audit.
        path: The run directory.
        what: :data:`TRAINING` or the name of an audit.
    """

    label: str
    config: Config = field(compare=False)
    path: Path
    what: str

    @property
    def name(self) -> str:
        """The name of the step, such as "digits-base/training"."""
        return f"{self.label}/{self.what}"

    @property
    def is_training(self) -> bool:
        return self.what == TRAINING


@dataclass(frozen=True)
class Setting:
    """The setting that all steps of a call share; sent to the workers.

    Args:
        folder: The folder of the study; it holds notes on running steps and on failed steps.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda" or "auto".
        threads: CPU threads of a step. Default: the worker's free cores.
        until: Time limit in seconds since 1970. No step starts after it; training stops with a
            checkpoint.
    """

    folder: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int | None = None
    until: float | None = None


def note(folder: Path, step: Step, kind: Literal["running", "failed"]) -> Path:
    """The path of a note on a step of the study in ``folder``."""
    return folder / kind / file_name(step.name.replace("/", "--"))


@dataclass(frozen=True)
class Outcome:
    """How a step ended: done, stopped at the time limit, failed with an error, or not run."""

    ending: Ending
    seconds: float = 0.0
    error: str = ""
    details: str = ""


TOO_LATE = Outcome("not run", error="the time limit is reached")


def take(step: Step, setting: Setting) -> Outcome:
    """Run a step in this process; a lock allows one step at a time."""
    with _step_lock:
        if setting.until is not None and time.time() >= setting.until:
            return TOO_LATE
        start = time.monotonic()
        try:
            with _running_note(note(setting.folder, step, "running")):
                _prepare(setting.threads)
                ending = _train(step, setting) if step.is_training else _audit(step, setting)
            return Outcome(ending, time.monotonic() - start)
        except Exception as error:
            words = (
                str(error)
                if isinstance(error, CondgenError)
                else f"{type(error).__name__}: {error}"
            )
            return Outcome(
                "failed", time.monotonic() - start, " ".join(words.split()), traceback.format_exc()
            )


def _train(step: Step, setting: Setting) -> Ending:
    minutes = None if setting.until is None else max(0.0, setting.until - time.time()) / 60
    experiments.train(
        step.config,
        step.path,
        data_dir=setting.data_dir,
        device=setting.device,
        resume=step.path.exists(),
        minutes=minutes,
        quiet=True,
    )
    return "done" if experiments.is_trained(step.path, step.config) else "stopped"


def _audit(step: Step, setting: Setting) -> Ending:
    experiments.audit(
        Run.open(step.path),
        [step.what],
        config=step.config,
        data_dir=setting.data_dir,
        device=setting.device,
        quiet=True,
    )
    return "done"


def _prepare(threads: int | None) -> None:
    """Set up the process once."""
    if _prepared != [threads]:
        machine.prepare(threads)
        _prepared[:] = [threads]


@contextmanager
def _running_note(path: Path) -> Iterator[None]:
    """A note of the process that runs the step, while the block runs.

    A note that a killed worker left is replaced by that of the next worker.
    """
    with atomic_write(path) as work:
        work.write_text(
            json.dumps({"host": platform.node(), "pid": os.getpid(), "since": time.time()}) + "\n"
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
