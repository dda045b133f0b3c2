"""What a run has learned: its summary, its checks and its samples."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.audits.checks import Check
from condgen.classifier import GenerativeClassifier
from condgen.config import Config, Images, SubjectConfig
from condgen.density import ClassConditionalDensity
from condgen.errors import ConfigError
from condgen.experiments.building import images_of, open_data
from condgen.models.summary import ModelSummary
from condgen.models.summary import summarize as summary_of
from condgen.randomness import stream
from condgen.runs import RecordFolder
from condgen.runs.restoring import build_density
from condgen.testing import check_density


def summarize(
    config: Config | SubjectConfig, data_dir: Path | None = None, device: str = "cpu"
) -> ModelSummary:
    """The summary of the model of ``config``, as a type of device computes it; opens the data only for a new model."""
    images = config.images or images_of(open_data(config, data_dir))
    return summary_of(build_density(config.model.on(device), images, config.seed), device)


def check(folder: RecordFolder, data_dir: Path | None = None, images: int = 16) -> list[Check]:
    """Conformance checks of a model on its own samples, or on noise if it cannot be sampled from; needs no data."""
    found = _images_noted(folder, data_dir)
    classifier = folder.classifier(images=found)
    return check_density(classifier.density, _examples(classifier, found, images))


def _images_noted(folder: RecordFolder, data_dir: Path | None) -> Images:
    """What the images are like; only older runs need their data for it."""
    return folder.config.images or images_of(open_data(folder.config, data_dir))


def _examples(classifier: GenerativeClassifier, images: Images, number: int) -> Tensor:
    """Images as they could be stored: samples, or else noise."""
    generator, most = stream(0, "check"), images.levels - 1
    if type(classifier.density).sample is ClassConditionalDensity.sample:
        drawn = torch.rand(number, *images.shape, generator=generator)
    else:
        drawn = classifier.sample(torch.arange(number) % images.classes, generator=generator).cpu()
    return (drawn.nan_to_num(0.5).clamp(0, 1) * most).round() / most


def sample(
    folder: RecordFolder,
    label: int | None,
    count: int,
    temperature: float,
    seed: int,
    data_dir: Path | None = None,
) -> tuple[NDArray[np.floating], list[str]]:
    """Images of one class, or a row of each, and the names of the rows; a run that noted its images needs no data."""
    images = _images_noted(folder, data_dir)
    classifier = folder.classifier(images=images)
    names = images.class_names or [str(y) for y in range(images.classes)]
    if label is not None and not 0 <= label < len(names):
        raise ConfigError(
            f"label {label} is not a class of {folder.config.data.name}; give 0 to {len(names) - 1}."
        )
    chosen = range(len(names)) if label is None else [label]
    labels = torch.tensor(chosen).repeat_interleave(count)
    drawn = classifier.sample(labels, temperature, generator=stream(seed, "samples"))
    return drawn.cpu().numpy(), [names[y] for y in chosen]
