"""An evaluation examines itself: each line says whether its numbers deserve belief, and what to do if not.

References:
    Carlini et al., On evaluating adversarial robustness, 2019; Tramer et al., On adaptive attacks, 2020; Pintor et al.,
    Indicators of attack failure, 2022.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.attacks import Attack, Misclassify, Search
from condgen.attacks.attack import VANISHED
from condgen.attacks.search import dot, normed
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import Arrays
from condgen.audits.checks import Check
from condgen.audits.predictions import predict
from condgen.randomness import stream

SHIFT = 1000.0  # nats added to every column
STEP = 0.02  # L2 length of the step that a gradient must foretell
FARTHER = 1.1  # times the distance: as far as a stored image may lie and count as the same success
NEARER = 0.98  # a gradient-free attack that gets below this share of the gradient-based distance beats it


def examine(scene: Scene, attacks: Mapping[str, Attack], arrays: Arrays, examined: int, epsilon: float) -> list[Check]:
    """All checks, on the images and results of one audit."""
    few = torch.arange(min(examined, len(scene.x)))
    return [
        _clean(scene),
        _deterministic(scene, arrays),
        _shift(scene),
        _nonzero_gradient(scene),
        _true_gradient(scene),
        _everything_falls(arrays),
        _noise(scene, arrays),
        *_twice_the_steps(scene, attacks, arrays, few, epsilon),
        _gradient_free(attacks, arrays, knows=False),
        _gradient_free(attacks, arrays, knows=True),
        _stored(arrays),
    ]


def _clean(scene: Scene) -> Check:
    found = f"{scene.correct} of {scene.drawn} correct, {scene.accepted} accepted, {len(scene.x)} both"
    advice = "Train longer or raise the detector's threshold: robustness of images that are wrong or refused means nothing."
    return Check("clean images are correct and accepted", len(scene.x) >= scene.drawn / 2, found, advice)


def _deterministic(scene: Scene, arrays: Arrays) -> Check:
    first, again = (predict(scene.classifier, scene.x).class_log_prob for _ in range(2))
    worst, vanished = (first - again).abs().max().item(), int((arrays["status"] == VANISHED).sum())
    found = f"largest difference {worst:.1e} nats; {vanished} successes gone when asked again"
    advice = "Fix the noise in eval(), or attack the expectation over it: success by luck is no success."
    return Check("the same image gets the same answer", worst == 0 and vanished == 0, found, advice)


def _shift(scene: Scene) -> Check:
    prediction, goal = predict(scene.classifier, scene.x), Misclassify(scene.label)
    shifted = replace(prediction, class_log_prob=prediction.class_log_prob + SHIFT)
    worst = (goal.margins(prediction) - goal.margins(shifted)).abs().max().item()
    advice = "The margins must compare columns with each other only; use log-likelihoods, not probabilities."
    tolerance = 1e-5 * (SHIFT + prediction.class_log_prob.abs().max().item())
    return Check("a constant on all columns changes nothing", worst <= tolerance, f"{worst:.1e} nats", advice)


def _nonzero_gradient(scene: Scene) -> Check:
    name, advice = "no gradient is zero or NaN", "Trust only the attacks without gradients, or attack a smooth stand-in."
    if not scene.has_gradient:
        return Check(name, False, "the model gives no gradient at all", advice)
    silent = int((_gradient(scene).flatten(1).norm(dim=1) == 0).sum())
    return Check(name, silent == 0, f"{silent} of {len(scene.x)} images have none", advice)


def _true_gradient(scene: Scene) -> Check:
    """The margin's change over a small step along the gradient, against what the gradient foretells."""
    name = "gradients foretell what happens"
    if not scene.has_gradient:
        return Check(name, None, "the model gives no gradient", "")
    gradient, bounds = _gradient(scene), scene.classifier.density.bounds
    ahead, behind = ((scene.x + sign * STEP * normed(gradient)).clamp(*bounds) for sign in (1, -1))
    goal = Misclassify(scene.label)
    change = (goal.margins(predict(scene.classifier, ahead)) - goal.margins(predict(scene.classifier, behind)))[:, 0]
    foretold = dot(gradient, ahead - behind).flatten()
    ratio = change / foretold.clamp_min(torch.finfo(foretold.dtype).tiny)
    good = int(((ratio > 0.5) & (ratio < 2)).sum())
    advice = "The gradient is masked or the model jumps; trust only the attacks without gradients."
    found = f"{good} of {len(ratio)} images within a factor of 2, median ratio {ratio.median().item():.2f}"
    return Check(name, good >= 0.9 * len(ratio), found, advice)


def _gradient(scene: Scene) -> Tensor:
    search = Search(scene.classifier.eval(), scene.x, Misclassify(scene.label))
    return search.gradients(scene.x, search.everyone, lambda margins: margins[:, 0])[1]


def _everything_falls(arrays: Arrays) -> Check:
    plain = _of(arrays, knows=False)
    fallen = len(np.unique(plain["index"][plain["fooled"]]))
    total = len(np.unique(arrays["index"]))
    advice = "With no limit on the distance every image can be turned; an attack that fails is too weak. Spend more."
    return Check("without a limit every image is misclassified", fallen == total, f"{fallen} of {total} images", advice)


