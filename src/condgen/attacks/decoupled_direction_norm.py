"""Decoupled direction and norm: a fast attack, and an initialization for longer ones."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, POSITIVE, Attack, within
from condgen.attacks.goals import reached
from condgen.attacks.result import NO_GRADIENT
from condgen.attacks.search import Search, normed, spread


@dataclass(frozen=True)
class DecoupledDirectionNorm(Attack):
    """Follow the gradient's direction on a sphere with an adaptive radius.

    The radius shrinks while the goal is reached and grows while it is not. The first radius is the
    distance to the boundary of the linearized model, so no scale has to be known.

    Args:
        steps: Gradients per image.
        rate: Relative change of the radius in a step.

    References:
        Rony et al., Decoupling direction and norm, CVPR 2019, algorithm 1.
    """

    steps: int = 100
    rate: float = 0.05

    def __post_init__(self) -> None:
        within(self, steps=COUNT, rate=POSITIVE)

    def doubled(self) -> Attack:
        return replace(self, steps=2 * self.steps)

    def passes(self) -> tuple[int, int]:
        return 0, self.steps

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        x = search.x[index]
        shift, radius = torch.zeros_like(x), x.new_zeros(len(x))
        reasons: dict[int, str] = {}
        for step in range(self.steps):
            margins, gradient = search.gradients(x + shift, index, downhill)
            if step == 0:
                radius = first_radius(margins, gradient, search.diameter)
                reasons = {int(i): NO_GRADIENT for i in index[gradient.flatten(1).norm(dim=1) == 0]}
            radius = radius * torch.where(reached(margins), 1 - self.rate, 1 + self.rate)
            length = radius * (0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            shift = spread(radius, x) * normed(shift - spread(length, x) * normed(gradient))
            shift = search.clip(x + shift) - x
        return reasons


def downhill(margins: Tensor) -> Tensor:
    """Sum of unmet margins, shape ``(n,)``; once the goal is reached, the largest margin."""
    return torch.where(reached(margins), margins.amax(-1), margins.relu().sum(-1))


def first_radius(margins: Tensor, gradient: Tensor, most: float) -> Tensor:
    """Distance at which a linear model reaches the goal, shape ``(n,)``.

    ``most`` if that is further or a margin is NaN.
    """
    slope: Tensor = gradient.flatten(1).norm(dim=1)
    missing = margins.relu().sum(-1).nan_to_num(torch.inf)
    return (
        (missing / slope.clamp_min(torch.finfo(slope.dtype).tiny))
        .clamp_max(most)
        .masked_fill(slope == 0, 0.0)
    )
