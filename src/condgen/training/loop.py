"""Training: one loop that reads from top to bottom."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from condgen import config
from condgen.classifier import GenerativeClassifier, Prediction
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import ImageDataset, check_fits
from condgen.errors import DataError, RunError
from condgen.files import written_whole
from condgen.randomness import numpy_stream, stream
from condgen.training import checkpoints
from condgen.training.checkpoints import Checkpoint
from condgen.training.objectives import Objective, bits_per_dim
from condgen.training.optimiser import NonFiniteLoss, Optimiser
from condgen.training.progress import Progress

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Loader:
    """Shuffled, augmented batches; an epoch depends on the seed and its number alone."""

    data: ImageDataset
    batch_size: int
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = numpy_stream(self.seed, "order", number).permutation(len(self.data))
        augmentation = stream(self.seed, "augmentation", number)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            x, label = self.data.batch(np.sort(order[start : start + self.batch_size]))
            yield self.augmentation(x, augmentation), label


def fit(
    classifier: GenerativeClassifier,
    objective: Objective,
    train: ImageDataset,
    validation: ImageDataset,
    *,
    settings: config.Training,
    directory: Path | str,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    resume: bool = False,
    minutes: float | None = None,
    quiet: bool = False,
) -> dict[str, float]:
    """Train ``classifier`` in place and leave the best checkpoint by validation loss in it.

    Args:
        classifier: Its density is trained, on the device where it is.
        objective: Loss per image.
        train: Images to learn from.
        validation: Images to choose the best checkpoint by.
        settings: Epochs, batch size, learning rate and its schedule.
        directory: Takes ``metrics.jsonl`` and ``checkpoint/``.
        augmentation: Applied to training images only.
        seed: Of order, augmentation and noise. The same seed gives the same weights.
        resume: Go on from the newest checkpoint in ``directory``.
        minutes: Start no epoch that would end later than this, judged by the one before; at least one is trained.
        quiet: No progress bar.

    Returns:
        The validation metrics of the best checkpoint.

    Raises:
        DataError: If there are fewer images than a batch has, none to validate on, or the model is not for them.
        RunError: If ``directory`` holds checkpoints and ``resume`` is false.
        NonFiniteLoss: If the loss or its gradient stops being finite; checkpoints written before are good.
    """
    density = classifier.density
    loader = Loader(train, settings.batch_size, augmentation or Augmentation(), seed)
    check_batches(train, settings)
    if not len(validation):
        raise DataError(f"{validation.name} has no validation images to choose the best checkpoint by; keep at least one.")
    for data in (train, validation):
        check_fits(data, density)
    optimiser = Optimiser(density.named_parameters(), settings, len(loader))
    directory, start, best = Path(directory), 0, {"loss": float("inf")}
    if checkpoints.begun(directory / "checkpoint"):
        if not resume:
            raise RunError(f"{directory} holds checkpoints of another training; use resume=True or another directory.")
        start, best = _restore(density, optimiser, directory)
    _truncate(directory / "metrics.jsonl", start)
    time_left = TimeLeft(minutes)
    with Progress(settings.epochs * len(loader), start * len(loader), quiet=quiet) as progress:
        for epoch in range(start, settings.epochs):
            if not time_left.for_another():
                break
            progress.start_epoch()
            try:
                _train_epoch(classifier, objective, optimiser, loader, epoch, progress)
            except NonFiniteLoss as error:
                raise NonFiniteLoss(f"{error} {_advice(optimiser, loader, epoch)}") from error
            summary = progress.summary()
            metrics = validate(classifier, objective, validation, seed)
            if not math.isfinite(metrics["loss"]):
                raise NonFiniteLoss(
                    f"validation loss is not finite after epoch {epoch + 1}. {_advice(optimiser, loader, epoch)}"
                )
            is_best = metrics["loss"] < best["loss"]
            best = metrics if is_best else best
            counters = {"epoch": epoch + 1, "epochs": settings.epochs, "step": optimiser.step, "device": str(classifier.device)}
            _append(directory / "metrics.jsonl", {**counters, **summary, **_named(metrics)})  # one too many is dropped later
            state = Checkpoint(density.state_dict(), optimiser.state(), epoch + 1, optimiser.step, metrics)
            checkpoints.keep(state, directory / "checkpoint", best=is_best)
            progress.epoch_done(metrics)
    density.load_state_dict(Checkpoint.load(directory / "checkpoint" / "best").weights)
    classifier.eval()
    return best


def _train_epoch(
    classifier: GenerativeClassifier,
    objective: Objective,
    optimiser: Optimiser,
    loader: Loader,
    epoch: int,
    progress: Progress,
) -> None:
    classifier.train()
    noise = stream(loader.seed, "noise", epoch)
    for x, label in loader.epoch(epoch):
        label = label.to(classifier.device)
        with classifier.density.fresh_noise(noise):
            prediction = classifier(x)
        loss = objective(prediction, label).mean()
        optimiser.step_on(loss)
        progress.advance(loss, prediction, label)


class TimeLeft:
    """Whether another epoch fits into ``minutes``, as long as the last one; the first one always does."""

    def __init__(self, minutes: float | None):
        self.end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.began: float | None = None

    def for_another(self) -> bool:
        """Asked before each epoch."""
        now, before = time.monotonic(), self.began
        self.began = now
        return before is None or now + (now - before) <= self.end


def check_batches(train: ImageDataset, settings: config.Training) -> None:
    """Refuse a batch size that the data cannot fill once."""
    if len(train) < settings.batch_size:
        raise DataError(f"{train.name} has {len(train)} training images, fewer than one batch of {settings.batch_size}.")


@torch.no_grad()
def validate(classifier: GenerativeClassifier, objective: Objective, data: ImageDataset, seed: int) -> dict[str, float]:
    """Mean loss, bits/dim under the true class and accuracy, with the same noise at every call."""
    classifier.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    with classifier.density.fresh_noise(stream(seed, "validation")):
        for x, label in data.batches(EVALUATION_BATCH):
            prediction: Prediction = classifier(x)
            label = label.to(classifier.device)
            correct = prediction.label == label
            figures = (objective(prediction, label), bits_per_dim(prediction, label), correct)
            sums += torch.stack([figure.double().sum() for figure in figures]).cpu()
    loss, bits, accuracy = (sums / len(data)).tolist()
    return {"loss": loss, "bits_per_dim": bits, "accuracy": accuracy}


def _restore(density: torch.nn.Module, optimiser: Optimiser, directory: Path) -> tuple[int, dict[str, float]]:
    state, gone_back = checkpoints.newest(directory / "checkpoint")
    checkpoints.load_weights(density, state.weights, directory / "checkpoint")
    optimiser.restore(state.optimiser, state.step)
    best, replaced = checkpoints.best_metrics(directory / "checkpoint", state)
    for warning in filter(None, (gone_back, replaced)):
        Console(stderr=True).print(warning, markup=False)
    return state.epoch, best


def _advice(optimiser: Optimiser, loader: Loader, epoch: int) -> str:
    kept = f"The checkpoint of step {epoch * len(loader)} is kept." if epoch else "No checkpoint had been written yet."
    return f"{kept} Lower training.learning_rate, now {optimiser.settings.learning_rate:g}, or raise training.warm_up_steps."


def _named(metrics: dict[str, float]) -> dict[str, float]:
    return {f"validation_{name}": value for name, value in metrics.items()}


def _truncate(path: Path, epochs: int) -> None:
    """Keep the lines of the first ``epochs`` epochs: a run that goes on writes the others again."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    with written_whole(path) as work:
        work.write_text("".join(f"{line}\n" for line in lines[:epochs]))


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"time": round(time.time(), 1), **line}) + "\n")
