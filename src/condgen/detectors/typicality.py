"""Two-sided typicality test: reject images that are too likely or too unlikely."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import ImageDataset
from condgen.detectors.base import Detector, over
from condgen.errors import CondgenError
from condgen.prediction import Prediction
from condgen.registry import DETECTORS


@DETECTORS.register("typicality")
class Typicality(Detector):
    r"""Reject images that are too likely or too unlikely: score :math:`|\log p(x) - H|`.

    H is the mean of :math:`\log p(x)` on validation images.

    References:
        Nalisnick et al., Detecting out-of-distribution inputs using typicality, 2019.
    """

    name: ClassVar[str] = "typicality"
    unit: ClassVar[str] = "nats"

    class Settings(Detector.Settings):
        """A threshold on the distance from the mean log-likelihood, in nats."""

        name: Literal["typicality"] = "typicality"

    mean: Tensor | None = None

    def fit(
        self, classifier: GenerativeClassifier, train: ImageDataset, validation: ImageDataset
    ) -> None:
        if not len(validation):
            raise CondgenError(
                f"{validation.name} has no validation images to estimate the mean log-likelihood"
                " from."
            )
        mean = over(classifier, validation, lambda prediction: prediction.log_marginal).mean()
        if not torch.isfinite(mean):
            raise CondgenError(
                f"the mean log-likelihood of {len(validation)} validation images is {mean:g}: the"
                " model gives some of them probability 0 or NaN; use another detector, or fix the"
                " model (see testing.check_density)."
            )
        self.mean = mean

    def of_uniform(self, dims: int, levels: int) -> float | None:
        return None if self.mean is None else abs(-dims * math.log(levels) - float(self.mean))

    def score(self, prediction: Prediction) -> Tensor:
        if self.mean is None:
            raise CondgenError(
                "Typicality is not fitted; call fit(classifier, train, validation) first."
            )
        return (prediction.log_marginal - self.mean.to(prediction.log_marginal)).abs()
