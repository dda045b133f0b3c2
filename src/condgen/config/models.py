"""The model family interface: the settings of a `[model]` table, which build the model."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Literal, Self

from condgen.config.data import Images
from condgen.config.section import PositiveFloat, Section

if TYPE_CHECKING:
    from condgen.classifier import GenerativeClassifier
    from condgen.density import ClassConditionalDensity


class ModelSettings(Section, abc.ABC):
    """The settings of a model family; :meth:`build` builds the model.

    To add a family, subclass this, implement :meth:`build` and register the subclass in
    :data:`condgen.registry.MODELS`.

    ``class_prior`` is p(y) of Bayes' rule: "uniform", "counts" for the shares of the training
    images, or a list of probabilities.
    """

    name: str
    class_prior: Literal["uniform", "counts"] | list[PositiveFloat] = "uniform"

    @abc.abstractmethod
    def build(self, images: Images, seed: int) -> ClassConditionalDensity:
        """Build an initialized density for images.

        Args:
            images: Shape, classes and levels of the images.
            seed: Seed of the initialization.

        Raises:
            ConfigError: If the settings do not fit the images.
        """

    def call(self, images: Images, seed: int) -> ClassConditionalDensity | GenerativeClassifier:
        """Build the density, or a classifier that has its own class prior."""
        return self.build(images, seed)

    def on(self, device: str) -> Self:
        """These settings with every "auto" resolved for a type of device ("cpu" or "cuda").

        Raises:
            ConfigError: If that device cannot train the model.
        """
        return self

    def as_begun(self, begun: Self) -> Self:
        """These settings with every "auto" resolved as in the settings of the run to resume."""
        return self

    @property
    def words(self) -> str:
        """The architecture in a few words, for tables."""
        return self.name
