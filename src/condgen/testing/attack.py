"""Conformance checks for an attack."""

import torch
from torch import Tensor

from condgen.attacks import Attack, AttackResult, Evade, Goal, Misclassify
from condgen.attacks.goals import reached
from condgen.audits.checks import Check
from condgen.classifier import GenerativeClassifier
from condgen.detectors import LikelihoodThreshold
from condgen.errors import CondgenError
from condgen.models.gaussian import DiagonalGaussian
from condgen.randomness import stream

NEAR = 0.25  # tolerance above the exact distance
ROUNDING = 0.01  # tolerance below it, for the grid and float32
GAP = 0.03  # pixel values between the midpoint of two classes and the discs that are accepted
GRID = 501  # points per side of the plane
WALK = "Walk along the boundary as well."
SPEND = "Use more steps."


def check_attack(attack: Attack) -> list[Check]:
    """Check an attack on two Gaussian classes, where the exact distance is known.

    Without a detector, the boundary is a hyperplane in 16 dimensions. The detector accepts a disc
    around each of two classes in a plane and rejects everything between them: the nearest image of
    the other class is rejected, and an attack has to cross the gap.

    Args:
        attack: The attack, with the settings to check.

    Returns:
        One :class:`Check` for success on every image and one for a distance near the exact one,
        without and with the detector, then for repeatability with one seed, and for staying within
        bounds.

    Examples:
        >>> from condgen.attacks import CarliniWagner
        >>> all(check.passed for check in check_attack(CarliniWagner()))
        True
    """
    if not isinstance(attack, Attack):
        raise CondgenError(f"the attack is {attack!r}, expected an object such as CarliniWagner().")
    classifier, x, label = _two_gaussians(dims=16, apart=0.2, scale=0.2)
    first, again = (
        attack(classifier, x, Misclassify(label), generator=stream(0, "check attack"))
        for _ in range(2)
    )
    exact = (x.flatten(1) - 0.5).sum(1).abs() / x[0].numel() ** 0.5
    plane, points, their_label = _two_gaussians(dims=2, apart=0.5, scale=0.15)
    goal = Evade(Misclassify(their_label), _disc_detector(plane))
    aware = attack(plane, points, goal, generator=stream(0, "check attack"))
    same = torch.equal(first.perturbed, again.perturbed)
    inside = all(
        bool(((result.perturbed >= 0) & (result.perturbed <= 1)).all()) for result in (first, aware)
    )
    return [
        *_success("", first, exact),
        *_success(", detector-aware", aware, _grid_distance(plane, points, goal)),
        Check(
            "repeatable",
            same,
            "same images" if same else "other images",
            "Draw random numbers from the generator only.",
        ),
        Check("within bounds", inside, "yes" if inside else "no", "Query search.clip(images)."),
    ]


def _success(suffix: str, result: AttackResult, exact: Tensor) -> list[Check]:
    excess = (result.l2 / exact - 1)[result.reached]
    found, name = f"{int(result.reached.sum())} of {len(exact)}", f"distance{suffix}"
    finds = Check(f"finds every image{suffix}", bool(result.reached.all()), found, SPEND)
    if not len(excess):
        return [finds, Check(name, None, "no image was found", WALK)]
    least, most = excess.min().item(), excess.max().item()
    near = -ROUNDING < least <= most < NEAR
    return [finds, Check(name, near, f"{least:+.1%} to {most:+.1%} of the exact one", WALK)]


def _two_gaussians(
    dims: int, apart: float, scale: float
) -> tuple[GenerativeClassifier, Tensor, Tensor]:
    """A classifier, images near the class means, and labels."""
    mean = (
        torch.tensor([0.5 - apart / 2, 0.5 + apart / 2])
        .view(2, 1, 1, 1)
        .expand(2, 1, 1, dims)
        .clone()
    )
    label = torch.arange(6) % 2
    x = mean[label] + 0.03 * torch.randn(6, 1, 1, dims, generator=stream(0, "two gaussians"))
    return GenerativeClassifier(DiagonalGaussian(mean, scale)), x, label


def _disc_detector(plane: GenerativeClassifier) -> LikelihoodThreshold:
    """A detector that accepts a disc around each mean and rejects what lies between."""
    edge = torch.full((1, 1, 1, 2), 0.5 + GAP)
    return LikelihoodThreshold(plane(edge).bits_per_dim.item())


def _grid_distance(plane: GenerativeClassifier, points: Tensor, goal: Goal) -> Tensor:
    """Distance of each point to the nearest point of a fine grid that reaches its goal."""
    axis = torch.linspace(0, 1, GRID)
    grid = torch.cartesian_prod(axis, axis)
    prediction = plane(grid.view(-1, 1, 1, 2))
    rows = torch.arange(len(points))
    hits = [reached(goal[row.expand(len(grid))].margins(prediction)) for row in rows]
    return torch.stack(
        [
            (grid[hit] - points[row].flatten()).norm(dim=1).min()
            for row, hit in zip(rows, hits, strict=True)
        ]
    )
