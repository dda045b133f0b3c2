"""General attacks on the counterexample of Section 2, compared with its own construction."""

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

EDGE_WIDTH = 0.1  # width of the edges in the backward pass: the exact densities have no gradient
START_IMAGES = 20  # starting points of the decision-based attacks, in the unit ball


@dataclass(frozen=True)
class Found:
    """Results of one attack.

    Args:
        attack: Its name.
        share: Share of images that meet the proposition's conditions 1 to 5 after the attack.
        interval: 95 % interval of ``share``.
        share_of_attackable: The same share among the images that the construction attacks; NaN if
            there are none.
        distance: Median L2 distance on those; infinite if the attack reaches no other class
            undetected on more than half of them.
        questions: Mean number of passes through the model, per image.
        n: Number of images attacked.
    """

    attack: str
    share: float
    interval: tuple[float, float]
    share_of_attackable: float
    distance: float
    questions: float
    n: int

    def summary(self) -> dict[str, Any]:
        """The fields as JSON, with ``None`` for NaN and infinity."""
        return {
            name: value if value == value and value != math.inf else None
            for name, value in asdict(self).items()
        }


def find_mistakes(example: Counterexample, *, images: int = 60, seed: int = 0) -> tuple[Found, ...]:
    """Attack q on samples of p: by the construction, Carlini-Wagner, HopSkipJump and Boundary.

    The goal is another class, undetected at a threshold of q's median density. Carlini-Wagner
    follows the gradient of softened edges. The other two start from samples of p that already reach
    the goal. Those lie in the unit ball and are drawn there directly, since only the share lambda_1
    of all samples does.

    Args:
        example: The counterexample.
        images: Number of samples of p.
        seed: Seed of the samples and the attacks.

    Raises:
        CondgenError: If there are no images.
    """
    if images < 1:
        raise CondgenError(f"{images} images cannot be attacked; use 1 or more, better 60.")
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
        passes = (result.forward + result.backward).double().mean().item()
        mistakes = undetected_mistakes(example, x, result.perturbed)
        found.append(_found(type(attack).__name__, mistakes, attackable, result.l2, passes))
    return tuple(found)


def _samples(
    classifier: GenerativeClassifier, number: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    label = torch.randint(2, (number,), generator=generator)
    return classifier.density.sample(label, generator=generator), label


def _found(
    name: str, mistakes: Tensor, attackable: Tensor, distance: Tensor, passes: float
) -> Found:
    hits, n = int(mistakes.sum()), len(mistakes)
    of_attackable = mistakes[attackable].double().mean().item()
    return Found(
        name,
        hits / n,
        intervals.wilson(hits, n),
        of_attackable,
        _median(distance[attackable]),
        passes,
        n,
    )


def _median(values: Tensor) -> float:
    return values.median().item() if len(values) else math.nan
