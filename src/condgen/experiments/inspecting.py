"""Inspection of a run: model summary, conformance checks and samples."""

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
    """The model summary of ``config`` for a type of device; opens the data only for a new model."""
    images = config.images or images_of(open_data(config, data_dir))
    return summary_of(build_density(config.model.on(device), images, config.seed), device)


def check(folder: RecordFolder, data_dir: Path | None = None, images: int = 16) -> list[Check]:
    """Run conformance checks of a model on its samples, or on noise if it has no ``sample``.

    The data is opened only for older runs.
    """
    description = _image_description(folder, data_dir)
    classifier = folder.classifier(images=description)
    return check_density(classifier.density, _examples(classifier, description, images))


def _image_description(folder: RecordFolder, data_dir: Path | None) -> Images:
    """The description of the images; only older runs need their data for it."""
    return folder.config.images or images_of(open_data(folder.config, data_dir))


def _examples(classifier: GenerativeClassifier, images: Images, number: int) -> Tensor:
    """Example images, quantized to the pixel levels: samples, or noise if there are none."""
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
    """Sample images of one class, or a row per class; returns them and the names of the rows.

    The data is opened only for older runs.
    """
    images = _image_description(folder, data_dir)
    classifier = folder.classifier(images=images)
    names = images.class_names or [str(y) for y in range(images.classes)]
    if label is not None and not 0 <= label < len(names):
        raise ConfigError(
            f"label {label} is not a class of {folder.config.data.name}; give 0 to"
            f" {len(names) - 1}."
        )
    chosen = range(len(names)) if label is None else [label]
    labels = torch.tensor(chosen).repeat_interleave(count)
    drawn = classifier.sample(labels, temperature, generator=stream(seed, "samples"))
    return drawn.cpu().numpy(), [names[y] for y in chosen]
