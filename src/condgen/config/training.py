"""Settings of training: the objective and the optimizer."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from condgen.config.section import Count, Positive, PositiveFloat, Section, Share, named

if TYPE_CHECKING:
    from condgen.classifier import GenerativeClassifier
    from condgen.training.steps import TrainingStep


class ObjectiveSettings(Section, abc.ABC):
    """The settings of an objective.

    Subclass this and register the subclass in :data:`condgen.registry.OBJECTIVES`.
    """

    name: str

    @abc.abstractmethod
    def step(
        self, classifier: GenerativeClassifier, training: Training, steps_per_epoch: int
    ) -> TrainingStep:
        """The training step that minimizes this objective.

        Raises:
            ConfigError: If the model lacks something that the objective needs.
        """


class StepDecay(Section):
    """Decay of the learning rate by ``factor`` every ``every_epochs`` epochs (appendix B)."""

    name: Literal["step"] = "step"
    factor: Share = 0.1
    every_epochs: Positive = 60

    def at(self, taken: int, steps_per_epoch: int, steps: int) -> float:
        """The factor of the learning rate after ``taken`` of ``steps`` steps."""
        del steps
        return float(self.factor ** (taken // (steps_per_epoch * self.every_epochs)))


class LinearDecay(Section):
    """Linear decay of the learning rate, to zero at the end of training."""

    name: Literal["linear"] = "linear"

    def at(self, taken: int, steps_per_epoch: int, steps: int) -> float:
        """The factor of the learning rate after ``taken`` of ``steps`` steps."""
        del steps_per_epoch
        return max(0.0, 1 - taken / steps)


class ExponentialDecay(Section):
    """Decay of the learning rate by ``factor`` in every step (PixelCNN++)."""

    name: Literal["exponential"] = "exponential"
    factor: Share = 0.999995

    def at(self, taken: int, steps_per_epoch: int, steps: int) -> float:
        """The factor of the learning rate after ``taken`` of ``steps`` steps."""
        del steps_per_epoch, steps
        return float(self.factor**taken)


def _named_decay(value: Any) -> Any:
    """Add the name that older pages lack, because there was only one decay."""
    return {"name": "step", **value} if isinstance(value, dict) else named(value)


Decay = Annotated[
    StepDecay | LinearDecay | ExponentialDecay,
    BeforeValidator(_named_decay),
    Field(discriminator="name"),
]


# settings that change the weights by rounding at most
WITHOUT_EFFECT = ("compile", "checkpoint_minutes")

Decayed = Annotated[float, Field(ge=0, lt=1)]


class Training(Section):
    """Settings of the optimizer and its schedule.

    ``max_steps`` ends training early. ``beta1`` and ``beta2`` are the decays of Adam's moments.
    ``accumulation`` is the number of parts that a batch is processed in. ``average`` is the decay
    of the exponential moving average of the weights, which validation, audits and samples use.
    ``snapshots`` is how many times, at equal intervals, the weights are saved for the audit
    "snapshots". ``checkpoint_minutes`` is the time after which a checkpoint is written within an
    epoch.
    """

    epochs: Positive = 150
    max_steps: Positive | None = None
    batch_size: Positive = 64
    accumulation: Positive = 1
    learning_rate: PositiveFloat = 1e-3
    beta1: Decayed = 0.9
    beta2: Decayed = 0.999
    warm_up_steps: Count = 500
    clip_norm: PositiveFloat = 5.0
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    compile: bool = False
    checkpoint_minutes: PositiveFloat = 5.0
    snapshots: Count = 0
    decay: Decay = StepDecay()

    def as_begun(self, begun: Self) -> Self:
        """These settings, with :data:`WITHOUT_EFFECT` as in another run."""
        return self.model_copy(update={key: getattr(begun, key) for key in WITHOUT_EFFECT})
