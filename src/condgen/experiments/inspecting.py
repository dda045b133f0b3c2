"""What a run has learned: its summary, its checks and its samples."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from condgen.audits.checks import Check
from condgen.config import Config, SubjectConfig
from condgen.errors import ConfigError
from condgen.experiments.building import build_density, check_images_of, images_of, open_data
from condgen.experiments.subjects import load_classifier
from condgen.models.summary import ModelSummary
from condgen.models.summary import summarize as summary_of
from condgen.randomness import stream
from condgen.runs import RecordFolder
from condgen.testing import check_density


def summarize(config: Config | SubjectConfig, data_dir: Path | None = None, device: str = "cpu") -> ModelSummary:
    """The summary of the model of ``config``, as a type of device computes it; opens the data only for a new model."""
    images = config.images or images_of(open_data(config, data_dir))
    return summary_of(build_density(config.model.on(device), images, config.seed), device)


def check(folder: RecordFolder, data_dir: Path | None = None, images: int = 16) -> list[Check]:
    """Conformance checks of a model on validation images."""
    splits = open_data(folder.config, data_dir)
    check_images_of(folder.config, splits, folder.path)
    x, _ = splits.validation.batch(slice(0, images))
    return check_density(load_classifier(folder, images_of(splits)).density, x)


def sample(
    folder: RecordFolder,
    label: int | None,
    count: int,
    temperature: float,
    seed: int,
    data_dir: Path | None = None,
) -> tuple[NDArray[np.floating], list[str]]:
    """Images of one class, or a row of each, and the names of the rows; a run that noted its images needs no data."""
    images = folder.config.images or images_of(open_data(folder.config, data_dir))
    classifier = load_classifier(folder, images)
    names = images.class_names or [str(y) for y in range(images.classes)]
    if label is not None and not 0 <= label < len(names):
        raise ConfigError(f"label {label} is not a class of {folder.config.data.name}; give 0 to {len(names) - 1}.")
    chosen = range(len(names)) if label is None else [label]
    labels = torch.tensor(chosen).repeat_interleave(count)
    drawn = classifier.density.sample(labels, temperature, generator=stream(seed, "samples"))
    return drawn.cpu().numpy(), [names[y] for y in chosen]
