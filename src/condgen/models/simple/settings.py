"""Settings of the simple densities."""

from typing import ClassVar, Literal

from condgen.config import Images, ModelSettings
from condgen.models.simple.density import SimpleDensity
from condgen.models.simple.gaussian import Gaussian
from condgen.models.simple.independent_pixels import IndependentPixels
from condgen.models.simple.uniform import Uniform
from condgen.registry import MODELS


class SimpleSettings(ModelSettings):
    """``per_class``: one density per class instead of one for all classes."""

    density: ClassVar[type[SimpleDensity]]
    per_class: bool = False

    def build(self, images: Images, seed: int) -> SimpleDensity:
        del seed
        return self.density(tuple(images.shape), images.classes, images.levels, self.per_class)

    @property
    def words(self) -> str:
        return f"{self.name} per class" if self.per_class else self.name


@MODELS.register("uniform")
class UniformSettings(SimpleSettings):
    """All images are equally likely."""

    density = Uniform
    name: Literal["uniform"] = "uniform"
    per_class: Literal[False] = False


@MODELS.register("independent-pixels")
class IndependentPixelsSettings(SimpleSettings):
    """A smoothed histogram for each pixel."""

    density = IndependentPixels
    name: Literal["independent-pixels"] = "independent-pixels"


@MODELS.register("gaussian")
class GaussianSettings(SimpleSettings):
    """A Gaussian with full covariance."""

    density = Gaussian
    name: Literal["gaussian"] = "gaussian"
