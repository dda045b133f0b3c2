"""The boundary attack: a random walk along the boundary that only asks whether the goal is reached."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, POSITIVE, SHARE, Attack, within
from condgen.attacks.search import Search, dot, normed, spread
from condgen.attacks.starting_points import StartingPoints

LONGER, SHORTER = (
    1.1,
    0.987,
)  # after a success and a failure: in balance where one step in eight succeeds


@dataclass(frozen=True)
class Boundary(Attack):
    r"""From a start image that reaches the goal: a step aside at equal distance, and a small one toward the original.

    Both are one question. At a flat boundary and with a step aside of :math:`s` times the distance, the step inward that gains
    most per question is :math:`s^2 / 2`, at one success in eight; so there is one length to adapt, and it adapts to each image
    after every question. Steps aside lean toward those that have succeeded.

    Args:
        starting_points: Where to begin.
        queries: Questions per image after which it stops; making sure of its result takes a few more.
        first: First step aside, as a share of the distance.
        lean: Weight of the past successes in a step aside, from 0 to 1.
        memory: How much of them is kept at each success.

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
            left = (
                search.forward[index] < self.queries
            )  # starts may have cost some images more than others
            if not left.any():
                return
            state = index, x, current, distance, past, length
            index, x, current, distance, past, length = (part[left] for part in state)
            outward = normed(current - x)
            noise = normed(torch.randn(x.shape, generator=generator, dtype=x.dtype))
            aside = normed(self.lean * normed(past) + (1 - self.lean**2) ** 0.5 * noise)
            aside = aside - dot(aside, outward) * outward
            moved = normed(outward + spread(length, x) * aside)
            moved = search.clip(x + spread(distance * (1 - length.square() / 2), x) * moved)
            good = search.reached(moved, index)
            now = search.l2(moved, index)
            good &= now < distance
            current, distance = (
                torch.where(spread(good, x), moved, current),
                torch.where(good, now, distance),
            )
            past = torch.where(spread(good, x), self.memory * past + aside, past)
            length = (length * torch.where(good, LONGER, SHORTER)).clamp_max(1.0)
