"""Model families: what a `[model]` table must be able to do."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Literal, Self

from condgen.config.data import Images
from condgen.config.section import PositiveFloat, Section

if TYPE_CHECKING:
    from condgen.classifier import GenerativeClassifier
    from condgen.density import ClassConditionalDensity


class ModelSettings(Section, abc.ABC):
    """The settings of a model family, and how to build the model.

    A family subclasses this, registers it in :data:`condgen.registry.MODELS` and writes :meth:`build`.

    ``class_prior`` is p(y) of Bayes' rule: "uniform", "counts" for the shares of the training images, or a list of
    probabilities.
    """

    name: str
    class_prior: Literal["uniform", "counts"] | list[PositiveFloat] = "uniform"

    @abc.abstractmethod
    def build(self, images: Images, seed: int) -> ClassConditionalDensity:
        """A freshly initialized density for such images.

        Args:
            images: Shape, classes and levels.
            seed: Of the initialization.

        Raises:
            ConfigError: If the settings do not fit the images.
        """

    def call(self, images: Images, seed: int) -> ClassConditionalDensity | GenerativeClassifier:
        """The density, or a classifier with a class prior of its own."""
        return self.build(images, seed)

    def on(self, device: str) -> Self:
        """These settings with every "auto" resolved for a type of device ("cpu" or "cuda").

        Raises:
            ConfigError: If that device cannot train such a model.
        """
        return self

    def as_begun(self, begun: Self) -> Self:
        """These settings with every "auto" resolved as in the run that they continue."""
        return self

    @property
    def words(self) -> str:
        """The architecture in a few words, for tables."""
        return self.name
