"""Building a model from its settings; saving and loading a fitted detector."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.audits.records import Record
from condgen.classifier import GenerativeClassifier
from condgen.config import DetectorSettings, Images, ModelSettings
from condgen.density import ClassConditionalDensity
from condgen.detectors import Detector
from condgen.errors import ConfigError
from condgen.registry import DETECTORS

FITTED = "detector"  # name of the files

Attribute = bool | int | float | str | None


def build_density(settings: ModelSettings, images: Images, seed: int) -> ClassConditionalDensity:
    """Build the density that the settings describe; its ``settings`` attribute stores them."""
    density = settings.build(images, seed)
    density.settings = settings
    return density


def build_classifier(settings: ModelSettings, images: Images, seed: int) -> GenerativeClassifier:
    """Build the classifier: Bayes' rule over the density of the settings, or that of a factory."""
    made, prior = settings.call(images, seed), class_prior(settings.class_prior, images.counts)
    if isinstance(made, GenerativeClassifier):
        classifier = made if prior is None else _with_prior(made, prior, settings.name)
    else:
        classifier = GenerativeClassifier(made, prior)
    classifier.density.settings = settings
    return classifier


def class_prior(setting: str | Sequence[float], counts: Sequence[int]) -> Tensor | None:
    """Build the class prior from the setting ``model.class_prior``; ``None`` if it is uniform.

    Args:
        setting: "uniform", "counts", or the probability of each class.
        counts: Number of training images of each class.

    Raises:
        ConfigError: If a class has no training images, or the probabilities are invalid.

    Examples:
        >>> class_prior("counts", [3, 1])
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    if setting == "uniform":
        return None
    if setting == "counts":
        empty = [str(y) for y, count in enumerate(counts) if count == 0]
        if empty or not counts:
            found = (
                f"class {', '.join(empty)} has no training image"
                if empty
                else "the number of training images per class is not recorded"
            )
            raise ConfigError(
                f"model.class_prior is 'counts', but {found}; use 'uniform', or a list of"
                " probabilities."
            )
        setting = [count / sum(counts) for count in counts]
    prior = torch.tensor([float(each) for each in setting], dtype=torch.float64)
    if (
        not (prior > 0).all()
        or not math.isclose(prior.sum(), 1, abs_tol=1e-5)
        or (counts and len(prior) != len(counts))
    ):
        expected = f"{len(counts)} positive numbers" if counts else "positive numbers"
        raise ConfigError(
            f"model.class_prior is {prior.tolist()}, expected 'uniform', 'counts', or {expected}"
            " that sum to 1."
        )
    return prior / prior.sum()


def _with_prior(made: GenerativeClassifier, prior: Tensor, name: str) -> GenerativeClassifier:
    """The classifier of a factory with the class prior of the page; refuses a different prior."""
    if made.class_prior != "uniform" and not torch.allclose(
        made.log_prior.cpu().double().exp(), prior, atol=1e-5
    ):
        raise ConfigError(
            f"{name} returns a classifier with another class prior, {made.class_prior}; remove"
            " model.class_prior."
        )
    return GenerativeClassifier(made.density, prior)


def keep_detector(directory: Path, detector: Detector, made_with: dict[str, Any]) -> bool:
    """Save a fitted detector, so that it can be used without the data.

    Returns:
        Whether it was saved: all attributes must be tensors, numbers, strings or None.
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
    """The detector saved by :func:`keep_detector`, if ``made_with`` is equal.

    Raises:
        RunError: If the file is damaged.
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
