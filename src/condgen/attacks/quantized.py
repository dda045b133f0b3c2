"""Attacks among quantized images: rounding inside another attack, then a repair level by level."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, Attack, within
from condgen.attacks.brendel_bethge import BrendelBethge
from condgen.attacks.search import Search, spread
from condgen.errors import CondgenError


@dataclass(frozen=True)
class Quantized(Attack):
    r"""Run another attack on quantized candidates, then move them back toward the original.

    Small perturbations vanish when an image is stored in 8 bits. Here every candidate is quantized
    before it is queried, so that only quantized images count. The repair takes the nearest of them
    and moves pixels one level toward the original. In each round, pixels are ordered by the squared
    distance that the move saves per predicted increase of the largest margin. The largest share of
    them that keeps the goal is moved.

    Args:
        attack: The attack that finds a first image; it needs gradients.
        rounds: Largest number of rounds of the repair.

    Raises:
        CondgenError: If ``attack`` is not an attack with gradients.

    Examples:
        >>> from condgen import DiagonalGaussian, GenerativeClassifier
        >>> from condgen.attacks import Misclassify
        >>> density = DiagonalGaussian(torch.tensor([[0.2, 0.5], [0.8, 0.5]]))
        >>> density.pixel_levels = 11
        >>> x = torch.tensor([[0.3, 0.5]])
        >>> goal = Misclassify(torch.tensor([0]))
        >>> Quantized()(GenerativeClassifier(density), x, goal).perturbed
        tensor([[0.6000, 0.5000]])
    """

    attack: Attack = field(default_factory=BrendelBethge)
    rounds: int = 50

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack) or not self.attack.needs_gradient:
            raise CondgenError(
                "Quantized needs an attack with gradients, such as BrendelBethge(), but attack is"
                f" {self.attack!r}."
            )
        within(self, rounds=COUNT)

    def doubled(self) -> Attack:
        inner = self.attack.doubled()
        return replace(self, attack=self.attack if inner is None else inner, rounds=2 * self.rounds)

    def passes(self) -> tuple[int, int]:
        queries, gradients = self.attack.passes()
        return queries + gradients + 2 * self.rounds, gradients + self.rounds

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        search.discrete = search.classifier.density.pixel_levels is not None
        reasons = self.attack.perturb(search, index, generator)
        if search.discrete:
            self._repair(search, index[torch.isfinite(search.distance[index])])
        return reasons

    def _repair(self, search: Search, index: Tensor) -> None:
        low, high = search.bounds
        levels = search.classifier.density.pixel_levels
        step = (high - low) / ((levels or 2) - 1)
        share = torch.ones(len(index))
        for _ in range(self.rounds):
            if not len(index):
                return
            before, current = search.distance[index], search.best[index]
            change = current - search.x[index]
            number = (change.abs() > step / 2).flatten(1).sum(1)
            _, slope = search.gradients(current, index, lambda margins: margins.amax(-1))
            chosen = _order(change, slope, step) < spread(share * number, change)
            search.margins(current - step * change.sign() * chosen, index)
            share = torch.where(search.distance[index] < before, 1.0, share / 4)
            going = share * number >= 1
            index, share = index[going], share[going]


def _order(change: Tensor, slope: Tensor, step: float) -> Tensor:
    """Rank of each pixel, the one to move first is 0; unchanged pixels come last."""
    saved = (2 * change.abs() - step) * step
    cost = (-slope * change.sign() * step).clamp_min(torch.finfo(slope.dtype).eps)
    gain = torch.where(change.abs() > step / 2, saved / cost, -torch.inf).flatten(1)
    return gain.argsort(1, descending=True).argsort(1).view_as(change)
