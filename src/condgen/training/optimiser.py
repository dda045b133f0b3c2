"""Adam with warm-up, step decay and gradient clipping, behind one call that refuses non-finite numbers."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from condgen import config
from condgen.errors import TrainingError


class NonFiniteLoss(TrainingError):
    """The loss or its gradient is not finite; no parameter was touched."""


class Optimiser:
    """The paper's schedule (appendix B), with a linear warm-up in front.

    Args:
        parameters: What to train, by name.
        settings: Learning rate, warm-up, decay, clipping.
        steps_per_epoch: How many calls of :meth:`step_on` make an epoch.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], settings: config.Training, steps_per_epoch: int):
        self.parameters = dict(parameters)
        self.settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.adam = torch.optim.Adam(self.parameters.values(), lr=settings.learning_rate, fused=True)

    @property
    def learning_rate(self) -> float:
        """At the step to come."""
        decays = self.step // (self.steps_per_epoch * self.settings.decay.every_epochs)
        warmed_up = min(1.0, (self.step + 1) / max(1, self.settings.warm_up_steps))
        return self.settings.learning_rate * warmed_up * self.settings.decay.factor**decays

    def step_on(self, loss: Tensor) -> float:
        """Move along the gradient of ``loss``; returns the gradient's norm before it was clipped.

        Raises:
            NonFiniteLoss: If the loss or the gradient's norm is not finite; the parameters stay as they are.
        """
        self.adam.zero_grad()
        loss.backward()
        clipped = nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm)
        value, norm = torch.stack([loss.detach(), clipped]).tolist()  # the only time in a step that a GPU is waited for
        if not math.isfinite(value):
            raise NonFiniteLoss(f"loss is not finite at step {self.step}.")
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"gradient is not finite at step {self.step}.")
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate
        self.adam.step()
        self.step += 1
        return float(norm)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments as named tensors."""
        return {
            f"{moment}.{name}": self.adam.state[parameter][moment]
            for name, parameter in self.parameters.items()
            for moment in ("exp_avg", "exp_avg_sq")
            if parameter in self.adam.state
        }

    def restore(self, state: dict[str, Tensor], step: int) -> None:
        """Go on from what :meth:`state` returned after ``step`` steps."""
        self.step = step
        for name, parameter in self.parameters.items():
            if f"exp_avg.{name}" in state:
                self.adam.state[parameter] = {
                    "step": torch.tensor(float(step), device=parameter.device),
                    "exp_avg": state[f"exp_avg.{name}"].to(parameter.device),
                    "exp_avg_sq": state[f"exp_avg_sq.{name}"].to(parameter.device),
                }
