"""Checks of an adversarial evaluation: whether its numbers are reliable, and what to do if not.

References:
    Carlini et al., On evaluating adversarial robustness, 2019; Tramer et al., On adaptive attacks,
    2020; Pintor et al., Indicators of attack failure, 2022.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.attacks import Attack
from condgen.attacks.attack import VANISHED
from condgen.attacks.search import dot, normed, spread
from condgen.audits import intervals
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import Arrays
from condgen.audits.adversarial.shifted import Shifted
from condgen.audits.adversarial.summary import WORST, by_attack, distances, rows_of
from condgen.audits.checks import FEW as FEW_IMAGES
from condgen.audits.checks import LUCK, STORAGE, WEAK, Check
from condgen.classifier import GenerativeClassifier, predict
from condgen.randomness import stream

STEP = 0.02  # L2 length of the step for finite differences
NEARER = 0.98  # a distance counts as smaller if it is below this multiple of the other
FARTHER = 1.1  # a quantized success may be farther by this factor
FOUND = 0.95  # share of the attackable images on which a gradient-based attack must succeed
BY_CHANCE = 0.25  # maximum share of images that noise may cause to be misclassified
SHIFT = 1000.0  # nats added to the log-likelihood of every class
AGAIN = 4  # images attacked again with shifted log-likelihoods
AIMS = {False: "classifier", True: "classifier and detector"}


def before_attacks(scene: Scene, attacks: Mapping[str, Attack]) -> list[Check]:
    """Check the model and the images before the attacks run."""
    return [
        _clean_images(scene),
        _deterministic(scene),
        _nonzero_gradients(scene),
        _finite_differences(scene),
        _shift_invariance(scene, attacks),
    ]


def after_attacks(
    scene: Scene, attacks: Mapping[str, Attack], arrays: Arrays, examined: int, epsilon: float
) -> list[Check]:
    """Check the attacks by their results."""
    few = torch.arange(min(examined, len(scene.x)))
    return [
        _reproducible(arrays),
        _without_limit(attacks, arrays),
        _each_succeeds(attacks, arrays),
        _detector_aware(arrays),
        *(_gradient_free(attacks, arrays, aware) for aware in AIMS),
        _random_noise(scene, arrays),
        *_twice_the_steps(scene, attacks, arrays, few, epsilon),
        _quantized(scene, arrays),
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
    found = [
        attack(model, x, goal, generator=stream(scene.seed, "shift")).l2
        for model in (scene.classifier, shifted)
    ]
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


def _reproducible(arrays: Arrays) -> Check:
    name = "successes are reproducible"
    vanished = int((arrays["status"] == VANISHED).sum())
    if not vanished and not arrays["reached"].any():
        return Check(name, None, "no attack succeeded", "")
    advice = "The model's predictions are not deterministic; see above."
    return Check(name, vanished == 0, f"{vanished} were not reproduced", advice, LUCK)


def _without_limit(attacks: Mapping[str, Attack], arrays: Arrays) -> Check:
    """Only for gradient-based attacks: others may start from a success."""
    name = "without a limit on distance, every gradient-based attack succeeds on every image"
    advice = "An attack that fails is too weak. Rerun with a larger budget."
    reached = {
        one: np.isfinite(distances(rows_of(arrays, one, False))["any"])
        for one in _with_gradient(attacks)
    }
    if not reached:
        return Check(name, None, "no gradient-based attack was run", "")
    found = ", ".join(f"{one} {int(hit.sum())} of {len(hit)}" for one, hit in reached.items())
    return Check(name, all(hit.all() for hit in reached.values()), found, advice, WEAK)


def _each_succeeds(attacks: Mapping[str, Attack], arrays: Arrays) -> Check:
    """Compare each detector-aware gradient-based attack with the worst case."""
    name = "every detector-aware gradient-based attack succeeds where any attack does"
    cells = by_attack(arrays, True)
    attackable = np.isfinite(cells[WORST]["undetected"])
    shares = {
        one: np.isfinite(cells[one]["undetected"])[attackable] for one in _with_gradient(attacks)
    }
    if not shares or not attackable.any():
        return Check(name, None, "nothing to compare", "")
    found = ", ".join(f"{one} {int(hit.sum())} of {len(hit)}" for one, hit in shares.items())
    advice = (
        "A failed attack does not show that the model is robust. Trust the worst case, and rerun"
        " with a larger budget."
    )
    return Check(name, all(hit.mean() >= FOUND for hit in shares.values()), found, advice, WEAK)


def _detector_aware(arrays: Arrays) -> Check:
    """Undetected successes of detector-unaware attacks are within reach of detector-aware ones."""
    names = dict.fromkeys(arrays["attack"].tolist())
    unaware, aware = (_nearest(arrays, names, knows, "undetected") for knows in (False, True))
    name = "detector-aware attacks are at least as strong as detector-unaware ones"
    if not np.isfinite(unaware).any():
        return Check(name, None, "no attack on the classifier alone is undetected", "")
    weaker = int((unaware < NEARER * aware).sum())
    advice = (
        "The detector-aware attacks fail. Trust the worst case, and rerun with a larger budget."
    )
    return Check(name, weaker == 0, f"weaker on {weaker} of {len(aware)} images", advice, WEAK)


def _gradient_free(attacks: Mapping[str, Attack], arrays: Arrays, aware: bool) -> Check:
    """Gradient-based attacks have failed on an image if a gradient-free attack is nearer."""
    name = f"gradient-free attacks on {AIMS[aware]} do not beat gradient-based ones"
    using = _with_gradient(attacks)
    without = [one for one in attacks if one not in using]
    if not using or not without:
        return Check(name, None, "only one kind of attack was run", "")
    based, free = (
        _nearest(arrays, names, aware, "undetected" if aware else "any")
        for names in (using, without)
    )
    if not np.isfinite(free).any():
        return Check(name, None, "no gradient-free attack succeeded", "")
    beaten = int((free < NEARER * based).sum())
    advice = (
        "The gradients are masked, or the attacks are stuck before a barrier. Trust only the worst"
        " case, and rerun with a larger budget."
    )
    return Check(name, beaten == 0, f"beaten on {beaten} of {len(based)} images", advice, WEAK)


def _random_noise(scene: Scene, arrays: Arrays) -> Check:
    """Add noise with the norm of each image's nearest success on the classifier alone."""
    order = np.argsort(scene.index)
    nearest = torch.from_numpy(
        _nearest(arrays, dict.fromkeys(arrays["attack"].tolist()), False, "any")
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


def _twice_the_steps(
    scene: Scene, attacks: Mapping[str, Attack], arrays: Arrays, few: Tensor, epsilon: float
) -> list[Check]:
    """Rerun the gradient-based attacks on a few images, with twice the steps."""
    names = (
        "twice the steps change the success rate by less than 2 points",
        "twice the steps reduce the median distance by less than 2 %",
    )
    doubled = [attack.doubled() for attack in attacks.values() if attack.needs_gradient]
    harder = [attack for attack in doubled if attack is not None]
    if not harder:
        return [Check(name, None, "no gradient-based attack was run", "") for name in names]
    successes, gains = [], []
    for aware in AIMS:
        before = _nearest(arrays, _with_gradient(attacks), aware, "any")[
            np.argsort(np.argsort(scene.index))
        ][few.numpy()]
        generator = stream(scene.seed, "twice the steps", int(aware))
        results = [
            attack(scene.classifier, scene.x[few], scene.goal(aware)[few], generator=generator)
            for attack in harder
        ]
        after = np.minimum(before, np.min([result.l2.numpy() for result in results], axis=0))
        successes.append((after <= epsilon) & ~(before <= epsilon))
        gains.append(_gain(before, after))
    advice = "Attacks have not converged. Rerun with a larger budget."
    upper = intervals.share(successes[1])[1][1]
    found = (
        f"{successes[0].sum()} and {successes[1].sum()} more successes on {len(few)} images,"
        f" without and with the detector (upper limit with the detector: {upper:.0%})"
    )
    measured = [gain for gain in gains if gain is not None]
    reduced = " and ".join(
        "not measured" if gain is None else f"median distance {gain:.1f} % smaller"
        for gain in gains
    )
    converged = max(measured) < 2 if measured else None
    return [
        Check(names[0], bool(max(hits.mean() for hits in successes) < 0.02), found, advice, WEAK),
        Check(names[1], converged, f"{reduced}, without and with the detector", advice, WEAK),
    ]


def _gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> float | None:
    """Reduction of the median distance in percent.

    ``None`` if the attacks fail on at least half of the images, even with twice the steps.
    """
    middle, now = (float(np.quantile(found, 0.5, method="higher")) for found in (before, after))
    if np.isinf(now):
        return None
    return 0.0 if middle == now else 100.0 if np.isinf(middle) else 100 * (1 - now / middle)


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


def _with_gradient(attacks: Mapping[str, Attack]) -> list[str]:
    return [name for name, attack in attacks.items() if attack.needs_gradient]


def _nearest(arrays: Arrays, names: Iterable[str], aware: bool, kind: str) -> NDArray[np.float64]:
    """Distance of each image's nearest success over the attacks, in the order of the indices.

    Infinite if no attack succeeded.
    """
    nearest: NDArray[np.float64] = np.min(
        [distances(rows_of(arrays, name, aware))[kind] for name in names], axis=0
    )
    return nearest
