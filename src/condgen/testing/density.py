"""Conformance checks for a density."""

import copy
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from condgen.audits.checks import Check
from condgen.classifier import COARSE, GenerativeClassifier, evaluating, rounding_of
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.validation import check_images, wrong_units

RELATIVE = 1e-4  # tolerance of float32 sums over an image, against float64
GRADIENT_STEP = 1e-7  # in float64; a longer step crosses kinks of ReLUs: a correct model fails
CONDITIONALS = 12  # places where causality is checked, besides the last one
RETRAIN = "Retrain with a lower learning rate."


@runtime_checkable
class Flow(Protocol):
    """A density with an invertible map from images to latent vectors."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``z`` and the log-determinant, shape ``(N,)``."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Return the images of ``z``."""
        ...


@runtime_checkable
class Autoregressive(Protocol):
    """A density whose pixels are generated row by row, column by column, channel by channel."""

    def conditionals(self, x: Tensor) -> Tensor:
        """Parameters of each pixel's conditional distribution, shape ``(N, P, C, H, W)``."""
        ...


def check_density(density: ClassConditionalDensity, x: Tensor) -> list[Check]:
    """Check a density on a few images for everything that the library relies on.

    Args:
        density: The model, checked in evaluation mode.
        x: At least two images in the classifier's range, shape ``(N, *event_shape)``.

    Returns:
        One :class:`Check` for shape, finite values, units, precision, independence of batch and
        random state, unchanged input, and gradient. Flows (densities with ``encode``, ``decode``
        and a log-determinant) are also checked for the round trip and for float32 against float64,
        and autoregressive models (densities with ``conditionals``) for causality.
        If the shape is wrong, only the check for shape.

    Raises:
        CondgenError: If fewer than two images are given, or they do not fit the model.

    Examples:
        >>> from condgen import DiagonalGaussian
        >>> density = DiagonalGaussian(torch.rand(3, 1, 2, 2))
        >>> all(check.passed for check in check_density(density, torch.rand(4, 1, 2, 2)))
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
            if isinstance(density, Autoregressive):
                checks.append(_causality(density, own))
        if isinstance(density, Flow) and _has_log_det(density, own):
            exact = copy.deepcopy(density).double()
            with torch.no_grad():
                checks += [
                    _round_trip(density, own),
                    _log_det(density, exact, own),
                    _bits_per_dim(density, exact, x),
                ]
    return checks


def _evaluate(density: ClassConditionalDensity, x: Tensor) -> Tensor:
    """Evaluate a copy of the images, because the model may modify its input."""
    return density.class_log_prob(x.clone())


def _shape(density: ClassConditionalDensity, x: Tensor) -> Check:
    answer, expected = _evaluate(density, x), (len(x), density.num_classes)
    found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    return Check(
        "shape",
        found == expected,
        f"{found}",
        f"class_log_prob must return (N, num_classes), here {expected}.",
    )


def _finite(density: ClassConditionalDensity, x: Tensor) -> Check:
    finite = torch.isfinite(_evaluate(density, x)).all(1)
    return Check(
        "finite",
        bool(finite.all()),
        f"{int(finite.sum())} of {len(x)} images",
        "Guard logarithms and scales.",
    )


def _units(density: ClassConditionalDensity, x: Tensor) -> Check:
    """Negative bits/dim are impossible for stored values; the usual cause is another unit."""
    if density.pixel_levels is None:
        return Check("units", None, "continuous data", "")
    bits = (-_evaluate(density, x).amax(1).double().mean() / (density.dims * math.log(2))).item()
    advice = (
        "class_log_prob must refer to the pixel values as stored: subtract"
        " dims * log(pixel_levels - 1) from the log-density in [0, 1]."
    )
    fault = wrong_units(bits, density)
    return Check(
        "units", not fault, fault or f"{bits:.2f} bits/dim under the likeliest class", advice
    )


def _precision(density: ClassConditionalDensity, x: Tensor) -> Check:
    answer = _evaluate(density, x)
    rounding = rounding_of(answer)
    advice = "Sum log-likelihoods in float32, whatever precision layers use, or use model.float()."
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
    advice = "Write `x = x - 0.5`, not `x -= 0.5`: the caller uses the images again."
    return Check("leaves its input unchanged", same, "yes" if same else "no", advice)


def _batch(density: ClassConditionalDensity, x: Tensor) -> Check:
    together = _evaluate(density, x)
    alone = torch.cat([_evaluate(density, image[None]) for image in x])
    worst = _relative(together, alone)
    advice = (
        "In eval() an image's result must not depend on its batch:"
        " no batch statistics, no noise per batch."
    )
    return Check(
        "independent of the batch", worst < RELATIVE, f"relative difference {worst:.1e}", advice
    )


def _random_state(density: ClassConditionalDensity, x: Tensor) -> Check:
    first = _evaluate(density, x)
    torch.rand(1)
    worst = _relative(first, _evaluate(density, x))
    advice = (
        "In eval() the result must not depend on the random state:"
        " draw noise in fresh_noise() and in training only."
    )
    return Check(
        "independent of the random state", worst == 0, f"relative difference {worst:.1e}", advice
    )


def _gradient(density: ClassConditionalDensity, x: Tensor) -> Check:
    """Compare it along a random direction with a finite difference in float64."""
    name, advice = (
        "gradient",
        "Attacks that need gradients will not work; make class_log_prob differentiable in x.",
    )
    low, high = density.bounds
    inner = x.double().clamp(low + GRADIENT_STEP, high - GRADIENT_STEP).requires_grad_()
    try:
        exact = copy.deepcopy(density).double()
        value = _evaluate(exact, inner).sum(1)
    except (RuntimeError, TypeError) as error:
        return Check(
            name, None, f"not measured: the model cannot compute in float64 ({error})", advice
        )
    if not value.requires_grad:
        return Check(name, False, "none: the result has no gradient in x", advice)
    if value.dtype != torch.float64:
        return Check(
            name, None, f"not measured: the model returns {value.dtype} for float64 images", advice
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
        ahead, behind = (_evaluate(exact, inner + sign * step).sum(1) for sign in (1, -1))
    slope = (ahead - behind) / (2 * GRADIENT_STEP)
    worst = _relative((gradient * direction).flatten(1).sum(1), slope)
    return Check(
        name, worst < 1e-2, f"differs from a finite difference by {worst:.1e}, relative", advice
    )


def _causality(density: Autoregressive, x: Tensor) -> Check:
    """No conditional may have a gradient in its own value or a later one."""
    x = x[:1].clone().requires_grad_()
    found = density.conditionals(x)[0]
    channels, height, width = x.shape[1:]
    order = torch.arange(x.numel(), device=x.device).view(height, width, channels).permute(2, 0, 1)
    generator, seen, leaks = torch.Generator().manual_seed(0), 0, 0
    drawn = torch.randperm(x.numel(), generator=generator)[:CONDITIONALS].tolist()
    for place in {x.numel() - 1, *drawn}:
        channel, row, column = torch.nonzero(order == place)[0].tolist()
        total = found[:, channel, row, column].sum()
        (gradient,) = torch.autograd.grad(total, x, retain_graph=True)
        leaks += bool((gradient[0][order >= place] != 0).any())
        seen += bool((gradient[0][order < place] != 0).any())
    words = f"{leaks} of {CONDITIONALS + 1} conditionals depend on their own or a later pixel"
    if not seen:
        return Check("causality", None, "no conditional has a gradient in any pixel", RETRAIN)
    advice = "Shift or mask the convolutions: the likelihoods do not sum to 1."
    return Check("causality", not leaks, words, advice)


def _has_log_det(density: Flow, x: Tensor) -> bool:
    """Whether ``encode`` returns a log-determinant; an autoencoder's does not."""
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
