"""A gradient-based walk along the boundary, inside the region where the goal is reached and nothing is flagged."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from condgen.attacks.attack import COUNT, NO_START, Attack, within
from condgen.attacks.decoupled_direction_norm import DecoupledDirectionNorm
from condgen.attacks.goals import reached
from condgen.attacks.search import Search, dot, normed, spread
from condgen.attacks.starting_points import StartingPoints, bisect

SLACK = 0.03  # of the radius: how far inside each linearised boundary a step ends
LONGER, SHORTER = 1.6, 0.4
SMALLEST = 1e-4  # of the distance: a radius below it ends the walk
ROUNDS, HALVINGS = 3, 25


@dataclass(frozen=True)
class BrendelBethge(Attack):
    r"""Minimises the distance step by step, each margin replaced by its tangent within a trust region.

    A step solves :math:`\min \|x' - x\|` subject to :math:`m_k + \nabla m_k \cdot (x' - x_t) \le 0` for every margin, to the
    bounds and to a radius around :math:`x_t`; it is taken where the goal stays reached, and the radius shrinks where it does
    not. All conditions of a goal are kept at once, which a sum of hinges does not do: between a class margin and a detector it
    must trade. From the same start it knows more than a decision-based attack; where one beats it, the evaluation is at fault.

    Args:
        starting_points: Where to walk from; a second walk begins at what a pass of
            :class:`~condgen.attacks.decoupled_direction_norm.DecoupledDirectionNorm` from the original has found.
        steps: Most steps of each walk.
        start_steps: Of the pass from the original.

    References:
        Brendel, Rauber, Kümmerer, Ustyuzhaninov and Bethge, Accurate, reliable and fast robustness evaluation, 2019: here with
        several margins, and an accepted step only where the goal is reached.
    """

    starting_points: StartingPoints = field(default_factory=StartingPoints)
    steps: int = 60
    start_steps: int = 20

    def __post_init__(self) -> None:
        within(self, steps=COUNT, start_steps=(0, math.inf))

    def doubled(self) -> Attack:
        return replace(self, steps=2 * self.steps)

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
    """Toward the original by the radius, then onto the right side of every tangent, within bounds: Hildreth's projection."""
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
    """The least t in [0, most] with unit . clip(point - t unit) <= limit, shape ``(n,)``, by bisection."""
    low, high = torch.zeros_like(most), most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = dot(unit, search.clip(point - spread(middle, point) * unit)).flatten() <= limit
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    already = dot(unit, search.clip(point)).flatten() <= limit
    return torch.where(already, torch.zeros_like(high), high)
