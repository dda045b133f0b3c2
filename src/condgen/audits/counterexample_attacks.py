"""Do attacks that know nothing of the construction of Section 2 find its mistakes?"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from condgen.attacks import (
    Attack,
    Boundary,
    CarliniWagner,
    Evade,
    HopSkipJump,
    Misclassify,
    StartingPoints,
)
from condgen.audits import intervals
from condgen.audits.counterexample import classifiers, undetected_mistakes
from condgen.classifier import GenerativeClassifier
from condgen.detectors import LikelihoodThreshold
from condgen.errors import CondgenError
from condgen.randomness import stream
from condgen.theory.annuli import Annuli, move_into_ball
from condgen.theory.counterexample import Counterexample

EDGE_WIDTH = 0.1  # of the edges in the backward pass: the densities themselves have no slope
START_IMAGES = 20  # in the unit ball: what a decision-based attack begins with


@dataclass(frozen=True)
class Found:
    """What one attack found.

    Args:
        attack: Its name.
        share: Of images that meet the proposition's conditions 1 to 5 after the attack.
        interval: 95 %.
        share_of_attackable: The same among those that the construction attacks; NaN where there are none.
        distance: Median L2 distance on those, infinite where more than half of them reach no other class unseen.
        questions: Mean number of passes through the model, per image.
        n: Images attacked.
    """

    attack: str
    share: float
    interval: tuple[float, float]
    share_of_attackable: float
    distance: float
    questions: float
    n: int

    def summary(self) -> dict[str, Any]:
        """The line as JSON: null for what is no number."""
        return {
            name: value if value == value and value != math.inf else None
            for name, value in asdict(self).items()
        }


def find_mistakes(example: Counterexample, *, images: int = 60, seed: int = 0) -> tuple[Found, ...]:
    """Attack q on samples of p: by the construction, then by Carlini-Wagner, HopSkipJump and the boundary attack.

    The goal is another class, unseen by the detector at q's median density. Carlini-Wagner follows the slope of softened edges;
    the other two begin at samples of p that reach the goal already. Those are in the unit ball and drawn there at once: of all
    samples only the share lambda_1 is.

    Args:
        example: The counterexample.
        images: How many samples of p.
        seed: Of samples and attacks.

    Raises:
        CondgenError: If there are no images.
    """
    if images < 1:
        raise CondgenError(f"{images} images cannot be attacked; ask for 1 or more, better 60.")
    p, q = classifiers(example, EDGE_WIDTH)
    x, label = _samples(p, images, stream(seed, "attacked"))
    ball = Annuli(example.dimension, [(0, 1)], torch.zeros(1, 1, dtype=torch.float64))
    starting_points = StartingPoints(
        ball.sample(torch.zeros(START_IMAGES, dtype=torch.int64), generator=stream(seed, "starts"))
    )
    goal = Evade(Misclassify(label), LikelihoodThreshold(example.median_bits_per_dim))
    moved = move_into_ball(x, example.radius)
    attackable = undetected_mistakes(example, x, moved)
    found = [
        _found(
            "the construction",
            attackable,
            attackable,
            torch.linalg.vector_norm(x - moved, dim=1),
            0.0,
        )
    ]
    attacks: tuple[Attack, ...] = (
        CarliniWagner(),
        HopSkipJump(starting_points),
        Boundary(starting_points),
    )
    for attack in attacks:
        result = attack(q, x, goal, generator=stream(seed, "attack"))
        questions = (result.forward + result.backward).double().mean().item()
        mistakes = undetected_mistakes(example, x, result.perturbed)
        found.append(_found(type(attack).__name__, mistakes, attackable, result.l2, questions))
    return tuple(found)


def _samples(
    classifier: GenerativeClassifier, number: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    label = torch.randint(2, (number,), generator=generator)
    return classifier.density.sample(label, generator=generator), label


def _found(
    name: str, mistakes: Tensor, attackable: Tensor, distance: Tensor, questions: float
) -> Found:
    hits, n = int(mistakes.sum()), len(mistakes)
    of_attackable = mistakes[attackable].double().mean().item()
    return Found(
        name,
        hits / n,
        intervals.wilson(hits, n),
        of_attackable,
        _median(distance[attackable]),
        questions,
        n,
    )


def _median(values: Tensor) -> float:
    return values.median().item() if len(values) else math.nan
