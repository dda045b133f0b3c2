"""Table 2 from saved arrays. Another epsilon needs no new attack."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.audits import intervals
from condgen.audits.adversarial.shards import Arrays

WORST = "worst case"
Distances = dict[str, NDArray[np.float64]]


def distances(rows: Arrays) -> Distances:
    """L2 distance of each image's success, infinite if the attack failed.

    ``any``: the goal is reached. ``undetected``: the detector also accepts the image.
    ``quantized``: both hold after quantization to the data's levels.
    """
    hits = {
        "any": (rows["reached"], rows["l2"]),
        "undetected": (rows["reached"] & ~rows["flagged"], rows["l2"]),
        "quantized": (rows["reached_quantized"] & ~rows["flagged_quantized"], rows["l2_quantized"]),
    }
    return {
        kind: np.where(hit, length, np.inf).astype(np.float64)
        for kind, (hit, length) in hits.items()
    }


def rows_of(arrays: Arrays, attack: str, knows: bool) -> Arrays:
    """The rows of one attack, detector-aware (``knows``) or not, in the order of the images."""
    chosen = np.flatnonzero((arrays["attack"] == attack) & (arrays["detector_aware"] == knows))
    chosen = chosen[np.argsort(arrays["index"][chosen], kind="stable")]
    return {
        key: values[chosen]
        for key, values in arrays.items()
        if len(values) == len(arrays["attack"])
    }


def by_attack(arrays: Arrays, knows: bool) -> dict[str, Distances]:
    """The distances of every attack, detector-aware (``knows``) or not, and of the worst case.

    The worst case takes each image's nearest success over all attacks. If ``knows``, it includes
    the detector-unaware attacks that are undetected.
    """
    names = list(dict.fromkeys(arrays["attack"].tolist()))
    found = {name: distances(rows_of(arrays, name, knows)) for name in names}
    pool = list(found.values())
    if knows:
        unaware = [distances(rows_of(arrays, name, False)) for name in names]
        pool += [{**each, "any": each["undetected"]} for each in unaware]
    worst = {kind: np.min([each[kind] for each in pool], axis=0) for kind in pool[0]}
    return {**found, WORST: worst}


def summarize(arrays: Arrays, epsilon: float) -> dict[str, Any]:
    """Success rates of every attack and of the worst case, detector-unaware and detector-aware."""
    cells = [
        {
            "attack": name,
            "detector_aware": knows,
            **cell(found, epsilon),
            **_spent(arrays, name, knows),
        }
        for knows in (False, True)
        for name, found in by_attack(arrays, knows).items()
    ]
    return {"epsilon": epsilon, "n": len(np.unique(arrays["index"])), "cells": cells}


def cell(found: Distances, epsilon: float) -> dict[str, Any]:
    """Success rates and median distances of one attack over all images, with 95 % intervals.

    A distance is ``None`` if it is infinite: the attack failed on that image.
    """
    hits = {
        "undetected_within": found["undetected"] <= epsilon,
        "misclassified_within": found["any"] <= epsilon,
        "quantized_within": found["quantized"] <= epsilon,
        "undetected": np.isfinite(found["undetected"]),
        "quantized": np.isfinite(found["quantized"]),
        "misclassified": np.isfinite(found["any"]),
    }
    shares = {name: intervals.share(hit) for name, hit in hits.items()}
    return {
        **{name: value for name, (value, _) in shares.items()},
        **{f"{name}_ci": list(interval) for name, (_, interval) in shares.items()},
        **_median("median_l2", found["any"]),
        **_median("median_l2_undetected", found["undetected"]),
        **_median("median_l2_quantized", found["quantized"]),
    }


def _median(name: str, found: NDArray[np.float64]) -> dict[str, Any]:
    """A median distance with its interval, not below 0; ``None`` is infinity, for JSON."""
    middle, (low, high) = intervals.median(found)
    lengths = [length if np.isfinite(length) else None for length in (middle, max(low, 0.0), high)]
    return {name: lengths[0], f"{name}_ci": lengths[1:]}


def _spent(arrays: Arrays, name: str, knows: bool) -> dict[str, Any]:
    """Queries and statuses of an attack; empty for the worst case."""
    if name == WORST:
        return {}
    rows = rows_of(arrays, name, knows)
    passes = {f"median_{kind}": float(np.median(rows[kind])) for kind in ("forward", "backward")}
    return {**passes, "status": dict(Counter(rows["status"].tolist()))}


def curve(found: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Success rate as a function of epsilon: the sorted distances, and the success rate at each."""
    finite = np.sort(found[np.isfinite(found)])
    return finite, np.arange(1, len(finite) + 1) / len(found)
