"""Estimated time of steps: from similar runs and records, else from a timed training step."""

import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from condgen import experiments, machine
from condgen.config import Config
from condgen.errors import CondgenError
from condgen.randomness import stream
from condgen.registry import AUDITS
from condgen.runs import Run
from condgen.training.log import read_log

TIMED_IMAGES = 16
SECONDS_TO_TIME = 20.0  # limit for all timings together


class Estimates:
    """Estimated times on a device.

    Args:
        runs: Searched for similar runs and records.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda" or "auto".
    """

    def __init__(self, runs: Iterable[Run], data_dir: Path | None, device: str):
        self.runs, self.data_dir, self.device = list(runs), data_dir, device
        self.left = SECONDS_TO_TIME
        self.known: dict[str, tuple[float, int] | None] = {}

    def training(self, config: Config, begun: Run | None, *, timed: bool = False) -> float | None:
        """Seconds left of a training; ``None`` without a similar run or a timing."""
        key = f"{config.data!r} {config.model!r} {config.training.batch_size} {timed}"
        key += f" {type(config.objective).step.__qualname__}"
        if key not in self.known:
            self.known[key] = self._logged(config) or (self._timed(config) if timed else None)
        found = self.known[key]
        if found is None:
            return None
        seconds_per_step, steps_per_epoch = found
        total = config.training.epochs * steps_per_epoch
        total = min(total, config.training.max_steps or total)
        taken = begun.epochs_done * steps_per_epoch if begun else 0
        return max(0, total - taken) * seconds_per_step

    def audit(self, name: str, config: Config) -> float | None:
        """Seconds of an audit with the same settings, model and data; ``None`` if it never ran."""
        kind, settings = AUDITS.get(name), config.audit_settings(name).model_dump(mode="json")
        found = []
        for run in self.runs:
            if _alike(config, run.config) and run.has(kind.name):
                try:
                    origin = run.record(kind.name).origin
                except CondgenError:
                    continue
                if origin.get("settings") == settings and "seconds" in origin:
                    found.append(float(origin["seconds"]))
        return statistics.median(found) if found else None

    def _logged(self, config: Config) -> tuple[float, int] | None:
        """Seconds per step and steps per epoch, from the logs of similar runs."""
        place = machine.prepare_device(self.device).type
        for run in self.runs:
            lines = _lines(run) if _alike(config, run.config) else []
            if lines and str(lines[-1].get("device", place)).startswith(place):
                rate = statistics.median(line["images_per_second"] for line in lines)
                if rate > 0:
                    return run.config.training.batch_size / rate, int(lines[0]["step"])
        return None

    def _timed(self, config: Config) -> tuple[float, int] | None:
        """The same from a timed step on a few images.

        Errors are ignored here, because the step itself will raise them.
        """
        if self.left <= 0:
            return None
        start = time.monotonic()
        try:
            found = time_a_step(config, self.data_dir, self.device)
        except CondgenError:
            found = None
        self.left -= time.monotonic() - start
        return found


def _lines(run: Run) -> list[dict[str, Any]]:
    """The log of a run; empty if it is damaged."""
    try:
        return read_log(run.path)
    except CondgenError:
        return []


def time_a_step(config: Config, data_dir: Path | None, device: str) -> tuple[float, int]:
    """Seconds per training step and steps per epoch.

    The second of two steps is timed, because the first one initializes.
    """
    place, training = machine.prepare_device(device), config.training
    changes = {
        "model": config.model.on(place.type),
        "training": training.model_copy(update={"compile": False}),
    }
    splits = experiments.open_data(config, data_dir)
    parts = experiments.build(config.model_copy(update=changes), splits, place)
    count = min(TIMED_IMAGES, training.batch_size)
    x, label = splits.train.batch(slice(0, count))
    for _ in range(2):
        start = time.monotonic()
        metrics = parts.step.step(x, label, stream(config.seed, "timing"))
        [float(value) for value in metrics.values()]  # waits for the device
        seconds = time.monotonic() - start
    return seconds * training.batch_size / count, len(splits.train) // training.batch_size


def _alike(config: Config, other: Config) -> bool:
    """Whether two trainings take the same time per step on the same machine."""
    same_model = config.model.as_begun(other.model) == other.model
    return (
        same_model
        and type(config.objective).step is type(other.objective).step
        and config.data == other.data
        and config.training.batch_size == other.training.batch_size
    )
