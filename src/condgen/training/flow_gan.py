"""Flow-GAN (C.3): a flow trained by likelihood and against a critic."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condgen import processes
from condgen.classifier import GenerativeClassifier
from condgen.config import Training
from condgen.config.section import NonNegative, Positive, PositiveFloat
from condgen.data.dataset import ImageDataset
from condgen.density import ClassConditionalDensity
from condgen.errors import ConfigError
from condgen.randomness import drawing_for, stream
from condgen.registry import OBJECTIVES
from condgen.training import critics
from condgen.training.loader import rows_in_batch, shares
from condgen.training.maximum_likelihood import MaximumLikelihood, MaximumLikelihoodSettings
from condgen.training.objectives import Likelihood, Objective, Reweight
from condgen.training.optimizer import Optimizer
from condgen.training.replicas import Replicas
from condgen.training.steps import NonFiniteLoss

SOME = 1000  # real images whose spread is compared
PER_CLASS = 16  # samples of each class that are checked after an epoch
SMALLEST_SPREAD = 0.02  # of samples of a class, as a share of that of real images
LARGEST_LOG_SCALE = 30.0  # nats
EXAMINED = 4  # images at which the condition of the flow is estimated
HOPELESS = 1e-3  # probability that a critic gives drawn images, below which it has won


class FlowGan(MaximumLikelihood):
    r"""Minimizes an adversarial loss plus :math:`\lambda` times that of maximum likelihood.

    In each step the critic takes several updates against fresh samples, then the flow takes one.
    Samples come from the inverse of the flow (``density.rsample``), so that the flow gets the
    critic's gradient. Real images are dequantized like those that the flow is trained on.

    Training ends with an error that says why if the samples of a class collapse, a scale of the
    flow leaves its range, or a non-saturating critic has won.

    Args:
        classifier: Its density is a flow.
        settings: Weights, the critic and its training.
        training: Settings of the flow's optimizer.
        steps_per_epoch: For the schedule.

    Raises:
        ConfigError: If the density has no differentiable samples.

    References:
        Grover et al., Flow-GAN, 2018; appendix C.3.
    """

    def __init__(
        self,
        classifier: GenerativeClassifier,
        settings: "FlowGanSettings",
        training: Training,
        steps_per_epoch: int,
    ):
        density = classifier.density
        if type(density).rsample is ClassConditionalDensity.rsample:
            raise ConfigError(
                f"objective 'flow-gan' needs a flow, but {type(density).__name__} has no"
                " differentiable samples; set model.name=glow."
            )
        super().__init__(classifier, settings.objective(), training, steps_per_epoch)
        self.settings = settings
        self.adversarial = math.isfinite(settings.likelihood)
        self.weight = settings.likelihood if self.adversarial else 1.0
        self.critic = critics.Critic(
            density.event_shape, density.num_classes, settings.conditioning, settings.critic_width
        ).to(classifier.device)
        changed = {"learning_rate": settings.critic_learning_rate, "beta1": 0.0, "beta2": 0.9}
        self.critic_replicas = Replicas(self.critic)
        self.critic_optimizer = Optimizer(
            ((f"critic.{name}", each) for name, each in self.critic.named_parameters()),
            training.model_copy(update=changed),
            steps_per_epoch * settings.critic_steps,
        )
        self.description = repr(settings)
        self.advice = (
            "Raise objective.likelihood, or lower training.learning_rate, now"
            f" {training.learning_rate:g}."
        )

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {**super().modules, "critic": self.critic}

    def step(self, x: Tensor, label: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        label = label.to(self.classifier.device)
        found = {}
        if not self.taken:
            critics.initialize(self.critic, generator.initial_seed())
        if self.adds_gradients:
            real = x.to(self.classifier.device)
            with drawing_for(rows_in_batch(shares(self.whole_of(x), self.parts))):
                for _ in range(self.settings.critic_steps):
                    found = self._train_critic(real, label, generator)
        zero = torch.zeros((), device=self.classifier.device)
        scales = self.classifier.density.log_scales().detach()
        return {
            **super().step(x, label, generator),
            "critic_loss": found.get("loss", zero),
            "critic_gap": found.get("gap", zero),
            "log_scale_min": scales.amin(),
            "log_scale_max": scales.amax(),
        }

    @property
    def adds_gradients(self) -> bool:
        return self.adversarial and self.taken > 0  # the first step initializes actnorm

    def _train_critic(
        self, x: Tensor, label: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """One update of the critic; returns its loss, and by how much it prefers real images."""
        density, settings = self.classifier.density, self.settings
        share = len(x) / self.whole_of(x)
        with torch.no_grad():
            real = density.dequantized(x, generator)
            fake = density.rsample(label, generator=generator)
        self.critic_optimizer.zero_grad()

        def compute() -> tuple[Tensor, Tensor]:
            of_real, logits = self.critic(real, label)
            of_fake, _ = self.critic(fake, label)
            loss = critics.critic_loss(settings.critic, of_real, of_fake)
            if settings.critic == "wasserstein":
                loss = loss + settings.penalty * critics.gradient_penalty(
                    self.critic, real, fake, label, generator
                )
            if logits is not None:
                loss = loss + cross_entropy(logits, label)
            gap = of_real.mean() - of_fake.mean()
            return share * processes.count() * loss, share * torch.stack([loss, gap]).detach()

        loss, gap = processes.total(self.critic_replicas.backward(compute)).unbind()
        self.critic_optimizer.update(loss)
        return {"loss": loss, "gap": gap}

    def add_gradients(self, label: Tensor, generator: torch.Generator) -> None:
        """Add the gradient of the adversarial loss to that of the likelihood."""
        if not self.adds_gradients:
            return
        share = len(label) / self.whole_of(label)

        def compute() -> tuple[Tensor, None]:
            fake = self.classifier.density.rsample(label, generator=generator)
            score, logits = self.critic(fake, label)
            loss = critics.generator_loss(self.settings.critic, score)
            if logits is not None:
                loss = loss + cross_entropy(logits, label)
            return share * processes.count() * loss, None

        self.replicas.backward(compute)

    def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
        """Metrics of the likelihood, and of the samples that the critic sees.

        Raises:
            NonFiniteLoss: If the training has collapsed; the message says how.
        """
        metrics = super().validate(data, seed)
        if self.adversarial:
            self._check_samples(data, seed)
        density = self.in_use.density
        if type(density).log_condition is ClassConditionalDensity.log_condition:
            return metrics
        x = data.batch(slice(0, EXAMINED))[0].to(self.in_use.device)
        log_condition = density.log_condition(x, generator=stream(seed, "condition"))
        return {**metrics, "log_condition": float(log_condition.amax())}

    @torch.no_grad()
    def _check_samples(self, data: ImageDataset, seed: int) -> None:
        density = self.in_use.density
        extreme = float(density.log_scales().abs().amax())
        if not extreme < LARGEST_LOG_SCALE:
            raise NonFiniteLoss(
                f"a log-scale of the flow is beyond {LARGEST_LOG_SCALE:g} nats ({extreme:.3g})."
            )
        classes = torch.arange(density.num_classes, device=self.in_use.device)
        label = classes.repeat_interleave(PER_CLASS)
        fake = density.rsample(label, generator=stream(seed, "collapse"))
        if not torch.isfinite(fake).all():
            raise NonFiniteLoss("samples are not finite.")
        if self.settings.critic == "non-saturating":
            believed = float(self.critic(fake, label)[0].sigmoid().mean())
            if believed < HOPELESS:
                raise NonFiniteLoss(
                    "the critic wins: it gives drawn images a probability of"
                    f" {believed:.1e} to be real."
                )
        spread = fake.view(density.num_classes, PER_CLASS, -1).std(1).mean(1)
        real, _ = data.batch(slice(0, SOME))
        usual = float(real.flatten(1).std(0).mean())
        narrow = torch.nonzero(spread < SMALLEST_SPREAD * usual).flatten().tolist()
        if narrow:
            raise NonFiniteLoss(
                f"the generator collapsed: samples of class {narrow[0]} are nearly equal"
                f" (standard deviation {float(spread[narrow[0]]):.2g} per pixel, of real images"
                f" {usual:.2g})."
            )

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), **self.critic_optimizer.state()}

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        super().restore(state, taken)
        updates = max(0, taken - 1) * self.settings.critic_steps if self.adversarial else 0
        self.critic_optimizer.restore(state, updates)


@OBJECTIVES.register("flow-gan")
class FlowGanSettings(MaximumLikelihoodSettings):
    """An adversarial loss plus ``likelihood`` (lambda) times maximum likelihood (C.3).

    ``likelihood = inf`` is maximum likelihood alone, 0 the adversarial loss alone. ``alpha`` is the
    weight of cross-entropy beside the likelihood; lambda multiplies both. ``critic`` is
    "wasserstein", with a gradient penalty of weight ``penalty``, or "non-saturating".
    ``conditioning`` is "projection" or "auxiliary". The critic takes ``critic_steps`` updates for
    each one of the flow.
    """

    name: Literal["flow-gan"] = "flow-gan"
    likelihood: Annotated[float, Field(ge=0)] = 1.0
    alpha: NonNegative = 0.0
    critic: critics.Loss = "wasserstein"
    conditioning: critics.Conditioning = "projection"
    penalty: NonNegative = 10.0
    critic_steps: Positive = 5
    critic_width: Annotated[int, Field(gt=0, le=1024)] = 32
    critic_learning_rate: PositiveFloat = 1e-4

    def objective(self) -> Objective:
        return Reweight(self.alpha) if self.alpha else Likelihood()

    def step(
        self, classifier: GenerativeClassifier, training: Training, steps_per_epoch: int
    ) -> FlowGan:
        return FlowGan(classifier, self, training, steps_per_epoch)
