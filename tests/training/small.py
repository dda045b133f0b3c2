"""A small training for tests, and comparisons of its results."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from condgen.classifier import GenerativeClassifier
from condgen.config import Images, Training, load_preset
from condgen.data.augmentation import Augmentation
from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset
from condgen.models.gaussian import DiagonalGaussian
from condgen.models.glow import Glow
from condgen.training.checkpoints import Checkpoint
from condgen.training.log import read_log
from condgen.training.loop import fit_step
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.objectives import Objective, Reweight
from condgen.training.steps import TrainingStep
from tests.conftest import TINY

SETTINGS = Training(epochs=2, batch_size=64, learning_rate=1e-3, warm_up_steps=10)
IMAGES = Images(shape=[1, 8, 8], classes=10, levels=17)
PER_EPOCH = 4  # steps: 256 images in batches of 64


def settings(**changes: Any) -> Training:
    return SETTINGS.model_copy(update=changes)


def tiny_density(seed: int = 0, preset: str = "digits-reweight", *overrides: str) -> Glow:
    return load_preset(preset, [*TINY, *overrides]).model.build(IMAGES, seed)


def step_of(
    page: Training = SETTINGS,
    objective: Objective | None = None,
    seed: int = 0,
    per_epoch: int = PER_EPOCH,
) -> MaximumLikelihood:
    classifier = GenerativeClassifier(tiny_density(seed))
    return MaximumLikelihood(classifier, objective or Reweight(), page, per_epoch)


def images(number: int = 256) -> ImageDataset:
    return open_dataset("digits").train.take(slice(0, number))


def train(
    directory: Path,
    *,
    step: TrainingStep | None = None,
    seed: int = 0,
    number: int = 256,
    **changes: Any,
) -> dict[str, Tensor]:
    """Train the tiny model with changed settings or loop arguments; return the last weights."""
    arguments = {
        name: changes.pop(name) for name in ("resume", "minutes", "loggers") if name in changes
    }
    page = settings(**changes)
    fit_step(
        step or step_of(page, seed=seed, per_epoch=number // page.batch_size),
        images(number),
        open_dataset("digits").validation,
        settings=page,
        directory=str(directory),
        augmentation=Augmentation(crop_padding=1),
        seed=seed,
        quiet=True,
        **arguments,
    )
    return last(directory).weights


def last(directory: Path) -> Checkpoint:
    return Checkpoint.load(directory / "checkpoint" / "last")


def log(directory: Path) -> list[dict[str, Any]]:
    return read_log(directory)


def epochs_logged(directory: Path) -> list[int]:
    return [line["epoch"] for line in log(directory)]


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return any(not torch.equal(first[name], second[name]) for name in first)


class TrainedGaussian(DiagonalGaussian):
    """A model without noise that learns its means, with optional input dropout."""

    def __init__(self, dropout: float = 0.0, dtype: torch.dtype = torch.float64):
        mean = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
        super().__init__(mean)
        del self.mean
        self.mean = nn.Parameter(mean)
        self.dropout = nn.Dropout(dropout)
        self.pixel_levels = 17

    def class_log_prob(self, x: Tensor) -> Tensor:
        return super().class_log_prob(self.dropout(x))
