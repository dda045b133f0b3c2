"""Checks of the attacks by their results: whether the numbers are reliable.

References:
    Carlini et al., On evaluating adversarial robustness, 2019; Tramer et al., On adaptive attacks,
    2020; Pintor et al., Indicators of attack failure, 2022.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from condgen.attacks import Attack
from condgen.attacks.result import VANISHED
from condgen.attacks.search import normed, spread
from condgen.audits.adversarial.comparisons import (
    AIMS,
    detector_aware,
    each_succeeds,
    gradient_free,
    nearest_success,
    without_limit,
)
from condgen.audits.adversarial.convergence import twice_the_steps
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import Arrays
from condgen.audits.checks import LUCK, STORAGE, Check
from condgen.classifier import predict
from condgen.randomness import stream

FARTHER = 1.1  # a quantized success may be farther by this factor
BY_CHANCE = 0.25  # maximum share of images that noise may cause to be misclassified


def after_attacks(
    scene: Scene, attacks: Mapping[str, Attack], arrays: Arrays, examined: int, epsilon: float
) -> list[Check]:
    """Check the attacks by their results."""
    few = torch.arange(min(examined, len(scene.x)))
    return [
        _reproducible(arrays),
        without_limit(attacks, arrays),
        each_succeeds(attacks, arrays),
        detector_aware(arrays),
        *(gradient_free(attacks, arrays, aware) for aware in AIMS),
        _random_noise(scene, arrays),
        *twice_the_steps(scene, attacks, arrays, few, epsilon),
        _quantized(scene, arrays),
    ]


def _reproducible(arrays: Arrays) -> Check:
    name = "successes are reproducible"
    vanished = int((arrays["status"] == VANISHED).sum())
    if not vanished and not arrays["reached"].any():
        return Check(name, None, "no attack succeeded", "")
    advice = "The model's predictions are not deterministic; see above."
    return Check(name, vanished == 0, f"{vanished} were not reproduced", advice, LUCK)


def _random_noise(scene: Scene, arrays: Arrays) -> Check:
    """Add noise with the norm of each image's nearest success on the classifier alone."""
    order = np.argsort(scene.index)
    nearest = torch.from_numpy(
        nearest_success(arrays, dict.fromkeys(arrays["attack"].tolist()), False, "any")
    )
    rows = torch.from_numpy(order)[torch.isfinite(nearest)]
    name = "random noise of the same norm is weaker"
    advice = "The attacks do no better than random noise: their successes may be chance."
    if not len(rows):
        return Check(name, None, "no attack succeeded", "")
    x, length = scene.x[rows], nearest[torch.isfinite(nearest)].to(scene.x)
    noise = normed(
        torch.randn(
            x.shape, generator=stream(scene.seed, "noise of the same length"), dtype=x.dtype
        )
    )
    moved = _of_length(x, noise, length, scene.classifier.bounds)
    share = (predict(scene.classifier, moved).label != scene.label[rows]).double().mean().item()
    return Check(
        name,
        share <= BY_CHANCE,
        f"{share:.0%} of {len(rows)} successfully attacked images are misclassified under noise",
        advice,
        LUCK,
    )


def _of_length(x: Tensor, noise: Tensor, length: Tensor, bounds: tuple[float, float]) -> Tensor:
    """``x`` plus noise scaled by bisection so that its L2 norm after clipping is ``length``."""
    low, high = torch.zeros_like(length), 100 * length
    for _ in range(30):
        middle = (low + high) / 2
        moved = (x + spread(middle, x) * noise).clamp(*bounds)
        short = (moved - x).flatten(1).norm(dim=1) < length
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (x + spread(high, x) * noise).clamp(*bounds)


def _quantized(scene: Scene, arrays: Arrays) -> Check:
    name = "successes survive quantization"
    advice = "The perturbations are smaller than a quantization step; count quantized successes."
    reached = arrays["reached"]
    if scene.classifier.density.pixel_levels is None or not reached.any():
        return Check(name, None, "continuous data" if reached.any() else "no attack succeeded", "")
    near = arrays["reached_quantized"] & (arrays["l2_quantized"] <= FARTHER * arrays["l2"])
    share = float(near[reached].mean())
    found = f"{share:.1%} of {int(reached.sum())} successes, at most {FARTHER - 1:.0%} farther away"
    return Check(name, share >= 0.95, found, advice, STORAGE)
