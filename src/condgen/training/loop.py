"""The training loop: epochs, time limit, validation and checkpoints for any training step."""

import json
import math
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from condgen.config import Training
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import ImageDataset, check_fits
from condgen.errors import DataError, RunError
from condgen.files import as_json, atomic_write
from condgen.randomness import stream
from condgen.training import checkpoints, resuming
from condgen.training.checkpoints import SNAPSHOTS, Checkpoint, load_weights
from condgen.training.loader import Loader, steps_in_all, steps_per_epoch
from condgen.training.progress import Progress
from condgen.training.steps import NonFiniteLoss, TrainingStep


def fit_step(
    step: TrainingStep,
    train: ImageDataset,
    validation: ImageDataset,
    *,
    settings: Training,
    directory: Path | str,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    resume: bool = False,
    minutes: float | None = None,
    quiet: bool = False,
) -> dict[str, float]:
    """Train in place and leave the best checkpoint by the step's ``monitor`` in its classifier.

    Args:
        step: The training step.
        train: Training images.
        validation: Images that the best checkpoint is chosen by.
        settings: Epochs, batch size and stopping; build ``step`` with the same settings.
        directory: Where ``metrics.jsonl`` and ``checkpoint/`` are written.
        augmentation: Applied to training images only.
        seed: Seed of order, augmentation and noise. The same seed gives the same weights.
        resume: Continue from the newest checkpoint in ``directory``, at any step of an epoch.
        minutes: Stop before an epoch that would exceed the limit, estimated from the previous
            epoch; at least one is trained.
        quiet: Show no progress bar.

    Returns:
        The validation metrics of the best checkpoint.

    Raises:
        DataError: If there are fewer images than a batch has, there are no validation images, or
            the images do not fit the model.
        RunError: If ``directory`` holds checkpoints and ``resume`` is false, or the checkpoints
            belong to another training run.
        NonFiniteLoss: If a loss or its gradient is not finite; earlier checkpoints are kept.
    """
    per_epoch = steps_per_epoch(train, settings)
    _check_data(step, train, validation)
    loader = Loader(train, settings.batch_size, augmentation or Augmentation(), seed)
    run = _Run(step, loader, validation, Path(directory), settings)
    best = run.begin(resume)
    end, time_left = steps_in_all(per_epoch, settings), TimeLeft(minutes)
    with Progress(end, step.taken, quiet=quiet) as progress:
        for epoch in range(step.taken // per_epoch, -(-end // per_epoch)):
            if not time_left.for_another():
                break
            metrics = run.epoch(epoch, end, progress)
            is_best = metrics[step.monitor] < best[step.monitor]
            best = metrics if is_best else best
            run.keep(epoch + 1, metrics, best=is_best)
            progress.epoch_done(metrics)
    path = run.checkpoints / "best"
    load_weights(step.classifier.density, Checkpoint.load(path).weights, path)
    step.classifier.eval()
    return best


def _check_data(step: TrainingStep, train: ImageDataset, validation: ImageDataset) -> None:
    if not len(validation):
        raise DataError(
            f"{validation.name} has no validation images to choose the best checkpoint by; keep at"
            " least one."
        )
    for data in (train, validation):
        check_fits(data, step.classifier.density)


@dataclass(frozen=True)
class _Run:
    """A training run and its directory."""

    step: TrainingStep
    loader: Loader
    validation: ImageDataset
    directory: Path
    settings: Training

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoint"

    @property
    def made_with(self) -> dict[str, Any]:
        return resuming.made_with(self.step, self.loader, self.settings)

    def begin(self, resume: bool) -> dict[str, float]:
        """Restore the newest checkpoint, if any; returns the metrics of the best one so far."""
        best, device = {self.step.monitor: math.inf}, self.step.classifier.device
        if device.type == "cuda":  # reset once: a CUDA graph allocates in the first epoch only
            torch.cuda.reset_peak_memory_stats(device)
        if checkpoints.begun(self.checkpoints):
            if not resume:
                raise RunError(
                    f"{self.directory} holds checkpoints of another training run; use resume=True"
                    " or another directory."
                )
            best = resuming.restore(self.step, self.checkpoints, self.made_with)
        _truncate(self.directory / "metrics.jsonl", self.step.taken // len(self.loader))
        return best

    def epoch(self, epoch: int, end: int, progress: Progress) -> dict[str, float]:
        """Train the rest of an epoch, at most until step ``end``; returns validation metrics."""
        start, device = time.monotonic(), self.step.classifier.device
        progress.start_epoch()
        try:
            self._steps(epoch, end, progress)
            summary = progress.summary()
            metrics = self.step.validate(self.validation, self.loader.seed)
            if not math.isfinite(metrics[self.step.monitor]):
                what = f"validation {self.step.monitor}"
                raise NonFiniteLoss(f"{what} is not finite after epoch {epoch + 1}.")
        except NonFiniteLoss as error:
            raise NonFiniteLoss(f"{error} {self._kept()} {self.step.advice}") from error
        line = {
            "epoch": epoch + 1,
            "epochs": self.settings.epochs,
            "step": self.step.taken,
            "device": str(device),
            **summary,
            "seconds": round(time.monotonic() - start, 3),
            **{f"validation_{name}": value for name, value in metrics.items()},
        }
        if device.type == "cuda":
            line["peak_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
        # resuming drops a line without a checkpoint
        _append(self.directory / "metrics.jsonl", line)
        return metrics

    def _steps(self, epoch: int, end: int, progress: Progress) -> None:
        first = self.step.taken - epoch * len(self.loader)
        batches = islice(self.loader.epoch(epoch, first), end - self.step.taken)
        for number, (x, label) in enumerate(batches, first):
            noise = stream(self.loader.seed, "noise", epoch, number)
            progress.advance(self.step.step(x, label, noise), len(label))
            if is_due(
                self.step.taken,
                steps_in_all(len(self.loader), self.settings),
                self.settings.snapshots,
            ):
                state = Checkpoint(
                    dict(self.step.weights()), {}, epoch + 1, self.step.taken, {}, self.made_with
                )
                state.save(self.checkpoints / SNAPSHOTS / f"{self.step.taken:08d}")

    def keep(self, epoch: int, metrics: dict[str, float], *, best: bool) -> None:
        """Write the checkpoint of an epoch."""
        state = resuming.snapshot(self.step, epoch, metrics, self.made_with)
        checkpoints.keep(state, self.checkpoints, best=best)

    def _kept(self) -> str:
        _, kept, _ = checkpoints.progress_of(self.checkpoints)
        return (
            f"The checkpoint of step {kept} is kept."
            if kept
            else "No checkpoint had been written yet."
        )


def is_due(taken: int, steps: int, times: int) -> bool:
    """Whether step number ``taken`` of ``steps`` ends one of ``times`` equal parts.

    >>> [taken for taken in range(1, 11) if is_due(taken, 10, times=4)]
    [3, 5, 8, 10]
    """
    return taken * times // steps > (taken - 1) * times // steps


class TimeLeft:
    """Whether an epoch as long as the last one fits into ``minutes``; the first always does."""

    def __init__(self, minutes: float | None):
        self.end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.began: float | None = None

    def for_another(self) -> bool:
        """Whether the next epoch may start; call it once before each epoch."""
        now, before = time.monotonic(), self.began
        self.began = now
        return before is None or now + (now - before) <= self.end


def _truncate(path: Path, epochs: int) -> None:
    """Keep the lines of the first ``epochs`` epochs; the other epochs are trained again."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    with atomic_write(path) as work:
        work.write_text("".join(f"{line}\n" for line in lines[:epochs]))


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(as_json({"time": round(time.time(), 1), **line})) + "\n")
