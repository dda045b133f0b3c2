"""The Brendel-Bethge attack: a gradient-based walk along the boundary of all margins."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, Attack, within
from condgen.attacks.decoupled_direction_norm import DecoupledDirectionNorm
from condgen.attacks.goals import reached
from condgen.attacks.result import NO_START
from condgen.attacks.search import Search, dot, normed, spread
from condgen.attacks.starting_points import StartingPoints, bisect

SLACK = 0.03  # share of the radius: how far inside each linearized boundary a step ends
LONGER, SHORTER = 1.6, 0.4  # factors of the radius after an accepted and a rejected step
SMALLEST = 1e-4  # share of the distance: a smaller radius ends the walk
ROUNDS, HALVINGS = 3, 25


@dataclass(frozen=True)
class BrendelBethge(Attack):
    r"""Minimize the distance step by step, with each margin linearized within a trust region.

    A step solves :math:`\min \|x' - x\|` subject to :math:`m_k + \nabla m_k \cdot (x' - x_t) \le 0`
    for every margin, within the bounds and a radius around :math:`x_t`. It is accepted if the goal
    stays reached; otherwise the radius shrinks. All conditions of a goal hold at once. A sum of
    hinges has to trade a class margin against a detector instead. From the same starting point this
    attack has more information than a decision-based attack; if one of those finds less distance,
    the evaluation is at fault.

    Args:
        starting_points: Starting points of the first walk. A second walk starts at the result of a
            short :class:`~condgen.attacks.decoupled_direction_norm.DecoupledDirectionNorm` from the
            original.
        steps: Largest number of steps of each walk.
        start_steps: Steps of the short attack from the original.

    References:
        Brendel, Rauber, Kümmerer, Ustyuzhaninov and Bethge, Accurate, reliable and fast robustness
        evaluation, 2019; here with several margins, and a step is accepted only if the goal is
        reached.
    """

    starting_points: StartingPoints = field(default_factory=StartingPoints)
    steps: int = 60
    start_steps: int = 20

    def __post_init__(self) -> None:
        within(self, steps=COUNT, start_steps=(0, math.inf))

    def doubled(self) -> Attack:
        return replace(self, steps=2 * self.steps)

    def passes(self) -> tuple[int, int]:
        return 0, self.start_steps + 2 * (self.steps + 1)

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        if self.start_steps:
            DecoupledDirectionNorm(self.start_steps).perturb(search, index, generator)
        near = index[torch.isfinite(search.distance[index])]
        first = search.best[near]
        start, found = self.starting_points.find(search, index, generator)
        far = index[found]
        for walkers, points in ((far, start[found]), (near, first)):
            if len(walkers):
                self._walk(search, walkers, bisect(search, walkers, points))
        return {int(i): NO_START for i in index[~found] if torch.isinf(search.distance[i])}

    def _walk(self, search: Search, index: Tensor, current: Tensor) -> None:
        distance = search.l2(current, index)
        radius = distance / 2
        margins, *tangents = search.gradients(current, index, *search.each_margin)
        for _ in range(self.steps):
            moved = _step(search, index, current, margins, tangents, radius)
            new_margins, *new_tangents = search.gradients(moved, index, *search.each_margin)
            now = search.l2(moved, index)
            good = reached(new_margins) & (now < distance)
            mask = spread(good, current)
            current, distance = torch.where(mask, moved, current), torch.where(good, now, distance)
            margins = torch.where(good[:, None], new_margins, margins)
            tangents = [
                torch.where(mask, new, old) for new, old in zip(new_tangents, tangents, strict=True)
            ]
            radius = torch.minimum(radius * torch.where(good, LONGER, SHORTER), distance)
            going = radius > SMALLEST * distance
            index, current, distance, radius = (
                index[going],
                current[going],
                distance[going],
                radius[going],
            )
            margins, tangents = margins[going], [tangent[going] for tangent in tangents]
            if not len(index):
                return


def _step(
    search: Search,
    index: Tensor,
    current: Tensor,
    margins: Tensor,
    tangents: list[Tensor],
    radius: Tensor,
) -> Tensor:
    """Step by the radius toward the original, then apply Hildreth's projection.

    The projection satisfies every linearized margin, within bounds.
    """
    toward = search.x[index] - current
    share = (
        radius / toward.flatten(1).norm(dim=1).clamp_min(torch.finfo(radius.dtype).tiny)
    ).clamp_max(1.0)
    aim = current + spread(share, toward) * toward
    slopes = [
        tangent.flatten(1).norm(dim=1).clamp_min(torch.finfo(aim.dtype).tiny)
        for tangent in tangents
    ]
    units = [normed(tangent) for tangent in tangents]
    limits = [-margins[:, k] / slope - SLACK * radius for k, slope in enumerate(slopes)]
    push = [torch.zeros_like(radius) for _ in tangents]
    for _ in range(ROUNDS if len(units) > 1 else 1):
        for k, (unit, limit) in enumerate(zip(units, limits, strict=True)):
            others = aim - sum(spread(push[j], aim) * units[j] for j in range(len(units)) if j != k)
            push[k] = _least_push(
                search, others, unit, limit + dot(unit, current).flatten(), 4 * radius
            )
    return search.clip(
        aim - sum(spread(amount, aim) * unit for amount, unit in zip(push, units, strict=True))
    )


def _least_push(search: Search, point: Tensor, unit: Tensor, limit: Tensor, most: Tensor) -> Tensor:
    """Least t in [0, most] with unit . clip(point - t unit) <= limit, by bisection; ``(n,)``."""
    low, high = torch.zeros_like(most), most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = dot(unit, search.clip(point - spread(middle, point) * unit)).flatten() <= limit
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    already = dot(unit, search.clip(point)).flatten() <= limit
    return torch.where(already, torch.zeros_like(high), high)
