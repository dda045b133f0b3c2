"""An evaluation examines itself: each line says whether its numbers deserve belief, and what to do if not.

References:
    Carlini et al., On evaluating adversarial robustness, 2019; Tramer et al., On adaptive attacks, 2020; Pintor et al.,
    Indicators of attack failure, 2022.
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
from condgen.audits.adversarial.summary import by_attack, distances, rows_of
from condgen.audits.checks import FEW as FEW_IMAGES
from condgen.audits.checks import LUCK, STORAGE, WEAK, Check
from condgen.classifier import GenerativeClassifier, predict
from condgen.randomness import stream

STEP = 0.02  # L2 length of the step that a gradient must foretell
NEARER = 0.98  # a distance below this share of another is nearer
FARTHER = 1.1  # times the distance: as far as a stored image may lie and count as the same success
FOUND = 0.95  # share of the images that any attack finds that a gradient-based attack must find
BY_CHANCE = 0.25  # share of images that noise may turn
SHIFT = 1000.0  # nats added to every column
AGAIN = 4  # images attacked once more on shifted columns
AIMS = {False: "classifier", True: "classifier and detector"}


def before_attacks(scene: Scene, attacks: Mapping[str, Attack]) -> list[Check]:
    """What can be said of the model before anything is spent."""
    return [
        _clean(scene),
        _deterministic(scene),
        _nonzero_gradients(scene),
        _true_gradients(scene),
        _shift(scene, attacks),
    ]


def after_attacks(
    scene: Scene, attacks: Mapping[str, Attack], arrays: Arrays, examined: int, epsilon: float
) -> list[Check]:
    """What the results say of the attacks."""
    few = torch.arange(min(examined, len(scene.x)))
    return [
        _vanished(arrays),
        _everything_falls(attacks, arrays),
        _all_find(attacks, arrays),
        _knowledge_helps(arrays),
        *(_gradient_free(attacks, arrays, knows) for knows in AIMS),
        _noise(scene, arrays),
        *_twice_the_steps(scene, attacks, arrays, few, epsilon),
        _stored(scene, arrays),
    ]


def _clean(scene: Scene) -> Check:
    found = (
        f"{scene.correct} of {scene.drawn} correct, {scene.accepted} accepted, {len(scene.x)} both"
    )
    advice = "Train longer or raise the detector's threshold: robustness of images that are wrong or refused means nothing."
    return Check(
        "clean images are correct and accepted",
        len(scene.x) >= scene.drawn / 2,
        found,
        advice,
        FEW_IMAGES,
    )


def _deterministic(scene: Scene) -> Check:
    first, again = (predict(scene.classifier, scene.x).class_log_prob for _ in range(2))
    same = torch.isclose(first, again, rtol=0, atol=0, equal_nan=True).all(1)
    advice = (
        "Fix the noise in eval(), or attack the expectation over it: success by luck is no success."
    )
    found = f"{int((~same).sum())} of {len(same)} images get another answer the second time"
    return Check("the same image gets the same answer", bool(same.all()), found, advice, LUCK)


def _nonzero_gradients(scene: Scene) -> Check:
    name, advice = (
        "no gradient is zero or NaN",
        "Trust only the attacks without gradients, or attack a smooth stand-in.",
    )
    if scene.gradients is None:
        return Check(name, False, "the model gives no gradient at all", advice, WEAK)
    silent = [int((gradient.flatten(1).norm(dim=1) == 0).sum()) for gradient in scene.gradients]
    broken = int(scene.broken.sum())
    found = f"of {len(scene.x)} images {silent[0]} have none of the class margin, {silent[1]} none of the detector's"
    return Check(
        name,
        not any((*silent, broken)),
        f"{found}; {broken} have one that is not finite",
        advice,
        WEAK,
    )


def _true_gradients(scene: Scene) -> Check:
    """Each margin's change over a small step along its gradient, against what the gradient foretells."""
    name = "gradients foretell what happens"
    if scene.gradients is None:
        return Check(name, None, "the model gives no gradient", "")
    ratios = [_change(scene, gradient, margin) for margin, gradient in enumerate(scene.gradients)]
    good = [float(((ratio > 0.5) & (ratio < 2)).double().mean()) for ratio in ratios]
    advice = "The gradient is masked or the model jumps; trust only the attacks without gradients."
    found = f"within a factor of 2 on {good[0]:.0%} of images for the class margin, {good[1]:.0%} for the detector's"
    return Check(name, min(good) >= 0.9, found, advice, WEAK)


