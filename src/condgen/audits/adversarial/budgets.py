"""Budgets of an adversarial audit: images, steps and queries."""

from dataclasses import dataclass, replace

from condgen.attacks import (
    Attack,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    DecoupledDirectionNorm,
    HopSkipJump,
    Quantized,
    StartingPoints,
    Targeted,
)
from condgen.errors import ConfigError, suggest


@dataclass(frozen=True)
class Budget:
    """The number of images, gradients and queries of an audit.

    Args:
        images: Number of test images to draw.
        searches, steps: Searches of Carlini-Wagner, and the steps of each; the quantized attack
            has twice as many.
        walk: Steps of each walk of Brendel-Bethge.
        queries: Queries per image of the decision-based attacks.
        examined: Number of images attacked again with twice the steps, to check convergence.
        targeted: Also run the paper's attacks toward one wrong class, the paper's protocol.
    """

    images: int
    searches: int
    steps: int
    walk: int
    queries: int
    examined: int
    targeted: bool = False

    def attacks(self, starting_points: StartingPoints) -> dict[str, Attack]:
        """The attacks of the audit by name, gradient-based ones first."""
        carlini_wagner = CarliniWagner(searches=self.searches, steps=self.steps)
        boundary = Boundary(starting_points=starting_points, queries=self.queries)
        paper = {
            "Carlini-Wagner, targeted": Targeted(carlini_wagner),
            "Boundary, targeted": Targeted(boundary),
        }
        return {
            "Carlini-Wagner": carlini_wagner,
            "Brendel-Bethge": BrendelBethge(
                starting_points=replace(starting_points, nearest=True), steps=self.walk
            ),
            "DDN, quantized": Quantized(DecoupledDirectionNorm(2 * self.steps)),
            "Boundary": boundary,
            "HopSkipJump": HopSkipJump(starting_points=starting_points, queries=self.queries),
            **(paper if self.targeted else {}),
        }


BUDGETS = {
    "smoke": Budget(images=4, searches=1, steps=10, walk=5, queries=100, examined=2),
    "quick": Budget(images=24, searches=2, steps=25, walk=25, queries=250, examined=4),
    "standard": Budget(
        images=50, searches=3, steps=40, walk=50, queries=1000, examined=12, targeted=True
    ),
    "paper": Budget(
        images=1000, searches=6, steps=100, walk=100, queries=10_000, examined=100, targeted=True
    ),
}


def named(budget: str) -> Budget:
    """Return the budget of that name.

    Raises:
        ConfigError: If no budget has that name.
    """
    if budget not in BUDGETS:
        raise ConfigError(f"budget '{budget}' is not known; {suggest(budget, BUDGETS)}")
    return BUDGETS[budget]
