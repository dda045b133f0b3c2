"""Maximum likelihood with or without a class term: the training step and its objectives."""

import abc
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen import processes
from condgen.classifier import GenerativeClassifier
from condgen.config import ObjectiveSettings, Training
from condgen.config.section import NonNegative
from condgen.data.dataset import ImageDataset
from condgen.errors import ConfigError
from condgen.machine import PIECE
from condgen.prediction import Prediction
from condgen.randomness import Rows, drawing_for, seeded, stream
from condgen.registry import OBJECTIVES
from condgen.training.average import Average
from condgen.training.loader import rows_in_batch, shares
from condgen.training.objectives import (
    Likelihood,
    Objective,
    Ramp,
    Reweight,
    Split,
    bits_per_dim,
    check_objective,
    described,
)
from condgen.training.optimizer import Optimizer
from condgen.training.replicas import Replicas
from condgen.training.steps import TrainingStep

EVALUATION_BATCH = 256  # images
FIGURES = ("loss", "bits_per_dim", "accuracy")


class MaximumLikelihood(TrainingStep):
    """Minimizes the mean of an objective over a batch.

    Gradient accumulation gives the gradient of the whole batch. A model that initializes itself on
    its first batch (actnorm) sees only the first part of it.

    Args:
        classifier: Its density is trained, on its current device.
        objective: Loss per image.
        training: Settings of the optimizer, its schedule, accumulation and average.
        steps_per_epoch: For the schedule; see :func:`condgen.training.loader.steps_per_epoch`.

    Raises:
        ConfigError: If the objective does not fit the density, the density has no parameters to
            train, or a batch has fewer images than parts.

    Examples:
        >>> from condgen.models.gaussian import DiagonalGaussian
        >>> density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
        >>> density.mean = nn.Parameter(density.mean)
        >>> step = MaximumLikelihood(GenerativeClassifier(density), Likelihood(), Training(), 10)
        >>> sorted(step.step(torch.rand(8, 1, 4, 4), torch.arange(8) % 2, stream(0, "noise")))
        ['accuracy', 'bits_per_dim', 'gradient_norm', 'loss']
    """

    shared = True

    def __init__(
        self,
        classifier: GenerativeClassifier,
        objective: Objective,
        training: Training,
        steps_per_epoch: int,
    ):
        super().__init__(classifier)
        density = classifier.train().density
        check_objective(objective, density)
        if not any(parameter.requires_grad for parameter in density.parameters()):
            raise ConfigError(
                f"{type(density).__name__} has no parameters to train; make its weights an"
                " nn.Parameter with requires_grad=True."
            )
        _check_parts(training)
        self.objective, self.parts = objective, training.accumulation
        self.batch_size = training.batch_size
        self.weight = 1.0  # of the objective, beside what `add_gradients` adds
        self.optimizer = Optimizer(density.named_parameters(), training, steps_per_epoch)
        self.replicas = Replicas(density)
        self.average = Average(classifier, training.average) if training.average else None
        self.description = described(objective)
        self.advice = (
            f"Lower training.learning_rate, now {training.learning_rate:g}, or raise"
            " training.warm_up_steps."
        )

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        averaged = {} if self.average is None else {"average": self.average.module.density}
        return {"density": self.classifier.density, **averaged}

    @property
    def in_use(self) -> GenerativeClassifier:
        """The classifier that validation and audits use: the average, if there is one."""
        return self.classifier if self.average is None else self.average.module

    @property
    def taken(self) -> int:
        return self.optimizer.taken

    def step(self, x: Tensor, label: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if not self.classifier.training:  # train() visits every module
            self.classifier.train()
        self.optimizer.zero_grad()
        device = self.classifier.device
        whole = self.whole_of(x)
        parts = shares(whole, self.parts)
        split = [batch.split([len(part) for part in parts]) for batch in (x, label.to(device))]
        with seeded(generator, device), self.classifier.density.fresh_noise(generator):
            found = [
                self._add_gradient(own, own_label, rows, len(rows) / whole, rows is parts[-1])
                for own, own_label, rows in zip(*split, parts, strict=True)
            ]
            with drawing_for(rows_in_batch(parts)):
                self.add_gradients(label.to(device), generator)
        figures = processes.total(torch.stack(found).sum(0))
        norm = self.optimizer.update(figures[0])
        if self.average is not None:
            self.average.update(self.taken)
        return {**dict(zip(FIGURES, figures.unbind(), strict=True)), "gradient_norm": norm}

    def whole_of(self, own: Tensor) -> int:
        """Size of the batch of which this process has the rows ``own``."""
        return self.batch_size if processes.count() > 1 else len(own)

    @property
    def adds_gradients(self) -> bool:
        """Whether :meth:`add_gradients` adds any in this step; for subclasses."""
        return False

    def add_gradients(self, label: Tensor, generator: torch.Generator) -> None:
        """Add further gradients to those of a step's objective; for subclasses."""

    def _add_gradient(
        self, x: Tensor, label: Tensor, rows: Rows, share: float, last: bool
    ) -> Tensor:
        """Add the gradient of a part; returns its :data:`FIGURES`, weighted by its share."""

        def compute() -> tuple[Tensor, Tensor]:
            prediction = self.classifier(x)
            losses = self._objective_now(prediction, label)
            loss = self.weight * share * processes.count() * losses.mean()
            return loss, share * _figures(prediction, label, losses).mean(1)

        with drawing_for(rows):
            if self.weight:
                return self.replicas.backward(compute, last=last and not self.adds_gradients)
            return compute()[1]

    @property
    def _objective_now(self) -> Objective:
        if not isinstance(self.objective, Ramp):
            return self.objective
        return self.objective.at(self.taken / self.optimizer.steps)

    def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
        """Means of loss, bits/dim under the true class and accuracy; the noise is fixed."""
        return evaluate(self.in_use, self.objective, data, seed)

    def state(self) -> dict[str, Tensor]:
        return self.optimizer.state()

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        self.optimizer.restore(state, taken)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.in_use.density.state_dict())


