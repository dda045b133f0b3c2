"""The detector interface: subclass it, set ``unit`` and implement ``score``."""

import abc
import math
from typing import Any, ClassVar, Self, SupportsFloat

import torch
from torch import Tensor

from condgen.classifier import GenerativeClassifier, Prediction, predict
from condgen.config import DetectorSettings, Quantile
from condgen.data.dataset import ImageDataset, Splits
from condgen.errors import CondgenError
from condgen.registry import DETECTORS


class Detector(abc.ABC):
    """A score per image; an image whose score is above the threshold is rejected.

    Args:
        threshold: In ``unit``. Without one, :func:`build_detector` sets it from the settings.

    Attributes:
        name: Of the score, for tables and figures.
        unit: Of the score, for tables and figures.

    Examples:
        >>> class Entropy(Detector):
        ...     name, unit = "entropy", "nats"
        ...     def score(self, prediction):
        ...         return -(prediction.log_posterior.exp() * prediction.log_posterior).sum(-1)
        >>> Entropy(0.5)
        Entropy(threshold=0.5)
    """

    name: ClassVar[str] = ""
    unit: ClassVar[str] = ""

    class Settings(DetectorSettings):
        """Read from the table `[detector]`; a detector with settings of its own subclasses this."""

    def __init__(self, threshold: float | None = None):
        self._threshold = None if threshold is None else _finite(threshold, self.unit)

    @classmethod
    def from_settings(cls, _settings: Any) -> Self:
        """The detector that the settings describe, not fitted and without a threshold."""
        return cls()

    def fit(self, classifier: GenerativeClassifier, train: ImageDataset, validation: ImageDataset) -> None:
        """Estimate what :meth:`score` needs from held-out images; most detectors need nothing."""
        return

    @abc.abstractmethod
    def score(self, prediction: Prediction) -> Tensor:
        """Shape ``(N,)``; higher means less like the training data. Differentiable, for attacks with gradients."""

    def scale(self, dims: int) -> float:
        """Nats per unit of the score for images of ``dims`` numbers; attacks weigh the detector's margin with it."""
        return 1.0

    @property
    def threshold(self) -> float:
        """In ``unit``.

        Raises:
            CondgenError: If none has been set.
        """
        if self._threshold is None:
            raise CondgenError(f"{type(self).__name__} has no threshold; give one, as in {type(self).__name__}(1.4).")
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = _finite(value, self.unit)

    @classmethod
    def at_quantile(cls, scores: Tensor, quantile: float) -> Self:
        """The detector that accepts the share ``quantile`` of held-out in-distribution images.

        Args:
            scores: Of these images, shape ``(N,)``, in ``unit``.
            quantile: Between 0 and 1.
        """
        return cls(threshold_at(scores, quantile))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self._threshold})"


def build_detector(settings: DetectorSettings, classifier: GenerativeClassifier, splits: Splits) -> Detector:
    """The detector of the settings, fitted, with its threshold.

    Raises:
        ConfigError: If the settings name no detector.
        CondgenError: If the threshold is a quantile and there are no validation images.
    """
    kind: type[Detector] = DETECTORS.get(settings.name)
    detector = kind.from_settings(settings)
    detector.fit(classifier, splits.train, splits.validation)
    if isinstance(settings.threshold, Quantile):
        x, _ = splits.validation.batch(slice(None))
        scores = score(detector, predict(classifier, x), fitting=True)
        detector.threshold = threshold_at(scores, settings.threshold.quantile)
    else:
        detector.threshold = settings.threshold
    return detector


def threshold_at(scores: Tensor, quantile: float) -> float:
    """The threshold that accepts the share ``quantile`` of ``scores``.

    >>> threshold_at(torch.tensor([1.0, 2.0, 3.0]), quantile=0.75)
    2.5
    """
    if not 0 < quantile <= 1 or scores.numel() == 0:
        raise CondgenError(f"quantile {quantile} of {scores.numel()} images: expected 0 < quantile <= 1 and images.")
    return float(torch.quantile(scores.double(), quantile).item())


def flagged(detector: Detector, prediction: Prediction) -> Tensor:
    """Which images the detector rejects, shape ``(N,)``, bool. A NaN score is rejected."""
    return ~(score(detector, prediction) <= detector.threshold)


def score(detector: Detector, prediction: Prediction, *, fitting: bool = False) -> Tensor:
    """The detector's score of each image, shape ``(N,)``.

    Args:
        detector: Any object with ``score`` and ``threshold``.
        prediction: Of the images.
        fitting: The threshold need not be set yet.

    Raises:
        CondgenError: If the score is not one number for each image, or ``detector`` is none.
    """
    check_detector(detector, fitting=fitting)
    found, number = detector.score(prediction), len(prediction.class_log_prob)
    if not isinstance(found, Tensor) or found.shape != (number,):
        given = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise CondgenError(f"{type(detector).__name__}.score gave {given}, expected a tensor of shape ({number},).")
    return found


def check_detector(detector: object, *, fitting: bool = False) -> None:
    """Refuse what is not a detector.

    Raises:
        CondgenError: If it has no ``score`` or no ``threshold``, or is a class.
    """
    usable = not isinstance(detector, type) and hasattr(detector, "score")
    if not usable or not (fitting or isinstance(getattr(detector, "threshold", None), SupportsFloat)):
        raise CondgenError(
            f"the detector is {detector!r}; expected an object with a `threshold` and a `score`, such as"
            " LikelihoodThreshold(1.4)."
        )


def summary_of(detector: Detector) -> dict[str, Any]:
    """Name, unit and threshold, for records."""
    name = getattr(detector, "name", "") or type(detector).__name__
    return {"name": name, "unit": getattr(detector, "unit", ""), "threshold": float(detector.threshold)}


def scale_of(detector: Detector, dims: int) -> float:
    """Nats per unit of the detector's score; an object that does not say is taken to score in bits/dim."""
    own = getattr(detector, "scale", None)
    return float(own(dims)) if callable(own) else dims * math.log(2)


def _finite(threshold: object, unit: str) -> float:
    value = float(threshold) if isinstance(threshold, SupportsFloat) else math.nan
    if not math.isfinite(value):
        raise CondgenError(f"the detector's threshold is {threshold}, expected a finite number of {unit or 'its unit'}.")
    return value
