"""Targeted attacks for untargeted goals: the paper's protocol (Sec. 4.3)."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from condgen.attacks.attack import Attack
from condgen.attacks.carlini_wagner import CarliniWagner
from condgen.attacks.goals import Evade, Goal, Misclassify, Target
from condgen.attacks.search import Search
from condgen.errors import CondgenError


@dataclass(frozen=True)
class Targeted(Attack):
    """Run another attack toward one wrong class, drawn at random for each image.

    So an attack with starting points starts from an image of that class, as in Sec. 4.3. Success is
    that of the goal given: with :class:`Misclassify`, any wrong class counts.

    Args:
        attack: The attack to run.

    Raises:
        CondgenError: If ``attack`` is not an attack.

    Examples:
        >>> from condgen import DiagonalGaussian, GenerativeClassifier
        >>> classifier = GenerativeClassifier(DiagonalGaussian(torch.tensor([[0.2], [0.5], [0.8]])))
        >>> goal = Misclassify(torch.tensor([0, 0, 0]))
        >>> Targeted()(classifier, torch.full((3, 1), 0.3), goal).l2.round(decimals=2)
        tensor([0.0500, 0.3500, 0.3500])
    """

    needs_gradient: ClassVar[bool] = False  # set for each instance

    attack: Attack = field(default_factory=CarliniWagner)

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise CondgenError(
                f"Targeted needs an attack such as CarliniWagner(), but attack is {self.attack!r}."
            )
        object.__setattr__(self, "needs_gradient", self.attack.needs_gradient)

    def doubled(self) -> Attack | None:
        inner = self.attack.doubled()
        return None if inner is None else replace(self, attack=inner)

    def passes(self) -> tuple[int, int]:
        return self.attack.passes()

    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        given = search.goal
        search.goal = targeted(given, search.classifier.density.num_classes, generator)
        try:
            return self.attack.perturb(search, index, generator)
        finally:
            search.goal = given


def targeted(goal: Goal, num_classes: int, generator: torch.Generator) -> Goal:
    """The goal with one wrong class, drawn uniformly, instead of any; others stay as they are."""
    if isinstance(goal, Evade):
        return replace(goal, goal=targeted(goal.goal, num_classes, generator))
    if not isinstance(goal, Misclassify):
        return goal
    offset = torch.randint(1, num_classes, goal.label.shape, generator=generator)
    return Target((goal.label + offset) % num_classes, goal.label)
