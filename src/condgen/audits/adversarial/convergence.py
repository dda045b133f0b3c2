"""Checks of convergence: gradient-based attacks rerun with twice the steps."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from condgen import processes
from condgen.attacks import Attack
from condgen.audits import intervals
from condgen.audits.adversarial.comparisons import AIMS, nearest_success, with_gradient
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import Arrays
from condgen.audits.checks import WEAK, Check
from condgen.randomness import stream


def twice_the_steps(
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
    rerun = _rerun(scene, harder, few)
    for aware in AIMS:
        before = nearest_success(arrays, with_gradient(attacks), aware, "any")[
            np.argsort(np.argsort(scene.index))
        ][few.numpy()]
        after = np.minimum(before, rerun[aware])
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


def _rerun(scene: Scene, attacks: Sequence[Attack], few: Tensor) -> dict[bool, NDArray[np.float64]]:
    """Distance of each image's nearest success over the attacks, for each goal."""

    def distances(item: tuple[bool, int]) -> NDArray[np.float64]:
        aware, place = item
        generator = stream(scene.seed, "twice the steps", int(aware), place)
        x, goal = scene.x[few], scene.goal(aware)[few]
        found: NDArray[np.float64] = attacks[place](
            scene.classifier, x, goal, generator=generator
        ).l2.numpy()
        return found

    items = [(aware, place) for aware in AIMS for place in range(len(attacks))]
    found = dict(zip(items, processes.share_work(distances, items), strict=True))
    return {
        aware: np.min([found[aware, place] for place in range(len(attacks))], axis=0)
        for aware in AIMS
    }


def _gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> float | None:
    """Reduction of the median distance in percent.

    ``None`` if the attacks fail on at least half of the images, even with twice the steps.
    """
    middle, now = (float(np.quantile(found, 0.5, method="higher")) for found in (before, after))
    if np.isinf(now):
        return None
    return 0.0 if middle == now else 100.0 if np.isinf(middle) else 100 * (1 - now / middle)
