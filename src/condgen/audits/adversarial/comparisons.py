"""Checks that compare attacks with each other: an attack that another beats is too weak."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from condgen.attacks import Attack
from condgen.audits.adversarial.shards import Arrays
from condgen.audits.adversarial.summary import WORST, by_attack, distances, rows_of
from condgen.audits.checks import WEAK, Check

NEARER = 0.98  # a distance counts as smaller if it is below this multiple of the other
FOUND = 0.95  # share of the attackable images on which a gradient-based attack must succeed
AIMS = {False: "classifier", True: "classifier and detector"}


def without_limit(attacks: Mapping[str, Attack], arrays: Arrays) -> Check:
    """Only for gradient-based attacks: others may start from a success."""
    name = "without a limit on distance, every gradient-based attack succeeds on every image"
    advice = "An attack that fails is too weak. Rerun with a larger budget."
    reached = {
        one: np.isfinite(distances(rows_of(arrays, one, False))["any"])
        for one in with_gradient(attacks)
    }
    if not reached:
        return Check(name, None, "no gradient-based attack was run", "")
    found = ", ".join(f"{one} {int(hit.sum())} of {len(hit)}" for one, hit in reached.items())
    return Check(name, all(hit.all() for hit in reached.values()), found, advice, WEAK)


def each_succeeds(attacks: Mapping[str, Attack], arrays: Arrays) -> Check:
    """Compare each detector-aware gradient-based attack with the worst case."""
    name = "every detector-aware gradient-based attack succeeds where any attack does"
    cells = by_attack(arrays, True)
    attackable = np.isfinite(cells[WORST]["undetected"])
    shares = {
        one: np.isfinite(cells[one]["undetected"])[attackable] for one in with_gradient(attacks)
    }
    if not shares or not attackable.any():
        return Check(name, None, "nothing to compare", "")
    found = ", ".join(f"{one} {int(hit.sum())} of {len(hit)}" for one, hit in shares.items())
    advice = (
        "A failed attack does not show that the model is robust. Trust the worst case, and rerun"
        " with a larger budget."
    )
    return Check(name, all(hit.mean() >= FOUND for hit in shares.values()), found, advice, WEAK)


def detector_aware(arrays: Arrays) -> Check:
    """Undetected successes of detector-unaware attacks are within reach of detector-aware ones."""
    names = dict.fromkeys(arrays["attack"].tolist())
    unaware, aware = (
        nearest_success(arrays, names, knows, "undetected") for knows in (False, True)
    )
    name = "detector-aware attacks are at least as strong as detector-unaware ones"
    if not np.isfinite(unaware).any():
        return Check(name, None, "no attack on the classifier alone is undetected", "")
    weaker = int((unaware < NEARER * aware).sum())
    advice = (
        "The detector-aware attacks fail. Trust the worst case, and rerun with a larger budget."
    )
    return Check(name, weaker == 0, f"weaker on {weaker} of {len(aware)} images", advice, WEAK)


def gradient_free(attacks: Mapping[str, Attack], arrays: Arrays, aware: bool) -> Check:
    """Gradient-based attacks have failed on an image if a gradient-free attack is nearer."""
    name = f"gradient-free attacks on {AIMS[aware]} do not beat gradient-based ones"
    using = with_gradient(attacks)
    without = [one for one in attacks if one not in using]
    if not using or not without:
        return Check(name, None, "only one kind of attack was run", "")
    based, free = (
        nearest_success(arrays, names, aware, "undetected" if aware else "any")
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


def with_gradient(attacks: Mapping[str, Attack]) -> list[str]:
    return [name for name, attack in attacks.items() if attack.needs_gradient]


def nearest_success(
    arrays: Arrays, names: Iterable[str], aware: bool, kind: str
) -> NDArray[np.float64]:
    """Distance of each image's nearest success over the attacks, in the order of the indices.

    Infinite if no attack succeeded.
    """
    nearest: NDArray[np.float64] = np.min(
        [distances(rows_of(arrays, name, aware))[kind] for name in names], axis=0
    )
    return nearest