@torch.no_grad()
def evaluate(
    classifier: GenerativeClassifier, objective: Objective, data: ImageDataset, seed: int
) -> dict[str, float]:
    """Means of the objective ("loss"), bits/dim under the true class and accuracy.

    The noise depends only on the seed. Each process evaluates its share of each batch. The
    classifier is left in evaluation mode.
    """
    classifier.eval()
    sums = torch.zeros(len(FIGURES), dtype=torch.float64)
    with classifier.density.fresh_noise(stream(seed, "validation")):
        for x, label in data.batches(EVALUATION_BATCH):
            rows = processes.rows_of(len(x), PIECE)
            own = label[rows.index].to(classifier.device)
            with drawing_for(rows):
                prediction = classifier(x[rows.index])
            found = _figures(prediction, own, objective(prediction, own)).cpu()
            sums += torch.cat(processes.gather_rows(found, len(x)), 1).sum(1)
    return dict(zip(FIGURES, (sums / len(data)).tolist(), strict=True))


def _check_parts(training: Training) -> None:
    """Every process needs an image of every part of a batch."""
    most = training.batch_size // processes.count()
    if training.accumulation > most:
        spread = f" over {processes.count()} processes" if processes.count() > 1 else ""
        raise ConfigError(
            f"training.accumulation = {training.accumulation} does not fit: a batch has"
            f" {training.batch_size} images{spread}; use at most {most} parts."
        )


@torch.no_grad()
def _figures(prediction: Prediction, label: Tensor, losses: Tensor) -> Tensor:
    """:data:`FIGURES` of each image, shape ``(3, N)``."""
    correct = (prediction.label == label).to(losses)
    return torch.stack([losses.detach(), bits_per_dim(prediction, label), correct]).double()


class MaximumLikelihoodSettings(ObjectiveSettings, abc.ABC):
    """Settings of an objective: training minimizes the mean of :meth:`objective` over a batch."""

    @abc.abstractmethod
    def objective(self) -> Objective:
        """The loss per image."""

    def step(
        self, classifier: GenerativeClassifier, training: Training, steps_per_epoch: int
    ) -> MaximumLikelihood:
        return MaximumLikelihood(classifier, self.objective(), training, steps_per_epoch)


@OBJECTIVES.register("likelihood")
class LikelihoodSettings(MaximumLikelihoodSettings):
    """Maximum likelihood without a class term: the paper's Base."""

    name: Literal["likelihood"] = "likelihood"

    @classmethod
    def from_older(cls, table: dict[str, Any]) -> dict[str, Any]:
        """Older tables may have ``alpha``, which had no effect."""
        return {key: value for key, value in table.items() if key != "alpha"}

    def objective(self) -> Likelihood:
        return Likelihood()


@OBJECTIVES.register("reweight")
class ReweightSettings(MaximumLikelihoodSettings):
    """Maximum likelihood plus cross-entropy with weight ``alpha``.

    ``alpha`` rises from 0 over the first share ``ramp`` of training.
    """

    name: Literal["reweight"] = "reweight"
    alpha: NonNegative = 1.0
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.0

    def objective(self) -> Objective:
        return Ramp(Reweight(self.alpha), self.ramp) if self.ramp else Reweight(self.alpha)


@OBJECTIVES.register("split")
class SplitSettings(MaximumLikelihoodSettings):
    """Maximum likelihood plus cross-entropy in the class subspace with weight ``alpha``.

    Needs a model with a class subspace. ``alpha`` rises from 0 over the first share ``ramp`` of
    training.
    """

    name: Literal["split"] = "split"
    alpha: NonNegative = 1.0
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.0

    def objective(self) -> Objective:
        return Ramp(Split(self.alpha), self.ramp) if self.ramp else Split(self.alpha)
