"""The training loop: epochs, time limit, validation and checkpoints for any training step."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condgen import processes
from condgen.config import Training
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import ImageDataset, check_fits
from condgen.errors import ConfigError, DataError, RunError
from condgen.randomness import stream
from condgen.training import checkpoints, resuming
from condgen.training.checkpoints import SNAPSHOTS, Checkpoint, load_weights
from condgen.training.loader import Loader, steps_in_all, steps_per_epoch
from condgen.training.log import Logger, MetricsFile, log_all
from condgen.training.progress import Progress
from condgen.training.steps import NonFiniteLoss, TrainingStep
from condgen.training.stopping import Stop, stopping


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
    loggers: Sequence[Logger] = (),
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
        minutes: Stop after the step that reaches this limit; at least one step is taken.
        quiet: Show no progress bar.
        loggers: Receive the metrics of each epoch, as ``metrics.jsonl`` does.

    Returns:
        The validation metrics of the best checkpoint; empty before the end of the first epoch.

    Raises:
        DataError: If there are fewer images than a batch has, there are no validation images, or
            the images do not fit the model.
        RunError: If ``directory`` holds checkpoints and ``resume`` is false, or the checkpoints
            belong to another training run.
        NonFiniteLoss: If a loss or its gradient is not finite; earlier checkpoints are kept.
        KeyboardInterrupt: After Ctrl-C, when the step is finished and a checkpoint is written.
        SystemExit: The same with status 143 after SIGTERM.
    """
    per_epoch = steps_per_epoch(train, settings)
    _check(step, train, validation)
    loader = Loader(
        train, settings.batch_size, augmentation or Augmentation(), seed, settings.accumulation
    )
    end, quiet = steps_in_all(per_epoch, settings), quiet or not processes.is_first()
    with Progress(end, quiet=quiet) as progress, stopping(minutes) as stop:
        run = _Run(step, loader, validation, Path(directory), settings, progress, stop, loggers)
        best = run.begin(resume)
        for epoch in range(run.epochs, -(-end // per_epoch)):
            metrics = run.epoch(epoch, end)
            if metrics is None:
                break
            is_best = metrics[step.monitor] < best[step.monitor]
            best = metrics if is_best else best
            run.keep(epoch + 1, metrics, best=is_best)
            progress.epoch_done(metrics)
            stop.check()
            if stop:
                break
    stop.raise_signal()
    step.classifier.eval()
    kept = processes.from_first(run.best_weights)
    if kept is None:
        return {}
    load_weights(step.classifier.density, kept, run.checkpoints / "best")
    return best


def _check(step: TrainingStep, train: ImageDataset, validation: ImageDataset) -> None:
    if processes.count() > 1 and not step.shared:
        raise ConfigError(
            f"{type(step).__name__} trains with one process only; start it without torchrun."
        )
    if not len(validation):
        raise DataError(
            f"{validation.name} has no validation images to choose the best checkpoint by; keep at"
            " least one."
        )
    for data in (train, validation):
        check_fits(data, step.classifier.density)


@dataclass
class _Run:
    """A training run and its directory.

    Attributes:
        epochs: Epochs done.
        metrics: Validation metrics of the last one.
        saved: When the last checkpoint was written.
    """

    step: TrainingStep
    loader: Loader
    validation: ImageDataset
    directory: Path
    settings: Training
    progress: Progress
    stop: Stop
    loggers: Sequence[Logger] = ()
    epochs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoint"

    @property
    def _longest(self) -> float:
        """Seconds between two checkpoints."""
        return 60 * self.settings.checkpoint_minutes

    @property
    def made_with(self) -> dict[str, Any]:
        return resuming.made_with(self.step, self.loader, self.settings)

    def begin(self, resume: bool) -> dict[str, float]:
        """Restore the newest checkpoint, if any; returns the metrics of the best one so far."""
        best, device = {self.step.monitor: math.inf}, self.step.classifier.device
        if device.type == "cuda":  # reset once: a CUDA graph allocates in the first epoch only
            torch.cuda.reset_peak_memory_stats(device)
        found = processes.from_first(lambda: self._newest(resume))
        if found is not None:
            state, best = found
            resuming.restore(self.step, state, self.checkpoints)
            self.metrics = state.metrics
            self.epochs = min(state.epoch, state.step // len(self.loader))
            if state.progress and state.step > self.epochs * len(self.loader):
                self.progress.restore(state.progress, device)
        self.progress.done(self.step.taken)
        file = processes.from_first(lambda: MetricsFile(self.directory, self.epochs))
        self.loggers = (file, *self.loggers) if processes.is_first() else ()
        return best

    def _newest(self, resume: bool) -> tuple[Checkpoint, dict[str, float]] | None:
        """The newest checkpoint and the metrics of the best one; ``None`` at the beginning."""
        if not checkpoints.begun(self.checkpoints):
            return None
        if not resume:
            raise RunError(
                f"{self.directory} holds checkpoints of another training run; use resume=True"
                " or another directory."
            )
        return resuming.newest(self.checkpoints, self.made_with, self.step.monitor)

    def best_weights(self) -> dict[str, Tensor] | None:
        """Weights of the best checkpoint; ``None`` before the end of the first epoch."""
        path = self.checkpoints / "best"
        return Checkpoint.load(path).weights if path.is_dir() else None

    def epoch(self, epoch: int, end: int) -> dict[str, float] | None:
        """Train the rest of an epoch, at most until step ``end``.

        Returns:
            Validation metrics; ``None`` if the training was stopped before, with a checkpoint.
        """
        device = self.step.classifier.device
        try:
            if not self._steps(epoch, end):
                return None
            summary = self.progress.summary()
            metrics = self.step.validate(self.validation, self.loader.seed)
            if not math.isfinite(metrics[self.step.monitor]):
                what = f"validation {self.step.monitor}"
                raise NonFiniteLoss(f"{what} is not finite after epoch {epoch + 1}.")
        except NonFiniteLoss as error:
            raise NonFiniteLoss(f"{error} {self._kept()} {self.step.advice}") from error
        line = {
            "epoch": epoch + 1,
            "epochs": self.settings.epochs,
            "device": str(device),
            "processes": processes.count(),
            **summary,
            "seconds": round(self.progress.seconds, 3),
            **{f"validation_{name}": value for name, value in metrics.items()},
        }
        if device.type == "cuda":
            line["peak_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
        # resuming drops a line without a checkpoint
        processes.from_first(lambda: log_all(self.loggers, line, self.step.taken))
        return metrics

    def _steps(self, epoch: int, end: int) -> bool:
        """Take the steps of an epoch that are left; returns whether all of them were taken."""
        per_epoch = len(self.loader)
        last = min(end, (epoch + 1) * per_epoch)
        first = self.step.taken - epoch * per_epoch
        if self.step.taken == last:
            return True  # only the validation is left
        for number, (x, label) in enumerate(self.loader.epoch(epoch, first), first):
            noise = stream(self.loader.seed, "noise", epoch, number)
            self.progress.advance(self.step.step(x, label, noise), self.loader.batch_size)
            if is_due(
                self.step.taken, steps_in_all(per_epoch, self.settings), self.settings.snapshots
            ):
                state = Checkpoint(
                    dict(self.step.weights()), {}, epoch + 1, self.step.taken, {}, self.made_with
                )
                place = self.checkpoints / SNAPSHOTS / f"{self.step.taken:08d}"
                processes.from_first(partial(state.save, place))
            (due,) = self.stop.check(time.monotonic() - self.saved >= self._longest)
            if self.stop:
                self._save(epoch, self.metrics, best=False)
                return False
            if self.step.taken == last:
                break
            if due:
                self._save(epoch, self.metrics, best=False)
        return True

    def keep(self, epoch: int, metrics: dict[str, float], *, best: bool) -> None:
        """Write the checkpoint of an epoch."""
        self.metrics = metrics
        self._save(epoch, metrics, best=best)
        self.progress.start_epoch()

    def _save(self, epoch: int, metrics: dict[str, float], *, best: bool) -> None:
        def save() -> None:
            progress = self.progress.state()
            state = resuming.snapshot(self.step, epoch, metrics, self.made_with, progress)
            checkpoints.keep(state, self.checkpoints, best=best)

        processes.from_first(save)
        self.saved = time.monotonic()

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
