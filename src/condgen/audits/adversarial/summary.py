"""Table 2 from saved arrays: another epsilon needs no new attack."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.audits import intervals
from condgen.audits.adversarial.shards import Arrays

WORST = "worst case"


def summarise(arrays: Arrays, epsilon: float) -> dict[str, Any]:
    """Shares for every attack and for the worst of all, on the classifier and on classifier and detector."""
    cells = [
        {"attack": name, "knows_detector": knows, **cell(rows, epsilon)}
        for knows in (False, True)
        for name, rows in by_attack(arrays, knows).items()
    ]
    return {"epsilon": epsilon, "n": len(np.unique(arrays["index"])), "cells": cells}


def by_attack(arrays: Arrays, knows: bool) -> dict[str, Arrays]:
    """The rows of every attack on one goal, and :func:`worst` of them."""
    names = [cell.rpartition("|")[0] for cell in dict.fromkeys(arrays["cell"].tolist()) if cell.endswith(f"|{int(knows)}")]
    parts = {name: {key: arrays[key][arrays["cell"] == f"{name}|{int(knows)}"] for key in ROWS} for name in names}
    return {**parts, WORST: worst(list(parts.values()))}


ROWS = (
    "index",
    "l2",
    "l2_rounded",
    "fooled",
    "flagged",
    "fooled_rounded",
    "flagged_rounded",
    "forward",
    "backward",
    "status",
)


def cell(rows: Arrays, epsilon: float) -> dict[str, Any]:
    """One attack on one goal."""
    fooled, undetected = rows["fooled"], rows["fooled"] & ~rows["flagged"]
    stored = rows["fooled_rounded"] & ~rows["flagged_rounded"]
    shares = {
        "undetected_within": undetected & (rows["l2"] <= epsilon),
        "fooled_within": fooled & (rows["l2"] <= epsilon),
        "undetected": undetected,
        "fooled": fooled,
        "stored_within": stored & (rows["l2_rounded"] <= epsilon),
    }
    made = {name: intervals.share(hits) for name, hits in shares.items()}
    distances = rows["l2"][fooled]
    return {
        "n": len(fooled),
        **{name: value for name, (value, _) in made.items()},
        **{f"{name}_ci": list(interval) for name, (_, interval) in made.items()},
        "median_l2": float(np.median(distances)) if len(distances) else None,
        "median_l2_undetected": float(np.median(rows["l2"][undetected])) if undetected.any() else None,
        "median_forward": float(np.median(rows["forward"])),
        "median_backward": float(np.median(rows["backward"])),
        "status": dict(Counter(rows["status"].tolist())),
    }


def worst(parts: list[Arrays]) -> Arrays:
    """For each image the nearest undetected success of any attack; where there is none, the nearest that fools."""
    stacked = {key: np.stack([part[key] for part in parts]) for key in ROWS}
    badness = np.where(stacked["fooled"], stacked["l2"], np.inf)
    rank = np.where(stacked["fooled"] & ~stacked["flagged"], badness, badness + 1e9)
    chosen = rank.argmin(0)
    picked = {key: np.take_along_axis(values, chosen[None], 0)[0] for key, values in stacked.items()}
    return {**picked, **{key: stacked[key].sum(0) for key in ("forward", "backward")}}


def curve(rows: Arrays, undetected: bool) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Success as a function of epsilon: the distances in order, and the share of images that have fallen by each."""
    hit = rows["fooled"] & ~rows["flagged"] if undetected else rows["fooled"]
    distances = np.sort(rows["l2"][hit])
    return distances, np.arange(1, len(distances) + 1) / len(hit)
