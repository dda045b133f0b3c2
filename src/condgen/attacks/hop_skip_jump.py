"""HopSkipJump: a decision-based attack that estimates the boundary's normal from many queries."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, Attack, within
from condgen.attacks.search import Search, normed, spread
from condgen.attacks.starting_points import BISECTIONS, StartingPoints, bisect

HALVINGS = 10


@dataclass(frozen=True)
class HopSkipJump(Attack):
    r"""Repeat: bisect to the boundary, estimate its normal from probes, jump along the normal.

    Args:
        starting_points: Starting points of the search.
        queries: Queries per image before the search ends; verifying the result takes a few more.
        probes: Probes of the first round; round t has sqrt(t) times as many.

    References:
        Chen, Jordan and Wainwright, HopSkipJumpAttack, 2020, algorithm 2, l2; probes lie at
        1 / sqrt(d) of the distance.
    """

    needs_gradient: ClassVar[bool] = False

    starting_points: StartingPoints = field(default_factory=StartingPoints)
    queries: int = 2250
    probes: int = 50

    def __post_init__(self) -> None:
        within(self, queries=COUNT, probes=COUNT)

    def doubled(self) -> Attack:
        return replace(self, queries=2 * self.queries)

    def passes(self) -> tuple[int, int]:
        return self.queries, 0

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        left, current, reasons = self.starting_points.on_boundary(search, index, generator)
        if len(left):
            self._hop(search, left, current, generator)
        return reasons

    def _hop(
        self, search: Search, index: Tensor, current: Tensor, generator: torch.Generator
    ) -> None:
        dims, hop = current[0].numel(), 1
        while True:
            probes = int(self.probes * hop**0.5)
            # starting points differ in cost
            left = search.forward[index] + probes + HALVINGS + BISECTIONS <= self.queries
            index, current = index[left], current[left]
            if not len(index):
                return
            distance = search.l2(current, index)
            reach = 0.1 * search.diameter / dims**0.5 if hop == 1 else distance / dims**0.5
            normal = self._normal(
                search, index, current, reach * torch.ones_like(distance), probes, generator
            )
            current = bisect(
                search, index, self._jump(search, index, current, normal, distance / hop**0.5)
            )
            hop += 1

    def _normal(
        self,
        search: Search,
        index: Tensor,
        current: Tensor,
        reach: Tensor,
        probes: int,
        generator: torch.Generator,
    ) -> Tensor:
        """The mean of successful probes minus the mean of failed ones.

        It points to where the goal is reached.
        """
        noise = torch.randn(
            (len(index), probes, *current.shape[1:]), generator=generator, dtype=current.dtype
        )
        noise = normed(noise.flatten(0, 1))
        around = current.repeat_interleave(probes, 0)
        placed = search.clip(around + spread(reach.repeat_interleave(probes), around) * noise)
        sides = torch.where(
            search.reached(placed, index.repeat_interleave(probes)), 1.0, -1.0
        ).view(-1, probes)
        one_sided = sides.abs().sum(1) == sides.sum(1).abs()
        weight = torch.where(one_sided[:, None], sides, sides - sides.mean(1, keepdim=True))
        moves = placed - around
        return normed((spread(weight.flatten(), moves) * moves).unflatten(0, (-1, probes)).sum(1))

    def _jump(
        self, search: Search, index: Tensor, current: Tensor, normal: Tensor, length: Tensor
    ) -> Tensor:
        """Jump along the normal; halve the jump until the goal is reached."""
        landed, left = current.clone(), torch.arange(len(index))
        for _ in range(HALVINGS):
            moved = search.clip(current[left] + spread(length[left], normal) * normal[left])
            good = search.reached(moved, index[left])
            landed[left[good]] = moved[good]
            left = left[~good]
            length = length / 2
            if not len(left):
                break
        return landed
