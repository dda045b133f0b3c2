"""Checks of a model and its data, and the model's predictions."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from condgen.classifier import (
    GenerativeClassifier,
    check_classifier,
    images_at_once,
    predict,
)
from condgen.data.dataset import ImageDataset, check_fits
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, DataError
from condgen.prediction import Prediction


def check_auditable(classifier: GenerativeClassifier, data: ImageDataset, classes: int = 1) -> None:
    """Check that an audit can run on this classifier and data.

    Raises:
        CondgenError: If they are not a classifier and a data set.
        DataError: If the model does not fit the data, there are fewer than two images, or the model
            has fewer than ``classes`` classes.
    """
    check_classifier(classifier)
    check_dataset(data, classifier.density)
    if len(data) < 2:
        raise DataError(
            f"{data.name} has {len(data)} image(s), too few for an interval; use 2 or more."
        )
    if classifier.density.num_classes < classes:
        raise DataError(
            f"the model has {classifier.density.num_classes} class, and this audit needs at least"
            f" {classes}; train it on more classes."
        )


def check_dataset(data: object, density: ClassConditionalDensity) -> None:
    """Check that ``data`` is a data set that fits the model.

    Raises:
        CondgenError: If it is not a data set.
        DataError: If the model does not fit it.
    """
    if not isinstance(data, ImageDataset):
        raise CondgenError(
            f"the data is a {type(data).__name__}; give ImageDataset(images, labels)."
        )
    check_fits(data, density)


def predictions(classifier: GenerativeClassifier, data: ImageDataset) -> Iterator[Prediction]:
    """Predict all images in order, in batches that fit in memory and that processes share.

    Raises:
        CondgenError: If a log-likelihood is NaN or +infinity; see :func:`check_numbers`.
    """
    for x, _ in data.batches(images_at_once(classifier.density)):
        prediction = predict(classifier, x, shared=True)
        check_numbers(prediction)
        yield prediction


def check_numbers(prediction: Prediction) -> None:
    """Check that no log-likelihood is NaN or +infinity; minus infinity, likelihood 0, is valid.

    Raises:
        CondgenError: If one is.
    """
    found = prediction.class_log_prob
    if invalid := int((found.isnan() | found.isposinf()).any(1).sum()):
        raise CondgenError(
            f"the model's log-likelihood is NaN or +infinity for {invalid} of {len(found)} images;"
            " see testing.check_density."
        )


def warnings_on(density: ClassConditionalDensity, bits_per_dim: NDArray[np.floating]) -> list[str]:
    """Warnings about implausible likelihoods, as sentences for records and reports.

    >>> import torch
    >>> from condgen import DiagonalGaussian
    >>> density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
    >>> warnings_on(density, np.array([1.0, np.inf]))
    ['1 of 2 images have likelihood 0, so that means of bits/dim are infinite.']
    """
    warnings, levels = [], density.pixel_levels
    finite = bits_per_dim[np.isfinite(bits_per_dim)]
    if impossible := len(bits_per_dim) - len(finite):
        warnings.append(
            f"{impossible} of {len(bits_per_dim)} images have likelihood 0, so that means of"
            " bits/dim are infinite."
        )
    if levels is not None and len(finite) and finite.mean() < 0:
        warnings.append(
            f"{finite.mean():.2f} bits/dim are below 0, which no likelihood of {levels} pixel"
            " values can be. It looks like the density of x in [0, 1]."
            f" Subtract log({levels - 1}) nats per dimension."
        )
    return warnings
