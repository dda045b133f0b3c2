"""What a run has learnt: its model, its card, its promises and its samples."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from condgen.audits.checks import Check
from condgen.builders import build_classifier, build_density, open_data
from condgen.classifier import GenerativeClassifier
from condgen.config import Config
from condgen.data.dataset import Splits
from condgen.errors import ConfigError
from condgen.experiments.images import check_images_of
from condgen.experiments.settings import resolved
from condgen.models import card
from condgen.models.card import Card
from condgen.randomness import stream
from condgen.runs import Run
from condgen.testing import check_density
from condgen.training.checkpoints import Checkpoint, load_weights


def load_classifier(
    run: Run, splits: Splits, device: torch.device | None = None, checkpoint: Checkpoint | None = None
) -> GenerativeClassifier:
    """The run's best checkpoint, or the one that was read before, in evaluation mode, on ``device``."""
    check_images_of(run, splits)
    classifier = build_classifier(run.config, splits.train, device)
    load_weights(classifier.density, (checkpoint or Checkpoint.load(run.best)).weights, run.best)
    return classifier.eval()


def describe(config: Config, data_dir: Path | None = None, device: str = "cpu") -> Card:
    """The model card of ``config``, as a type of device computes it."""
    return card.describe(build_density(resolved(config, device), open_data(config, data_dir).train), device)


def check(run: Run, data_dir: Path | None = None, images: int = 16) -> list[Check]:
    """Conformance checks of a run's model on validation images."""
    splits = open_data(run.config, data_dir)
    x, _ = splits.validation.batch(slice(0, images))
    return check_density(load_classifier(run, splits).density, x)


def sample(
    run: Run, label: int | None, count: int, temperature: float, seed: int, data_dir: Path | None = None
) -> tuple[NDArray[np.floating], list[str]]:
    """Images of one class, or a row of each, and the names of the rows."""
    splits = open_data(run.config, data_dir)
    classifier = load_classifier(run, splits)
    names = splits.train.class_names
    if label is not None and not 0 <= label < len(names):
        raise ConfigError(f"label {label} is not a class of {splits.name}; give 0 to {len(names) - 1}.")
    chosen = range(len(names)) if label is None else [label]
    labels = torch.tensor(chosen).repeat_interleave(count)
    images = classifier.density.sample(labels, temperature, generator=stream(seed, "samples"))
    return images.numpy(), [names[y] for y in chosen]
