"""Conformance checks for a density and for an attack: the library's own pass them, and so should yours."""

import copy
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from condgen.attacks import Attack, AttackResult, Evade, Goal, Misclassify
from condgen.attacks.goals import reached
from condgen.audits.checks import Check
from condgen.classifier import COARSE, GenerativeClassifier, evaluating, rounding_of
from condgen.density import ClassConditionalDensity
from condgen.detectors import LikelihoodThreshold
from condgen.errors import CondgenError
from condgen.models.gaussian import DiagonalGaussian
from condgen.randomness import stream
from condgen.validation import check_images, wrong_units

RELATIVE = 1e-4  # of float32 sums over an image, beside float64
GRADIENT_STEP = (
    1e-7  # in float64; a longer one crosses the kinks of ReLUs, and a model that is right fails
)
NEAR = 0.25  # above the exact distance: what an attack may need more
ROUNDING = 0.01  # below it: what a grid and float32 explain
GAP = 0.03  # pixel values: how far from the middle between two classes a detector begins to accept
GRID = 501  # points to a side of the plane
RETRAIN = "Retrain with a lower learning rate."
WALK = "Walk along the boundary as well."
SPEND = "Spend more steps."


@runtime_checkable
class Flow(Protocol):
    """A density that maps images to latent vectors and back."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``z`` and the log-determinant, shape ``(N,)``."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """The images of ``z``."""
        ...


def check_density(density: ClassConditionalDensity, x: Tensor) -> list[Check]:
    """Check what the library relies on, on a few of your images.

    Args:
        density: The model, examined in evaluation mode.
        x: At least two images as a classifier takes them, shape ``(N, *event_shape)``.

    Returns:
        One :class:`Check` for shape, finite values, units, precision, independence of batch and random state, the input
        left as it was, and the gradient; and for flows (densities with ``encode`` and ``decode``, the former with a
        log-determinant) the round trip and float32 beside float64. Where the shape is wrong, that one alone.

    Raises:
        CondgenError: If fewer than two images are given, or they are not what the model expects.

    Examples:
        >>> from condgen import DiagonalGaussian
        >>> checks = check_density(DiagonalGaussian(torch.rand(3, 1, 2, 2)), torch.rand(4, 1, 2, 2))
        >>> all(check.passed for check in checks)
        True
    """
    classifier = GenerativeClassifier(density)
    check_images(x, density, classifier.bounds)
    if len(x) < 2:
        raise CondgenError("check_density needs at least two images.")
    with torch.inference_mode(False), evaluating(density), torch.random.fork_rng(devices=[]):
        own = classifier.for_density(x.detach())
        with torch.no_grad():
            shape = _shape(density, own)
            if not shape.passed:
                return [shape]
            checks = [
                shape,
                *(
                    check(density, own)
                    for check in (_finite, _units, _precision, _batch, _random_state, _input)
                ),
            ]
        with torch.enable_grad():
            checks.append(_gradient(density, own))
        if isinstance(density, Flow) and _has_log_det(density, own):
            exact = copy.deepcopy(density).double()
            with torch.no_grad():
                checks += [
                    _round_trip(density, own),
                    _log_det(density, exact, own),
                    _bits_per_dim(density, exact, x),
                ]
    return checks


def _answer(density: ClassConditionalDensity, x: Tensor) -> Tensor:
    """To a copy of the images, which the model may write to."""
    return density.class_log_prob(x.clone())


def _shape(density: ClassConditionalDensity, x: Tensor) -> Check:
    answer, expected = _answer(density, x), (len(x), density.num_classes)
    found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    return Check(
        "shape",
        found == expected,
        f"{found}",
        f"class_log_prob must return (N, num_classes), here {expected}.",
    )


def _finite(density: ClassConditionalDensity, x: Tensor) -> Check:
    finite = torch.isfinite(_answer(density, x)).all(1)
    return Check(
        "finite",
        bool(finite.all()),
        f"{int(finite.sum())} of {len(x)} images",
        "Guard logarithms and scales.",
    )


def _units(density: ClassConditionalDensity, x: Tensor) -> Check:
    """Negative bits/dim are more than certainty: usually those of another unit than stored values."""
    if density.pixel_levels is None:
        return Check("units", None, "continuous data", "")
    bits = (-_answer(density, x).amax(1).double().mean() / (density.dims * math.log(2))).item()
    advice = "class_log_prob must be that of the values as stored: subtract dims * log(pixel_levels - 1) from that of [0, 1]."
    fault = wrong_units(bits, density)
    return Check(
        "units", not fault, fault or f"{bits:.2f} bits/dim under the likeliest class", advice
    )


def _precision(density: ClassConditionalDensity, x: Tensor) -> Check:
    answer = _answer(density, x)
    rounding = rounding_of(answer)
    advice = "Sum log-likelihoods in float32, whatever the layers compute in, or use model.float()."
    passed = answer.dtype.itemsize >= 4 or rounding <= COARSE
    return Check(
        "precision",
        passed,
        f"{answer.dtype} rounds these log-likelihoods by {rounding:.1e} nats",
        advice,
    )


def _input(density: ClassConditionalDensity, x: Tensor) -> Check:
    given = x.clone()
    density.class_log_prob(given)
    same = torch.equal(given, x)
    advice = "Write `x = x - 0.5`, not `x -= 0.5`: who calls class_log_prob uses the images again."
    return Check("leaves its input as it was", same, "yes" if same else "no", advice)


def _batch(density: ClassConditionalDensity, x: Tensor) -> Check:
    together = _answer(density, x)
    alone = torch.cat([_answer(density, image[None]) for image in x])
    worst = _relative(together, alone)
    advice = "In eval() an image's answer must not depend on its batch: no batch statistics, no noise per batch."
    return Check(
        "independent of the batch", worst < RELATIVE, f"relative difference {worst:.1e}", advice
    )


def _random_state(density: ClassConditionalDensity, x: Tensor) -> Check:
    first = _answer(density, x)
    torch.rand(1)
    worst = _relative(first, _answer(density, x))
    advice = "In eval() the answer must not depend on the random state: draw noise in fresh_noise() and training only."
    return Check(
        "independent of the random state", worst == 0, f"relative difference {worst:.1e}", advice
    )


def _gradient(density: ClassConditionalDensity, x: Tensor) -> Check:
    """Along a random direction, against the difference of two values in float64."""
    name, advice = (
        "gradient",
        "Attacks that need gradients will not work; make class_log_prob differentiable in x.",
    )
    low, high = density.bounds
    inner = x.double().clamp(low + GRADIENT_STEP, high - GRADIENT_STEP).requires_grad_()
    try:
        exact = copy.deepcopy(density).double()
        value = _answer(exact, inner).sum(1)
    except (RuntimeError, TypeError) as error:
        return Check(
            name, None, f"not measured: the model cannot compute in float64 ({error})", advice
        )
    if not value.requires_grad:
        return Check(name, False, "none: the result is cut off from x", advice)
    if value.dtype != torch.float64:
        return Check(
            name, None, f"not measured: the model answers float64 images in {value.dtype}", advice
        )
    (gradient,) = torch.autograd.grad(value.sum(), inner)
    direction = (
        torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(
            x.device
        )
        - 0.5
    )
    step = GRADIENT_STEP * direction
    with torch.no_grad():
        ahead, behind = (_answer(exact, inner + sign * step).sum(1) for sign in (1, -1))
    slope = (ahead - behind) / (2 * GRADIENT_STEP)
    worst = _relative((gradient * direction).flatten(1).sum(1), slope)
    return Check(name, worst < 1e-2, f"differs from the slope by {worst:.1e}, relative", advice)


def _has_log_det(density: Flow, x: Tensor) -> bool:
    """An autoencoder has ``encode`` and ``decode`` too, but no log-determinant."""
    with torch.no_grad():
        found = density.encode(x)
    pair = (
        isinstance(found, tuple)
        and len(found) == 2
        and all(isinstance(part, Tensor) for part in found)
    )
    return pair and found[1].shape == (len(x),)


def _round_trip(flow: Flow, x: Tensor) -> Check:
    worst = (flow.decode(flow.encode(x)[0]) - x).abs().max().item()
    return Check("round trip", worst < 1e-4, f"decode(encode(x)) differs by {worst:.1e}", RETRAIN)


def _log_det(flow: Flow, exact: Flow, x: Tensor) -> Check:
    worst = _relative(flow.encode(x)[1], exact.encode(x.double())[1])
    return Check(
        "log-determinant",
        worst < RELATIVE,
        f"float32 differs from float64 by {worst:.1e}, relative",
        RETRAIN,
    )


def _bits_per_dim(
    density: ClassConditionalDensity, exact: ClassConditionalDensity, x: Tensor
) -> Check:
    in_single, in_double = GenerativeClassifier(density)(x), GenerativeClassifier(exact)(x.double())
    worst = (in_single.bits_per_dim - in_double.bits_per_dim).abs().max().item()
    return Check(
        "bits/dim", worst < 1e-2, f"float32 differs from float64 by {worst:.1e} bits/dim", RETRAIN
    )


def _relative(first: Tensor, second: Tensor) -> float:
    scale = second.double().abs().mean().clamp_min(1e-12)
    return ((first.double() - second.double()).abs().max() / scale).item()


def check_attack(attack: Attack) -> list[Check]:
    """Check an attack where the answer is known: two Gaussian classes, alone and with a detector between them.

    Alone, their boundary is a hyperplane in 16 dimensions. The detector accepts a disc around each of two classes in a plane
    and nothing between them: what is nearest on the other side is refused, and an attack has to cross.

    Args:
        attack: With any settings that it should manage with.

    Returns:
        One :class:`Check` for success on every image and one for a distance near the exact one, without and with the
        detector, then for repeatability under one seed, and for staying within bounds.

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
    goal = Evade(Misclassify(their_label), _islands(plane))
    aware = attack(plane, points, goal, generator=stream(0, "check attack"))
    same = torch.equal(first.perturbed, again.perturbed)
    inside = all(
        bool(((result.perturbed >= 0) & (result.perturbed <= 1)).all()) for result in (first, aware)
    )
    return [
        *_success("", first, exact),
        *_success(", detector known", aware, _by_search(plane, points, goal)),
        Check(
            "repeatable",
            same,
            "same images" if same else "other images",
            "Draw from the generator alone.",
        ),
        Check("within bounds", inside, "yes" if inside else "no", "Ask about search.clip(images)."),
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
    """A classifier, images near the classes' means, and labels."""
    mean = (
        torch.tensor([0.5 - apart / 2, 0.5 + apart / 2])
        .view(2, 1, 1, 1)
        .expand(2, 1, 1, dims)
        .clone()
    )
    label = torch.arange(6) % 2
    x = mean[label] + 0.03 * torch.randn(6, 1, 1, dims, generator=stream(0, "two gaussians"))
    return GenerativeClassifier(DiagonalGaussian(mean, scale)), x, label


def _islands(plane: GenerativeClassifier) -> LikelihoodThreshold:
    """Accepts a disc around each mean and refuses what lies between them."""
    shore = torch.full((1, 1, 1, 2), 0.5 + GAP)
    return LikelihoodThreshold(plane(shore).bits_per_dim.item())


def _by_search(plane: GenerativeClassifier, points: Tensor, goal: Goal) -> Tensor:
    """Distance of each point from the nearest of a fine grid that reaches its goal."""
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
