"""Detectors: what turns a prediction into "this input is not one of ours"."""

import math
from dataclasses import dataclass
from typing import Protocol, SupportsFloat

import torch
from torch import Tensor

from condgen.classifier import Prediction
from condgen.errors import CondgenError


class Detector(Protocol):
    """A score per image; an image whose score lies above the threshold is flagged."""

    @property
    def threshold(self) -> float: ...

    def score(self, prediction: Prediction) -> Tensor:
        """Shape ``(N,)``; the higher, the less like the training data."""
        ...


@dataclass(frozen=True)
class LikelihoodThreshold:
    r"""Flags an image whose bits/dim of :math:`\log p(x)` exceed a threshold (Sec. 4.3, appendix B).

    Args:
        threshold: In bits/dim. The paper has 1.4 for MNIST and 4.0 for CIFAR10.

    Examples:
        >>> LikelihoodThreshold.at_quantile(torch.tensor([1.0, 2.0, 3.0]), quantile=0.75)
        LikelihoodThreshold(threshold=2.5)
    """

    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise CondgenError(f"the detector's threshold is {self.threshold}, expected a finite number of bits/dim.")
        object.__setattr__(self, "threshold", float(self.threshold))  # NumPy's and PyTorch's numbers are no JSON

    @classmethod
    def at_quantile(cls, bits_per_dim: Tensor, quantile: float) -> "LikelihoodThreshold":
        """The threshold that accepts the share ``quantile`` of held-out in-distribution images."""
        if not 0 < quantile <= 1 or bits_per_dim.numel() == 0:
            raise CondgenError(f"quantile {quantile} of {bits_per_dim.numel()} images: expected 0 < quantile <= 1 and images.")
        return cls(torch.quantile(bits_per_dim.double(), quantile).item())

    def score(self, prediction: Prediction) -> Tensor:
        return prediction.bits_per_dim


def flagged(detector: Detector, prediction: Prediction) -> Tensor:
    """Which images the detector refuses, shape ``(N,)``, bool. A score that is NaN is refused: it reaches no goal either."""
    return ~(score(detector, prediction) <= detector.threshold)


def score(detector: Detector, prediction: Prediction) -> Tensor:
    """What the detector says, shape ``(N,)``.

    Raises:
        CondgenError: If that is not one number for each image, or ``detector`` is none.
    """
    threshold = getattr(detector, "threshold", None)
    if isinstance(detector, type) or not hasattr(detector, "score") or not isinstance(threshold, SupportsFloat):
        raise CondgenError(
            f"the detector is {detector!r}; expected an object with a `threshold` and a `score`, such as"
            " LikelihoodThreshold(1.4)."
        )
    said, number = detector.score(prediction), len(prediction.class_log_prob)
    if not isinstance(said, Tensor) or said.shape != (number,):
        found = f"shape {tuple(said.shape)}" if isinstance(said, Tensor) else f"a {type(said).__name__}"
        raise CondgenError(f"{type(detector).__name__}.score gave {found}, expected a tensor of shape ({number},).")
    return said
