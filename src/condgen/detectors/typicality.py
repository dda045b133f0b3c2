"""Two-sided typicality: too likely is as suspicious as too unlikely."""

from typing import ClassVar, Literal

from torch import Tensor

from condgen.classifier import GenerativeClassifier, Prediction, predict
from condgen.data.dataset import ImageDataset
from condgen.detectors.base import Detector
from condgen.errors import CondgenError
from condgen.registry import DETECTORS


@DETECTORS.register("typicality")
class Typicality(Detector):
    r"""Rejects images that are too likely or too unlikely: :math:`|\log p(x) - H|`, H the mean on validation images.

    References:
        Nalisnick et al., Detecting out-of-distribution inputs using typicality, 2019.
    """

    name: ClassVar[str] = "typicality"
    unit: ClassVar[str] = "nats"

    class Settings(Detector.Settings):
        """A threshold on the distance from the mean log-likelihood, in nats."""

        name: Literal["typicality"] = "typicality"

    mean: Tensor | None = None

    def fit(self, classifier: GenerativeClassifier, train: ImageDataset, validation: ImageDataset) -> None:
        if not len(validation):
            raise CondgenError(f"{validation.name} has no validation images to estimate the mean log-likelihood from.")
        self.mean = predict(classifier, validation.batch(slice(None))[0]).log_marginal.mean()

    def score(self, prediction: Prediction) -> Tensor:
        if self.mean is None:
            raise CondgenError("Typicality is not fitted; call fit(classifier, train, validation) first.")
        return (prediction.log_marginal - self.mean.to(prediction.log_marginal)).abs()