def _change(scene: Scene, gradient: Tensor, margin: int) -> Tensor:
    bounds, goal = scene.classifier.bounds, scene.goal(detector_aware=True)
    ahead, behind = ((scene.x + sign * STEP * normed(gradient)).clamp(*bounds) for sign in (1, -1))
    there, back = (
        goal.margins(predict(scene.classifier, images))[:, margin] for images in (ahead, behind)
    )
    foretold = dot(gradient, ahead - behind).flatten()
    return (there - back) / foretold.clamp_min(torch.finfo(foretold.dtype).tiny)


def _shift(scene: Scene, attacks: Mapping[str, Attack]) -> Check:
    """The first attack on a few images, on columns as they are and on shifted ones."""
    name = "a constant on all columns changes nothing"
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
        return Check(name, None, f"the first attack turns fewer than half of {len(few)} images", "")
    same = plain == moved or abs(moved - plain) < 0.1 * plain
    advice = "The attack compares columns with something else than each other; use differences of log-likelihoods."
    return Check(
        name, same, f"median L2 {plain:.3f}, shifted by {SHIFT:g} nats {moved:.3f}", advice, WEAK
    )


def _vanished(arrays: Arrays) -> Check:
    name, vanished = (
        "successes are still there when asked again",
        int((arrays["status"] == VANISHED).sum()),
    )
    if not vanished and not arrays["reached"].any():
        return Check(name, None, "no attack succeeded", "")
    advice = "The model's answers are not repeatable; see above."
    return Check(name, vanished == 0, f"{vanished} are gone", advice, LUCK)


def _everything_falls(attacks: Mapping[str, Attack], arrays: Arrays) -> Check:
    """By each attack that uses gradients: those that do not begin at a success."""
    name, advice = (
        "without a limit every gradient-based attack turns every image",
        "What fails is too weak. Spend more.",
    )
    fallen = {one: distances(rows_of(arrays, one, False))["any"] for one in _with_gradient(attacks)}
    if not fallen:
        return Check(name, None, "no gradient-based attack was run", "")
    found = ", ".join(f"{one} {int(np.isfinite(d).sum())} of {len(d)}" for one, d in fallen.items())
    return Check(name, all(np.isfinite(d).all() for d in fallen.values()), found, advice, WEAK)


def _all_find(attacks: Mapping[str, Attack], arrays: Arrays) -> Check:
    """Knowing the detector, what one attack finds the others should."""
    name = "knowing the detector, every gradient-based attack finds what any attack finds"
    cells = by_attack(arrays, True)
    there = np.isfinite(next(reversed(cells.values()))["undetected"])
    shares = {one: np.isfinite(cells[one]["undetected"])[there] for one in _with_gradient(attacks)}
    if not shares or not there.any():
        return Check(name, None, "nothing to compare", "")
    found = ", ".join(f"{one} {int(hit.sum())} of {len(hit)}" for one, hit in shares.items())
    advice = (
        "Do not read a failing attack as a resisting model: trust the worst case, and spend more."
    )
    return Check(name, all(hit.mean() >= FOUND for hit in shares.values()), found, advice, WEAK)


def _knowledge_helps(arrays: Arrays) -> Check:
    """What went undetected by luck must also be found on purpose."""
    names = dict.fromkeys(arrays["attack"].tolist())
    ignorant, aware = (_nearest(arrays, names, knows, "undetected") for knows in (False, True))
    name = "knowing the detector is no handicap"
    if not np.isfinite(ignorant).any():
        return Check(name, None, "no attack on the classifier alone goes undetected", "")
    worse = int((ignorant < NEARER * aware).sum())
    advice = "The attacks that know the detector fail; trust the worst case, and spend more."
    return Check(name, worse == 0, f"worse on {worse} of {len(aware)} images", advice, WEAK)


def _gradient_free(attacks: Mapping[str, Attack], arrays: Arrays, knows: bool) -> Check:
    """Per image: where an attack without gradients comes nearer, those with gradients have failed."""
    name = f"gradient-free attacks on {AIMS[knows]} do not beat gradient-based ones"
    using = _with_gradient(attacks)
    without = [one for one in attacks if one not in using]
    if not using or not without:
        return Check(name, None, "only one kind of attack was run", "")
    based, free = (
        _nearest(arrays, names, knows, "undetected" if knows else "any")
        for names in (using, without)
    )
    if not np.isfinite(free).any():
        return Check(name, None, "no gradient-free attack succeeded", "")
    beaten = int((free < NEARER * based).sum())
    advice = "The gradients mislead (masked, or stuck before a barrier): trust the worst case only, and spend more."
    return Check(name, beaten == 0, f"beaten on {beaten} of {len(based)} images", advice, WEAK)


