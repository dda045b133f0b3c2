"""A model family, an audit and a detector outside of condgen, as users add them."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from condgen.audits import Audit, Record, Subject
from condgen.classifier import GenerativeClassifier, Prediction
from condgen.config import AuditSettings, Images, ModelSettings
from condgen.config.section import PositiveFloat
from condgen.density import ClassConditionalDensity
from condgen.detectors import Detector


class Toy(ClassConditionalDensity):
    """One Gaussian per class with a learned mean. Dropout makes training random."""

    memory_hint = "a larger model.scale"

    def __init__(
        self, event_shape: tuple[int, ...], num_classes: int, pixel_levels: int, scale: float = 0.3
    ):
        super().__init__()
        self.event_shape, self.num_classes, self.pixel_levels = (
            event_shape,
            num_classes,
            pixel_levels,
        )
        self.scale = scale
        self.mean = nn.Parameter(0.5 + 0.01 * torch.randn(num_classes, *event_shape))
        self.dropout = nn.Dropout(0.1)

    def class_log_prob(self, x: Tensor) -> Tensor:
        z = (self.dropout(x)[:, None] - self.mean) / self.scale
        log_density = -0.5 * z.square() - math.log(self.scale * math.sqrt(2 * math.pi))
        return (log_density - math.log(self.pixel_levels - 1)).flatten(2).sum(-1)

    def parts(self) -> list[tuple[str, str]]:
        return [("means", f"{self.num_classes} of {self.dims} numbers")]


class ToySettings(ModelSettings):
    """Settings of the toy model family."""

    name: Literal["toy"] = "toy"
    scale: PositiveFloat = 0.3

    def build(self, images: Images, seed: int) -> Toy:
        torch.manual_seed(seed)
        return Toy(tuple(images.shape), images.classes, images.levels, self.scale)


def fitted() -> GenerativeClassifier:
    """A factory without arguments for a model that is already trained."""
    from condgen import DiagonalGaussian, open_dataset

    return GenerativeClassifier(
        DiagonalGaussian.fitted(*open_dataset("digits").train.batch(slice(None)), pixel_levels=17)
    )


class Entropy(Detector):
    """Flag images with an uncertain class."""

    name, unit = "entropy", "nats"

    def score(self, prediction: Prediction) -> Tensor:
        return -(prediction.log_posterior.exp() * prediction.log_posterior).sum(-1)


class BrightnessSettings(AuditSettings):
    """Settings: ``above`` is a pixel value."""

    above: float = 0.5


def _brightness(subject: Subject, settings: BrightnessSettings) -> Record:
    x, _ = subject.splits.test.batch(slice(None))
    share = (x > settings.above).float().flatten(1).mean(1).numpy()
    return Record("brightness", {"n": len(share), "share": float(share.mean())}, {"share": share})


BRIGHTNESS = Audit("brightness", BrightnessSettings, _brightness)
