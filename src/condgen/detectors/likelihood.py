"""The paper's detector: a threshold on bits/dim."""

import math
from typing import ClassVar, Literal

from torch import Tensor

from condgen.detectors.base import BITS_PER_DIM, Detector
from condgen.prediction import Prediction
from condgen.registry import DETECTORS


@DETECTORS.register("likelihood")
class LikelihoodThreshold(Detector):
    r"""Reject images whose bits/dim of :math:`\log p(x)` exceed a threshold (Sec. 4.3, appendix B).

    The paper uses 1.4 for MNIST and 4.0 for CIFAR10.

    Examples:
        >>> import torch
        >>> LikelihoodThreshold.at_quantile(torch.tensor([1.0, 2.0, 3.0]), quantile=0.75)
        LikelihoodThreshold(threshold=2.5)
    """

    name: ClassVar[str] = "likelihood"
    unit: ClassVar[str] = BITS_PER_DIM

    class Settings(Detector.Settings):
        """A threshold on bits/dim."""

        name: Literal["likelihood"] = "likelihood"

    def score(self, prediction: Prediction) -> Tensor:
        return prediction.bits_per_dim

    def scale(self, dims: int) -> float:
        return dims * math.log(2)