def _noise(scene: Scene, arrays: Arrays) -> Check:
    """Random directions, of each image's nearest success on the classifier alone, within bounds."""
    order = np.argsort(scene.index)
    nearest = torch.from_numpy(
        _nearest(arrays, dict.fromkeys(arrays["attack"].tolist()), False, "any")
    )
    rows = torch.from_numpy(order)[torch.isfinite(nearest)]
    name, advice = (
        "random noise of the same length is weaker",
        "The attacks find nothing that chance would not.",
    )
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
        f"noise turns {share:.0%} of {len(rows)} images that attacks turn",
        advice,
        LUCK,
    )


def _of_length(x: Tensor, noise: Tensor, length: Tensor, bounds: tuple[float, float]) -> Tensor:
    """``x`` plus noise that is as long as asked after clipping, by bisection on its scale."""
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
    """The gradient-based attacks once more on a few images, with twice the steps."""
    names = (
        "twice the steps change less than 2 points",
        "twice the steps bring it less than 2 % nearer",
    )
    doubled = [attack.doubled() for attack in attacks.values() if attack.needs_gradient]
    harder = [attack for attack in doubled if attack is not None]
    if not harder:
        return [Check(name, None, "no gradient-based attack was run", "") for name in names]
    turned, gains = [], []
    for knows in AIMS:
        before = _nearest(arrays, _with_gradient(attacks), knows, "any")[
            np.argsort(np.argsort(scene.index))
        ][few.numpy()]
        generator = stream(scene.seed, "twice the steps", int(knows))
        results = [
            attack(scene.classifier, scene.x[few], scene.goal(knows)[few], generator=generator)
            for attack in harder
        ]
        after = np.minimum(before, np.min([result.l2.numpy() for result in results], axis=0))
        turned.append((after <= epsilon) & ~(before <= epsilon))
        gains.append(_gain(before, after))
    advice = "The attacks' last word is not spoken; audit again with a larger budget."
    most = intervals.share(turned[1])[1][1]
    found = f"{turned[0].sum()} and {turned[1].sum()} more of {len(few)} images, without and with the detector (at most {most:.0%})"
    measured = [gain for gain in gains if gain is not None]
    nearer = " and ".join(
        "not measured" if gain is None else f"median {gain:.1f} % nearer" for gain in gains
    )
    moved = max(measured) < 2 if measured else None
    return [
        Check(names[0], bool(max(hits.mean() for hits in turned) < 0.02), found, advice, WEAK),
        Check(names[1], moved, f"{nearer}, without and with the detector", advice, WEAK),
    ]


def _gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> float | None:
    """By how many percent the median distance fell; ``None`` where fewer than half of the images fall either way."""
    middle, now = (float(np.quantile(found, 0.5, method="higher")) for found in (before, after))
    if np.isinf(now):
        return None
    return 0.0 if middle == now else 100.0 if np.isinf(middle) else 100 * (1 - now / middle)


def _stored(scene: Scene, arrays: Arrays) -> Check:
    name, advice = (
        "successes survive being stored",
        "The perturbations are finer than the data's levels; count stored ones.",
    )
    reached = arrays["reached"]
    if scene.classifier.density.pixel_levels is None or not reached.any():
        return Check(name, None, "continuous data" if reached.any() else "no attack succeeded", "")
    near = arrays["reached_quantized"] & (arrays["l2_quantized"] <= FARTHER * arrays["l2"])
    share = float(near[reached].mean())
    found = f"{share:.1%} of {int(reached.sum())} successes, at most {FARTHER - 1:.0%} further away"
    return Check(name, share >= 0.95, found, advice, STORAGE)


def _with_gradient(attacks: Mapping[str, Attack]) -> list[str]:
    return [name for name, attack in attacks.items() if attack.needs_gradient]


def _nearest(arrays: Arrays, names: Iterable[str], knows: bool, kind: str) -> NDArray[np.float64]:
    """For each image, in the order of their indices, its nearest success over attacks; infinite where there is none."""
    nearest: NDArray[np.float64] = np.min(
        [distances(rows_of(arrays, name, knows))[kind] for name in names], axis=0
    )
    return nearest
