"""Closed-form training: one pass over the images, then the maximum-likelihood parameters."""

from collections.abc import Mapping
from typing import Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from condgen.classifier import GenerativeClassifier
from condgen.config import ObjectiveSettings, Training
from condgen.data.dataset import ImageDataset
from condgen.errors import ConfigError
from condgen.registry import OBJECTIVES
from condgen.training.maximum_likelihood import evaluate
from condgen.training.objectives import Likelihood
from condgen.training.steps import TrainingStep


@runtime_checkable
class FittedInClosedForm(Protocol):
    """A density with sufficient statistics; see :class:`condgen.models.simple.SimpleDensity`."""

    def observe(self, x: Tensor, label: Tensor) -> None:
        """Add images and their labels to the sufficient statistics."""
        ...

    def solve(self) -> None:
        """Set the parameters from all images observed so far."""
        ...

    def statistics(self) -> dict[str, Tensor]:
        """The sufficient statistics by name, to resume from."""
        ...


class ClosedForm(TrainingStep):
    """Adds each batch to the sufficient statistics; solves for the parameters before validation.

    Args:
        classifier: A classifier whose density is a :class:`FittedInClosedForm`.

    Raises:
        ConfigError: If the density is not one.

    Examples:
        >>> from condgen.models.simple import Gaussian
        >>> step = ClosedForm(GenerativeClassifier(Gaussian((1, 4, 4), num_classes=2)))
        >>> step.step(torch.rand(8, 1, 4, 4), torch.arange(8) % 2, torch.Generator())
        {'images': tensor(8.)}
    """

    def __init__(self, classifier: GenerativeClassifier):
        super().__init__(classifier)
        density = classifier.density
        if not isinstance(density, FittedInClosedForm):
            raise ConfigError(
                "objective 'closed-form' needs a model with sufficient statistics, but"
                f" {type(density).__name__} has no observe(), solve() and statistics(); set"
                " objective=likelihood."
            )
        self.density = cast(FittedInClosedForm, density)
        self._taken = 0

    @property
    def taken(self) -> int:
        return self._taken

    def step(self, x: Tensor, label: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        device = self.classifier.device
        self.density.observe(x.to(device), label.to(device))
        self._taken += 1
        return {"images": torch.tensor(float(len(x)), device=device)}

    def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
        self.density.solve()
        return evaluate(self.classifier, Likelihood(), data, seed)

    def state(self) -> dict[str, Tensor]:
        return self.density.statistics()

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        self._taken = taken
        for name, tensor in self.density.statistics().items():
            tensor.copy_(state[name])


@OBJECTIVES.register("closed-form")
class ClosedFormSettings(ObjectiveSettings):
    """Maximum likelihood in closed form; one epoch is enough."""

    name: Literal["closed-form"] = "closed-form"

    def step(
        self, classifier: GenerativeClassifier, training: Training, steps_per_epoch: int
    ) -> ClosedForm:
        if training.epochs > 1:
            raise ConfigError(
                f"objective 'closed-form' needs one epoch, not {training.epochs}: a second"
                " epoch would count the same images again; set training.epochs=1."
            )
        return ClosedForm(classifier)
