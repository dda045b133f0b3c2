"""Adam with warm-up, decay and gradient clipping; refuses a non-finite loss or gradient."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from condgen import config
from condgen.training.loader import steps_in_all
from condgen.training.steps import NonFiniteLoss

MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimizer:
    """Adam (appendix B) with a linear warm-up of its learning rate.

    Args:
        parameters: The parameters to train, by name.
        settings: Learning rate, warm-up, decay and clipping.
        steps_per_epoch: The number of calls of :meth:`update` per epoch.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        settings: config.Training,
        steps_per_epoch: int,
    ):
        self.parameters = dict(parameters)
        self.settings = settings
        self.steps_per_epoch, self.steps = steps_per_epoch, steps_in_all(steps_per_epoch, settings)
        self.taken = 0
        betas = (settings.beta1, settings.beta2)
        self.adam = torch.optim.Adam(
            self.parameters.values(), lr=settings.learning_rate, betas=betas, fused=True
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        decayed = self.settings.decay.at(self.taken, self.steps_per_epoch, self.steps)
        warmed_up = min(1.0, (self.taken + 1) / max(1, self.settings.warm_up_steps))
        return self.settings.learning_rate * warmed_up * decayed

    def zero_grad(self) -> None:
        """Clear the gradients; call it before the first ``backward()`` of a step."""
        self.adam.zero_grad()

    def update(self, loss: Tensor) -> Tensor:
        """Take a step with the gradients that ``backward()`` accumulated.

        Args:
            loss: A scalar; checked, not differentiated here.

        Returns:
            The norm of the gradient before clipping: a scalar on the device.

        Raises:
            NonFiniteLoss: If the loss or the norm is not finite; the parameters are unchanged.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm)
        # the only device sync in a step
        numbers = torch.stack([loss.detach(), norm]).tolist()
        for name, number in zip(("loss", "gradient"), numbers, strict=True):
            if not math.isfinite(number):
                raise NonFiniteLoss(f"{name} is not finite at step {self.taken}.")
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate
        self.adam.step()
        self.taken += 1
        return norm

    def state(self) -> dict[str, Tensor]:
        """Adam's moments by name."""
        return {
            f"{moment}.{name}": self.adam.state[parameter][moment]
            for name, parameter in self.parameters.items()
            for moment in MOMENTS
            if parameter in self.adam.state
        }

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        """Continue from the :meth:`state` after ``taken`` steps."""
        self.taken = taken
        for name, parameter in self.parameters.items():
            if f"{MOMENTS[0]}.{name}" in state:
                moments = {key: state[f"{key}.{name}"].to(parameter.device) for key in MOMENTS}
                step = torch.tensor(float(taken), device=parameter.device)
                self.adam.state[parameter] = {"step": step, **moments}
