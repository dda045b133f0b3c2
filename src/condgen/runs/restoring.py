"""From settings to a model, and a fitted detector to a file and back."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.audits.records import Record
from condgen.classifier import GenerativeClassifier, class_prior
from condgen.config import DetectorSettings, Images, ModelSettings
from condgen.density import ClassConditionalDensity
from condgen.detectors import Detector
from condgen.errors import ConfigError
from condgen.registry import DETECTORS

FITTED = "detector"  # the name of the files

Attribute = bool | int | float | str | None


def build_density(settings: ModelSettings, images: Images, seed: int) -> ClassConditionalDensity:
    """The density that the settings describe, which remembers them."""
    density = settings.build(images, seed)
    density.settings = settings
    return density


def build_classifier(settings: ModelSettings, images: Images, seed: int) -> GenerativeClassifier:
    """Bayes' rule over the density that the settings describe, or the classifier that a factory of one's own returns."""
    made, prior = settings.call(images, seed), class_prior(settings.class_prior, images.counts)
    if isinstance(made, GenerativeClassifier):
        classifier = made if prior is None else _with_prior(made, prior, settings.name)
    else:
        classifier = GenerativeClassifier(made, prior)
    classifier.density.settings = settings
    return classifier


def _with_prior(made: GenerativeClassifier, prior: Tensor, name: str) -> GenerativeClassifier:
    """The classifier of a factory with the class prior of the page, where it has no other."""
    if made.class_prior != "uniform" and not torch.allclose(
        made.log_prior.cpu().double().exp(), prior, atol=1e-5
    ):
        raise ConfigError(
            f"{name} returns a classifier with another class prior, {made.class_prior}; drop model.class_prior."
        )
    return GenerativeClassifier(made.density, prior)


def keep_detector(directory: Path, detector: Detector, made_with: dict[str, Any]) -> bool:
    """Save a fitted detector, so that it can be used without the data that it was fitted to.

    Returns:
        Whether it could be: its attributes must be tensors, numbers and texts.
    """
    found = vars(detector)
    tensors = {name: _array(value) for name, value in found.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in found.items() if name not in tensors}
    if not all(isinstance(value, Attribute) for value in others.values()):
        return False
    Record(FITTED, {"attributes": others}, tensors, made_with).save(directory)
    return True


def kept_detector(
    directory: Path, settings: DetectorSettings, made_with: dict[str, Any]
) -> Detector | None:
    """The detector that :func:`keep_detector` saved, if it was made with the same.

    Raises:
        RunError: If it is damaged.
    """
    if not (directory / f"{FITTED}.json").exists():
        return None
    record = Record.load(directory, FITTED)
    if record.origin != made_with:
        return None
    kind: type[Detector] = DETECTORS.get(settings.name)
    detector = kind.from_settings(settings)
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in record.arrays.items()}
    vars(detector).update(record.summary["attributes"] | tensors)
    return detector


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