def _noise(scene: Scene, arrays: Arrays) -> Check:
    """Random directions of each image's nearest success on the classifier alone."""
    nearest = torch.from_numpy(_nearest(_of(arrays, knows=False), scene.index))
    found = torch.isfinite(nearest)
    name, advice = "random noise of the same length is weaker", "The attack finds nothing that chance would not; it is broken."
    if not found.any():
        return Check(name, None, "no attack succeeded", "")
    noise = normed(torch.randn(scene.x.shape, generator=stream(scene.seed, "noise of the same length")))
    moved = (scene.x + nearest.nan_to_num(0, 0, 0).to(scene.x)[:, None, None, None] * noise)[found]
    fooled = predict(scene.classifier, moved.clamp(*scene.classifier.density.bounds)).label != scene.label[found]
    share = fooled.double().mean().item()
    return Check(name, share <= 0.5, f"noise fools {share:.0%} where attacks fool {found.double().mean():.0%}", advice)


def _twice_the_steps(scene: Scene, attacks: Mapping[str, Attack], arrays: Arrays, few: Tensor, epsilon: float) -> list[Check]:
    """The gradient-based attacks once more on a few images, with twice the effort."""
    names = ("twice the steps change less than 2 points", "twice the steps bring it less than 2 % nearer")
    doubled = {name: attack.doubled() for name, attack in attacks.items() if attack.needs_gradient}
    harder = {name: attack for name, attack in doubled.items() if attack is not None}
    if not harder:
        return [Check(name, None, "no gradient-based attack was run", "") for name in names]
    changes, gains = [], []
    for knows in (False, True):
        before = _nearest(_of(arrays, knows, list(harder)), scene.index[few.numpy()], guarded=knows)
        generator = stream(scene.seed, "twice the steps", int(knows))
        results = [a(scene.classifier, scene.x[few], scene.goal(knows)[few], generator=generator) for a in harder.values()]
        after = np.minimum(before, np.min([result.l2.numpy() for result in results], axis=0))
        changes.append(100 * float(np.mean(after <= epsilon) - np.mean(before <= epsilon)))
        both = np.isfinite(before) & np.isfinite(after)
        gains.append(100 * float(1 - np.median(after[both]) / np.median(before[both])) if both.any() else 0.0)
    advice = "The attack's last word is not spoken; audit again with a larger budget."
    where = "classifier, {:.1f} {unit}; classifier and detector, {:.1f} {unit} ({n} images)"
    found = [where.format(*values, unit=unit, n=len(few)) for values, unit in ((changes, "points"), (gains, "%"))]
    return [
        Check(names[0], max(changes) < 2, found[0], advice),
        Check(names[1], max(gains) < 2, found[1], advice),
    ]


def _gradient_free(attacks: Mapping[str, Attack], arrays: Arrays, knows: bool) -> Check:
    """Per image: where an attack without gradients comes nearer, those with gradients have failed."""
    name = "gradient-free attacks do not beat gradient-based ones" + (", with the detector" if knows else "")
    index = np.unique(arrays["index"])
    with_gradient = [name for name, attack in attacks.items() if attack.needs_gradient]
    without = [name for name in attacks if name not in with_gradient]
    if not with_gradient or not without:
        return Check(name, None, "only one kind of attack was run", "")
    based, free = (_nearest(_of(arrays, knows, names), index, guarded=knows) for names in (with_gradient, without))
    beaten = int((free < NEARER * based).sum())
    advice = "The gradients mislead (masked, or stuck before a barrier): trust the worst case only, and spend more."
    return Check(name, beaten == 0, f"beaten on {beaten} of {len(index)} images", advice)


def _stored(arrays: Arrays) -> Check:
    name, advice = (
        "successes survive being stored",
        "The perturbations are finer than the data's levels; count stored ones.",
    )
    reached = arrays["reached"]
    if not reached.any():
        return Check(name, None, "no attack succeeded", advice)
    near = arrays["reached_rounded"] & (arrays["l2_rounded"] <= FARTHER * arrays["l2"])
    share = float(near[reached].mean())
    found = f"{share:.1%} of {int(reached.sum())} successes, at most {FARTHER - 1:.0%} further away"
    return Check(name, share >= 0.95, found, advice)


def _of(arrays: Arrays, knows: bool, names: list[str] | None = None) -> Arrays:
    """The rows of one goal, and of some attacks."""
    cells = np.array([cell.rpartition("|") for cell in arrays["cell"].tolist()]).reshape(-1, 3)
    chosen = cells[:, 2] == str(int(knows))
    if names is not None:
        chosen &= np.isin(cells[:, 0], names)
    return {key: arrays[key][chosen] for key in ("index", "l2", "fooled", "flagged")}


def _nearest(rows: Arrays, index: NDArray[np.int64], guarded: bool = False) -> NDArray[np.floating]:
    """For each image its nearest success over attacks, an undetected one if ``guarded``; infinite where there is none."""
    hit = rows["fooled"] & ~rows["flagged"] if guarded else rows["fooled"]
    distances = np.where(hit, rows["l2"], np.inf)
    return np.array([distances[rows["index"] == i].min(initial=np.inf) for i in index])
