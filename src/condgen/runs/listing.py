"""Runs below a folder, with the state of each: reads small files, no tensor, and writes nothing."""

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from condgen.config import Training
from condgen.errors import CondgenError, RunError
from condgen.files import is_locked
from condgen.runs.run import LOCK, Run
from condgen.training.checkpoints import STATE, load_state
from condgen.training.loader import steps_in_all
from condgen.training.log import read_log
from condgen.training.steps import REPORTED_AS_MAXIMUM

State = Literal["running", "stopped", "done", "damaged"]
RECENT = 5  # epochs whose speed counts for the time left


@dataclass(frozen=True)
class Status:
    """State and progress of a run.

    Attributes:
        path: Run directory.
        state: "running" if a living process trains it, else "done" or "stopped"; "damaged" if its
            page, its log or the state of a checkpoint cannot be read.
        reason: Why it is damaged.
        epoch: Epochs done, of ``epochs``.
        step: Steps done until the newest checkpoint or line of the log, of ``steps``; ``steps`` is
            ``None`` if the number of images is not known yet.
        seconds_left: Estimated from the last epochs; ``None`` before the first checkpoint.
        accuracy: Share, on validation images, of the best checkpoint.
        bits_per_dim: The same.
        audits: Names of the audits made.
    """

    path: Path
    state: State
    reason: str = ""
    epoch: int = 0
    epochs: int | None = None
    step: int = 0
    steps: int | None = None
    seconds_left: float | None = None
    accuracy: float | None = None
    bits_per_dim: float | None = None
    audits: tuple[str, ...] = ()


def find_runs(folder: Path) -> list[Path]:
    """The run directories at or below ``folder``, in alphabetical order.

    Raises:
        RunError: If there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; give the folder that holds your runs.")
    found = []
    for place, folders, files in os.walk(folder):
        if Run.page in files:
            found.append(Path(place))
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return sorted(found)


def status_of(path: Path) -> Status:
    """The status of the run at ``path``."""
    for _ in range(2):  # a second look at a run that saved a checkpoint during the first
        running = is_locked(path / LOCK)
        try:
            return _status(Run.open(path), running)
        except (CondgenError, OSError) as error:
            reason = " ".join(str(error).split())
    return Status(path, "damaged", reason)


def partial_epoch(path: Path, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Training metrics and step of an unfinished epoch, from the newest checkpoint of a run.

    Args:
        path: Run directory.
        lines: Its log. If the log has the epoch, the result is empty.
    """
    state = _newest(path)
    progress = state.get("progress", {})
    steps = progress.get("steps")
    if not steps or state["step"] <= (_number(lines[-1], "step") if lines else 0):
        return {}
    found = zip(progress["names"], progress["sums"], progress["maxima"], strict=True)
    return {
        "step": state["step"],
        **{
            name: maximum if name in REPORTED_AS_MAXIMUM else total / steps
            for name, total, maximum in found
        },
    }


def _status(run: Run, running: bool) -> Status:
    training, lines, state = run.config.training, read_log(run.path), _newest(run.path)
    last = lines[-1] if lines else {}
    counts_log = running or not state  # resuming drops an epoch without a checkpoint
    logged = last if counts_log else {}
    epoch = max(int(_number(logged, "epoch")), state.get("epoch", 0))
    step = max(int(_number(logged, "step")), state.get("step", 0))
    per_epoch = _steps_per_epoch(run, lines, state)
    steps = steps_in_all(per_epoch, training) if per_epoch else None
    epochs = _epochs(training, steps, per_epoch)
    done = step >= (steps or math.inf) and epoch >= epochs
    best = load_state(run.best).get("metrics") or _best_of(lines)
    left = None if steps is None or done else _seconds_left(steps - step, lines, state)
    if left is not None and running:
        left = max(0.0, left - (time.time() - _moment(run, last)))
    return Status(
        run.path,
        "running" if running else "done" if done else "stopped",
        epoch=epoch,
        epochs=epochs,
        step=step,
        steps=steps,
        seconds_left=left,
        accuracy=best.get("accuracy"),
        bits_per_dim=best.get("bits_per_dim"),
        audits=tuple(run.audits_made()),
    )


def _newest(path: Path) -> dict[str, Any]:
    """The state of the newest checkpoint; empty if there is none."""
    folder = path / "checkpoint"
    return load_state(folder / "last") or load_state(folder / "previous")


def _steps_per_epoch(
    run: Run, lines: Sequence[Mapping[str, Any]], state: Mapping[str, Any]
) -> int | None:
    made_with, images = state.get("made_with", {}), run.config.images
    number = made_with.get("images") or (sum(images.counts) if images else 0)
    if number:
        return int(number // run.config.training.batch_size)
    return int(_number(lines[0], "step")) or None if lines else None


def _epochs(training: Training, steps: int | None, per_epoch: int | None) -> int:
    return -(-steps // per_epoch) if steps and per_epoch else training.epochs


def _seconds_left(
    steps: int, lines: Sequence[Mapping[str, Any]], state: Mapping[str, Any]
) -> float | None:
    """Seconds for so many steps, at the median speed of the last epochs or that of this one."""
    ends = [0.0, *(_number(line, "step") for line in lines)]
    paces = [
        _number(line, "seconds") / (ends[place + 1] - ends[place])
        for place, line in enumerate(lines)
        if ends[place + 1] > ends[place] and _number(line, "seconds")
    ]
    progress = state.get("progress", {})
    if not paces and progress.get("steps"):
        paces = [progress["seconds"] / progress["steps"]]
    return steps * statistics.median(paces[-RECENT:]) if paces else None


def _moment(run: Run, last: Mapping[str, Any]) -> float:
    """When the run last saved a checkpoint or a line of its log."""
    try:
        saved = (run.path / "checkpoint" / "last" / STATE).stat().st_mtime
    except OSError:
        saved = 0.0
    return max(saved, _number(last, "time"))


def _best_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Validation metrics of the epoch with the lowest loss, for a run without checkpoints."""
    scored = [line for line in lines if isinstance(line.get("validation_loss"), float)]
    best = min(scored, key=lambda line: line["validation_loss"], default={})
    return {name.removeprefix("validation_"): value for name, value in best.items()}


def _number(line: Mapping[str, Any], key: str) -> float:
    """A number of the log; 0 if an older line lacks it."""
    value = line.get(key)
    return value if isinstance(value, int | float) else 0
