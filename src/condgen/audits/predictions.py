"""Checks on the subject of an audit, and the model's predictions for it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from condgen.classifier import (
    GenerativeClassifier,
    Prediction,
    check_classifier,
    images_at_once,
    predict,
)
from condgen.data.dataset import ImageDataset, check_fits
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, DataError


def check_auditable(classifier: GenerativeClassifier, data: ImageDataset, classes: int = 1) -> None:
    """Refuse what an audit can say nothing about.

    Raises:
        CondgenError: If they are not a classifier and a data set.
        DataError: If the model is not for the data, there are fewer than two images, or the model knows fewer than ``classes``.
    """
    check_classifier(classifier)
    check_dataset(data, classifier.density)
    if len(data) < 2:
        raise DataError(
            f"{data.name} has {len(data)} image(s); intervals come from their spread: use 2 or more."
        )
    if classifier.density.num_classes < classes:
        raise DataError(
            f"the model knows {classifier.density.num_classes} class, and this audit asks about a wrong one."
        )


def check_dataset(data: object, density: ClassConditionalDensity) -> None:
    """Refuse what is no data set, or none for this model.

    Raises:
        CondgenError: If it is no data set.
        DataError: If the model is not for it.
    """
    if not isinstance(data, ImageDataset):
        raise CondgenError(
            f"the data is a {type(data).__name__}; give ImageDataset(images, labels)."
        )
    check_fits(data, density)


def predictions(classifier: GenerativeClassifier, data: ImageDataset) -> Iterator[Prediction]:
    """Predictions for all images in order, with few of them in memory at a time.

    Raises:
        CondgenError: If an answer is no number; see :func:`check_numbers`.
    """
    for x, _ in data.batches(images_at_once(classifier.density)):
        prediction = predict(classifier, x)
        check_numbers(prediction)
        yield prediction


def check_numbers(prediction: Prediction) -> None:
    """Refuse answers from which no mean can be taken; a likelihood of 0 (minus infinity) is an answer."""
    said = prediction.class_log_prob
    if senseless := int((said.isnan() | said.isposinf()).any(1).sum()):
        raise CondgenError(
            f"the model's log-likelihood is NaN or +infinity for {senseless} of {len(said)} images; see testing.check_density."
        )


def warnings_on(density: ClassConditionalDensity, bits_per_dim: NDArray[np.floating]) -> list[str]:
    """What is wrong with a likelihood as such: sentences for records and reports.

    >>> import torch
    >>> from condgen import DiagonalGaussian
    >>> density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
    >>> warnings_on(density, np.array([1.0, np.inf]))
    ['1 of 2 images have likelihood 0, so that means of bits/dim are infinite.']
    """
    said, levels = [], density.pixel_levels
    finite = bits_per_dim[np.isfinite(bits_per_dim)]
    if impossible := len(bits_per_dim) - len(finite):
        said.append(
            f"{impossible} of {len(bits_per_dim)} images have likelihood 0, so that means of bits/dim are infinite."
        )
    if levels is not None and len(finite) and finite.mean() < 0:
        said.append(
            f"{finite.mean():.2f} bits/dim are below 0, which no likelihood of {levels} pixel values can be: it looks like"
            f" that of x in [0, 1]. Subtract log({levels - 1}) nats per dimension."
        )
    return said
