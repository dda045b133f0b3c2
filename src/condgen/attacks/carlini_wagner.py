"""Carlini and Wagner's L2 attack, for any goal."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, POSITIVE, Attack, within
from condgen.attacks.decoupled_direction_norm import DecoupledDirectionNorm
from condgen.attacks.goals import reached
from condgen.attacks.search import Search

FIRST = 1.5  # times the constant that balances distance and margin at the first image
GROWTH = 8.0  # factor of a constant without a known upper bound
UNKNOWN = 0.1  # share of the diameter: assumed distance if no image has reached the goal
STILL = 0.999  # share of the distance before a search: an image that stays above has converged


@dataclass(frozen=True)
class CarliniWagner(Attack):
    r"""Minimize :math:`\|x' - x\|^2 + \sum_k c_k \max(0, m_k(x'))`, with a search over :math:`c`.

    The search is per image. With :class:`~condgen.attacks.goals.Evade` the second margin is the
    extra term of Sec. 4.3. Each margin has its own constant, because a nat of class and a bit of
    likelihood have different weight. A short
    :class:`~condgen.attacks.decoupled_direction_norm.DecoupledDirectionNorm` finds a first image.
    The gradient there gives the constant for which that image would be the minimum, so the search
    starts close to its end.

    The optimizer is plain gradient descent with projection onto the bounds. The distance has the
    same curvature in all directions, which Adam's scaling per pixel would spoil. The usual tanh has
    no slope at 0 and 1, but projected pixels can move there.

    Args:
        searches: Largest number of values of c per image; fewer if the distance has converged.
        steps: Gradients for each value.
        step_size: First step, as a share of the way to the minimum of the distance; decays to a
            fiftieth.
        start_steps: Gradients of the first pass.

    References:
        Carlini and Wagner, Towards evaluating the robustness of neural networks, 2017, VI-A;
        Sec. 4.3.
    """

    searches: int = 4
    steps: int = 60
    step_size: float = 0.1
    start_steps: int = 20

    def __post_init__(self) -> None:
        within(self, searches=COUNT, steps=COUNT, start_steps=COUNT, step_size=POSITIVE)

    def doubled(self) -> Attack:
        return replace(self, steps=2 * self.steps)

    def passes(self) -> tuple[int, int]:
        return 0, self.start_steps + 1 + self.searches * self.steps

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        reasons = DecoupledDirectionNorm(self.start_steps).perturb(search, index, generator)
        constant = FIRST * self._balance(search, index)
        lower, upper = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        for _ in range(self.searches):
            before = search.distance[index]
            missed = self._descend(search, index, constant)
            failed = missed.any(-1, keepdim=True)
            lower = torch.where(missed, torch.maximum(lower, constant), lower)
            upper = torch.where(failed, upper, torch.minimum(upper, constant))
            between = torch.where(torch.isinf(upper), GROWTH * constant, (lower + upper) / 2)
            constant = torch.where(missed | ~failed, between, constant)
            going = failed[:, 0] | (search.distance[index] < STILL * before)
            index, constant, lower, upper = (
                index[going],
                constant[going],
                lower[going],
                upper[going],
            )
            if not len(index):
                break
        return reasons

    def _balance(self, search: Search, index: Tensor) -> Tensor:
        """Constants that balance distance and margin at the best image, shape ``(n, K)``.

        They are c = 2 |x' - x| / |grad m|.
        """
        best = search.best[index]
        found = torch.isfinite(search.distance[index])
        distance = torch.where(found, search.l2(best, index), UNKNOWN * search.diameter)
        _, *gradients = search.gradients(best, index, *search.each_margin)
        slopes = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients], dim=-1)
        return 2 * distance[:, None] / slopes.clamp_min(torch.finfo(slopes.dtype).eps)

    def _descend(self, search: Search, index: Tensor, constant: Tensor) -> Tensor:
        """Descend from the best image so far; return which margins were not met, ``(n, K)``.

        All false if the goal was reached.
        """
        x, shift = search.x[index], search.best[index] - search.x[index]
        ever, margins = torch.zeros(len(x), dtype=torch.bool), torch.empty(0)
        for step in range(self.steps):
            margins, gradient = search.gradients(
                x + shift, index, lambda m: (constant * m.relu()).sum(-1)
            )
            ever |= reached(margins)
            rate = self.step_size * (0.02 + 0.98 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            shift = search.clip(x + shift - rate * (gradient + 2 * shift)) - x
        return ~(margins < 0) & ~ever[:, None]
