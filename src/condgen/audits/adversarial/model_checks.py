"""Checks of the model and the clean images, before the attacks run."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from condgen import processes
from condgen.attacks import Attack
from condgen.attacks.search import dot, normed
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shifted import Shifted
from condgen.audits.checks import FEW as FEW_IMAGES
from condgen.audits.checks import LUCK, WEAK, Check
from condgen.classifier import GenerativeClassifier, predict
from condgen.randomness import stream

STEP = 0.02  # L2 length of the step for finite differences
SHIFT = 1000.0  # nats added to the log-likelihood of every class
AGAIN = 4  # images attacked again with shifted log-likelihoods


def before_attacks(scene: Scene, attacks: Mapping[str, Attack]) -> list[Check]:
    """Check the model and the images before the attacks run."""
    return [
        _clean_images(scene),
        _deterministic(scene),
        _nonzero_gradients(scene),
        _finite_differences(scene),
        _shift_invariance(scene, attacks),
    ]


def _clean_images(scene: Scene) -> Check:
    found = (
        f"{scene.correct} of {scene.drawn} correct, {scene.accepted} accepted, {len(scene.x)} both"
    )
    advice = (
        "Train longer or raise the detector's threshold: robustness means nothing on images that"
        " are misclassified or rejected."
    )
    return Check(
        "at least half of the clean images are classified correctly and accepted",
        len(scene.x) >= scene.drawn / 2,
        found,
        advice,
        FEW_IMAGES,
    )


def _deterministic(scene: Scene) -> Check:
    first, again = (predict(scene.classifier, scene.x).class_log_prob for _ in range(2))
    same = torch.isclose(first, again, rtol=0, atol=0, equal_nan=True).all(1)
    advice = (
        "Fix the noise in eval(), or attack the expectation over the noise: a success that depends"
        " on the noise may be chance."
    )
    found = f"{int((~same).sum())} of {len(same)} images get a different prediction the second time"
    return Check("predictions are deterministic", bool(same.all()), found, advice, LUCK)


def _nonzero_gradients(scene: Scene) -> Check:
    name = "no gradient is zero or NaN"
    advice = "Trust only the gradient-free attacks, or attack a smooth surrogate model."
    if scene.gradients is None:
        return Check(name, False, "the model gives no gradient at all", advice, WEAK)
    zero = [int((gradient.flatten(1).norm(dim=1) == 0).sum()) for gradient in scene.gradients]
    broken = int(scene.broken.sum())
    found = (
        f"of {len(scene.x)} images, {zero[0]} have a zero gradient of the class margin, {zero[1]}"
        f" of the detector's margin; {broken} have a gradient that is not finite"
    )
    return Check(name, not any((*zero, broken)), found, advice, WEAK)


def _finite_differences(scene: Scene) -> Check:
    """Compare each margin's change over a small step along its gradient with the predicted one."""
    name = "gradients agree with finite differences"
    if scene.gradients is None:
        return Check(name, None, "the model gives no gradient", "")
    ratios = [_change(scene, gradient, margin) for margin, gradient in enumerate(scene.gradients)]
    good = [float(((ratio > 0.5) & (ratio < 2)).double().mean()) for ratio in ratios]
    advice = (
        "The gradient is masked or the model is discontinuous. Trust only the gradient-free"
        " attacks."
    )
    found = (
        f"within a factor of 2 on {good[0]:.0%} of images for the class margin, on {good[1]:.0%}"
        " for the detector's margin"
    )
    return Check(name, min(good) >= 0.9, found, advice, WEAK)


def _change(scene: Scene, gradient: Tensor, margin: int) -> Tensor:
    """Measured change of a margin divided by the predicted one."""
    bounds, goal = scene.classifier.bounds, scene.goal(detector_aware=True)
    ahead, behind = ((scene.x + sign * STEP * normed(gradient)).clamp(*bounds) for sign in (1, -1))
    there, back = (
        goal.margins(predict(scene.classifier, images))[:, margin] for images in (ahead, behind)
    )
    predicted = dot(gradient, ahead - behind).flatten()
    return (there - back) / predicted.clamp_min(torch.finfo(predicted.dtype).tiny)


def _shift_invariance(scene: Scene, attacks: Mapping[str, Attack]) -> Check:
    """Run the first attack on a few images, with original and with shifted log-likelihoods."""
    name = "a constant added to all class log-likelihoods changes nothing"
    attack = next(
        (attack for attack in attacks.values() if scene.gradients or not attack.needs_gradient),
        None,
    )
    if attack is None:
        return Check(name, None, "no attack can be run", "")
    shifted = GenerativeClassifier(
        Shifted(scene.classifier.density, SHIFT), scene.classifier.log_prior.exp()
    )
    few = torch.arange(min(AGAIN, len(scene.x)))
    x, goal = scene.x[few], scene.goal(detector_aware=False)[few]

    def distances(model: GenerativeClassifier) -> Tensor:
        return attack(model, x, goal, generator=stream(scene.seed, "shift")).l2

    found = processes.share_work(distances, (scene.classifier, shifted))
    plain, moved = (float(np.quantile(l2.numpy(), 0.5, method="higher")) for l2 in found)
    if np.isinf(plain) and np.isinf(moved):
        found_none = f"the first attack fails on at least half of {len(few)} images"
        return Check(name, None, found_none, "")
    same = plain == moved or abs(moved - plain) < 0.1 * plain
    advice = (
        "The attack depends on absolute log-likelihoods; use differences of class log-likelihoods."
    )
    return Check(
        name, same, f"median L2 {plain:.3f}, with {SHIFT:g} nats added {moved:.3f}", advice, WEAK
    )
