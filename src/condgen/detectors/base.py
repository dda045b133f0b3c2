"""The detector interface: subclass it, set ``unit`` and implement ``score``."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar, Self, SupportsFloat

import torch
from torch import Tensor

from condgen.classifier import GenerativeClassifier, at_least_float32, images_at_once, predict
from condgen.config import DetectorSettings, Quantile
from condgen.data.dataset import ImageDataset, Splits
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.prediction import Prediction
from condgen.registry import DETECTORS
from condgen.validation import is_number

BITS_PER_DIM = "bits/dim"


class Detector(abc.ABC):
    """A score per image; images with a score above the threshold are rejected.

    Args:
        threshold: In ``unit``. Default: :func:`build_detector` sets it from the settings.

    Attributes:
        name: Name of the score, for tables and figures.
        unit: Unit of the score, for tables and figures.

    Examples:
        >>> class Entropy(Detector):
        ...     name, unit = "entropy", "nats"
        ...     def score(self, prediction):
        ...         return torch.special.entr(prediction.log_posterior.exp()).sum(-1)
        >>> Entropy(0.5)
        Entropy(threshold=0.5)
    """

    name: ClassVar[str] = ""
    unit: ClassVar[str] = ""

    class Settings(DetectorSettings):
        """Settings of the table `[detector]`; subclass to add settings of your detector."""

    # set if the threshold was estimated as a quantile of the scores of this number of images
    quantile: float | None = None
    images: int | None = None

    def __init__(self, threshold: float | None = None):
        self._threshold = None if threshold is None else _finite(threshold, self.unit)

    @classmethod
    def from_settings(cls, _settings: Any) -> Self:
        """Build the detector from its settings, not fitted and without a threshold."""
        return cls()

    def fit(
        self, classifier: GenerativeClassifier, train: ImageDataset, validation: ImageDataset
    ) -> None:
        """Estimate the parameters of :meth:`score` from held-out images. Default: do nothing."""
        return

    @abc.abstractmethod
    def score(self, prediction: Prediction) -> Tensor:
        """Score of each image, shape ``(N,)``; higher means less like the training data.

        Differentiable, for gradient attacks.
        """

    def scale(self, dims: int) -> float:
        """Nats per unit of the score for images of ``dims`` numbers.

        Attacks weight the margin of the detector with it.
        """
        return 1.0

    def of_uniform(self, dims: int, levels: int) -> float | None:
        """Score of an image with the log p(x) of a uniform model, ``-dims * log(levels)``.

        ``None`` if the detector has no such score.
        """
        return math.log2(levels) if self.unit == BITS_PER_DIM else None

    @property
    def threshold(self) -> float:
        """Threshold in ``unit``.

        Raises:
            CondgenError: If no threshold is set.
        """
        if self._threshold is None:
            raise CondgenError(
                f"{type(self).__name__} has no threshold; give one, as in"
                f" {type(self).__name__}(1.4)."
            )
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold, self.quantile, self.images = _finite(value, self.unit), None, None

    @classmethod
    def at_quantile(cls, scores: Tensor, quantile: float) -> Self:
        """Build a detector that accepts the share ``quantile`` of held-out in-distribution images.

        Args:
            scores: Scores of these images, shape ``(N,)``, in ``unit``.
            quantile: Between 0 and 1.
        """
        detector = cls(threshold_at(scores, quantile))
        detector.quantile, detector.images = float(quantile), scores.numel()
        return detector

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self._threshold})"


def build_detector(
    settings: DetectorSettings, classifier: GenerativeClassifier, splits: Splits
) -> Detector:
    """Build the detector from its settings, fit it and set its threshold.

    Raises:
        ConfigError: If the name in the settings is not a registered detector.
        CondgenError: If the threshold is a quantile and there are no validation images.
    """
    kind: type[Detector] = DETECTORS.get(settings.name)
    detector = kind.from_settings(settings)
    detector.fit(classifier, splits.train, splits.validation)
    if isinstance(settings.threshold, Quantile):
        scores = over(
            classifier,
            splits.validation,
            lambda prediction: score(detector, prediction, fitting=True),
        )
        detector.threshold = threshold_at(scores, settings.threshold.quantile)
        detector.quantile, detector.images = settings.threshold.quantile, len(scores)
    else:
        detector.threshold = settings.threshold
    return detector


def over(
    classifier: GenerativeClassifier, data: ImageDataset, quantity: Callable[[Prediction], Tensor]
) -> Tensor:
    """Compute one number for each image of a data set in batches, shape ``(N,)``.

    Processes share each batch.
    """
    batches = data.batches(images_at_once(classifier.density))
    parts = (predict(classifier, x, shared=True) for x, _ in batches)
    return torch.cat([torch.zeros(0), *map(quantity, parts)])


def threshold_at(scores: Tensor, quantile: float) -> float:
    """The threshold that accepts the share ``quantile`` of ``scores``.

    >>> threshold_at(torch.tensor([1.0, 2.0, 3.0]), quantile=0.75)
    2.5
    """
    if not is_number(quantile, 0, 1) or quantile == 0 or scores.numel() == 0:
        raise CondgenError(
            f"quantile {quantile} of {scores.numel()} images: expected 0 < quantile <= 1 and at"
            " least one image."
        )
    threshold = float(torch.quantile(scores.double(), quantile).item())
    if not math.isfinite(threshold):
        broken = int((~torch.isfinite(scores)).sum())
        raise CondgenError(
            f"quantile {quantile} of {scores.numel()} images is {threshold}: {broken} of their"
            " scores are not finite; give the threshold as a number, or fix the model (see"
            " testing.check_density)."
        )
    return threshold


def flagged(detector: Detector, prediction: Prediction) -> Tensor:
    """Mask of the images that the detector rejects, shape ``(N,)``, bool."""
    return rejected(score(detector, prediction), detector.threshold)


def rejected(scores: Tensor, threshold: float) -> Tensor:
    """Decision rule: reject scores above the threshold and NaN; accept scores equal to it.

    >>> rejected(torch.tensor([1.0, 2.0, torch.nan]), 1.0)
    tensor([False,  True,  True])
    """
    return ~(scores <= threshold)


def score(detector: Detector, prediction: Prediction, *, fitting: bool = False) -> Tensor:
    """Score each image with the detector, shape ``(N,)``.

    Args:
        detector: Any object with ``score`` and ``threshold``.
        prediction: Of the images.
        fitting: The threshold may still be unset.

    Raises:
        CondgenError: If the score is not one number per image, or ``detector`` is not a detector.
    """
    check_detector(detector, fitting=fitting)
    scores, number = detector.score(prediction), len(prediction.class_log_prob)
    if not isinstance(scores, Tensor) or scores.shape != (number,):
        given = (
            f"shape {tuple(scores.shape)}"
            if isinstance(scores, Tensor)
            else f"a {type(scores).__name__}"
        )
        raise CondgenError(
            f"{type(detector).__name__}.score gave {given}, expected a tensor of shape ({number},)."
        )
    return at_least_float32(scores) if scores.is_floating_point() else scores.float()


def check_detector(detector: object, *, fitting: bool = False) -> None:
    """Refuse objects that are not detectors.

    Raises:
        CondgenError: If ``detector`` has no ``score`` or no ``threshold``, or is a class.
    """
    usable = not isinstance(detector, type) and hasattr(detector, "score")
    if not usable or not (
        fitting or isinstance(getattr(detector, "threshold", None), SupportsFloat)
    ):
        raise CondgenError(
            f"the detector is {detector!r}; expected an object with a `threshold` and a `score`,"
            " such as LikelihoodThreshold(1.4)."
        )


def warnings_of(detector: Detector, density: ClassConditionalDensity) -> list[str]:
    """Warnings about a threshold that is too high or estimated from too few images.

    >>> from condgen import DiagonalGaussian, LikelihoodThreshold
    >>> density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
    >>> print(warnings_of(LikelihoodThreshold(8.6), density)[0].split(":")[0])
    the threshold of 8.60 bits/dim lets a uniform model pass (8.00 for 256 levels)
    """
    found, threshold, unit = [], float(detector.threshold), getattr(detector, "unit", "")
    uniform = None
    if isinstance(detector, Detector) and density.pixel_levels is not None:
        uniform = detector.of_uniform(density.dims, density.pixel_levels)
    if uniform is not None and uniform <= threshold:
        found.append(
            f"the threshold of {threshold:.2f} {unit} lets a uniform model pass ({uniform:.2f} for"
            f" {density.pixel_levels} levels): it rejects almost no unlikely image. Train longer,"
            " or give a lower threshold."
        )
    quantile, images = (getattr(detector, key, None) for key in ("quantile", "images"))
    if quantile is not None and images is not None and quantile < 1 and _needed(quantile) > images:
        most = math.floor(1e4 * (1 - 1 / images)) / 1e4
        found.append(
            f"the threshold is the {quantile:g} quantile of {images} validation images, about"
            f" their largest score: it needs {_needed(quantile)} images. Use more images, or a"
            f" quantile of {most:g} at most."
        )
    return found


def _needed(quantile: float) -> int:
    """Number of images for which at least one score is above the quantile; ``quantile`` < 1."""
    return math.ceil(1 / (1 - quantile) - 1e-6)


def summary_of(
    detector: Detector, density: ClassConditionalDensity | None = None
) -> dict[str, Any]:
    """Name, unit and threshold, for records; with a density also :func:`warnings_of`, if any."""
    name = getattr(detector, "name", "") or type(detector).__name__
    summary = {
        "name": name,
        "unit": getattr(detector, "unit", ""),
        "threshold": float(detector.threshold),
    }
    found = [] if density is None else warnings_of(detector, density)
    return {**summary, "warnings": found} if found else summary


def scale_of(detector: Detector, dims: int) -> float:
    """Nats per unit of the detector's score; bits/dim if the object has no ``scale``."""
    own = getattr(detector, "scale", None)
    return float(own(dims)) if callable(own) else dims * math.log(2)


def _finite(threshold: object, unit: str) -> float:
    value = float(threshold) if isinstance(threshold, SupportsFloat) else math.nan
    if not math.isfinite(value):
        raise CondgenError(
            f"the detector's threshold is {threshold}, expected a finite number of"
            f" {unit or 'its unit'}."
        )
    return value
