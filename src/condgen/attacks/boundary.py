"""The boundary attack: a decision-based random walk along the boundary."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, POSITIVE, SHARE, Attack, within
from condgen.attacks.search import Search, dot, normed, spread
from condgen.attacks.starting_points import StartingPoints

# Factors of the step size after a success and a failure: stationary if one step in eight succeeds.
LONGER, SHORTER = 1.1, 0.987


@dataclass(frozen=True)
class Boundary(Attack):
    r"""Random walk from a starting point: an orthogonal step and a small step toward the original.

    Both are one query. At a flat boundary and with an orthogonal step of :math:`s` times the
    distance, the inward step with the largest gain per query is :math:`s^2 / 2`, at one success in
    eight. So there is one step size, adapted to each image after every query. Orthogonal steps are
    biased toward those that have succeeded.

    Args:
        starting_points: Starting points of the walk.
        queries: Queries per image before the walk ends; verifying the result takes a few more.
        first: First orthogonal step, as a share of the distance.
        lean: Weight of past successes in an orthogonal step, from 0 to 1.
        memory: Share of past successes that is kept at each success.

    References:
        Brendel et al., Decision-based adversarial attacks, ICLR 2018; Sec. 4.3.
    """

    needs_gradient: ClassVar[bool] = False

    starting_points: StartingPoints = field(default_factory=StartingPoints)
    queries: int = 2250
    first: float = 0.1
    lean: float = 0.5
    memory: float = 0.95

    def __post_init__(self) -> None:
        within(self, queries=COUNT, first=POSITIVE, lean=SHARE, memory=SHARE)

    def doubled(self) -> Attack:
        return replace(self, queries=2 * self.queries)

    def passes(self) -> tuple[int, int]:
        return self.queries, 0

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        left, current, reasons = self.starting_points.on_boundary(search, index, generator)
        if len(left):
            self._walk(search, left, current, generator)
        return reasons

    def _walk(
        self, search: Search, index: Tensor, current: Tensor, generator: torch.Generator
    ) -> None:
        x, distance, past = search.x[index], search.l2(current, index), torch.zeros_like(current)
        length = torch.full_like(distance, self.first)
        while True:
            left = search.forward[index] < self.queries  # starting points differ in cost
            if not left.any():
                return
            state = index, x, current, distance, past, length
            index, x, current, distance, past, length = (part[left] for part in state)
            outward = normed(current - x)
            noise = normed(torch.randn(x.shape, generator=generator, dtype=x.dtype))
            sideways = normed(self.lean * normed(past) + (1 - self.lean**2) ** 0.5 * noise)
            sideways = sideways - dot(sideways, outward) * outward
            moved = normed(outward + spread(length, x) * sideways)
            moved = search.clip(x + spread(distance * (1 - length.square() / 2), x) * moved)
            good = search.reached(moved, index)
            now = search.l2(moved, index)
            good &= now < distance
            current, distance = (
                torch.where(spread(good, x), moved, current),
                torch.where(good, now, distance),
            )
            past = torch.where(spread(good, x), self.memory * past + sideways, past)
            length = (length * torch.where(good, LONGER, SHORTER)).clamp_max(1.0)
