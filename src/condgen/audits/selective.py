"""Selective classification: errors of the classifier among the images that the detector accepts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.audits import intervals

Arrays = dict[str, NDArray[Any]]


def summarize(arrays: Arrays) -> dict[str, Any]:
    """Accuracy on accepted and on rejected images, and the AUROC of the score.

    Misclassified images are the positives of the AUROC. A number without images is ``None``.
    """
    correct, accepted = arrays["predicted"] == arrays["label"], arrays["accepted"].astype(bool)
    summary: dict[str, Any] = {"misclassified": int((~correct).sum())}
    for name, chosen in (("accepted", accepted), ("rejected", ~accepted)):
        share, interval = intervals.share(correct[chosen]) if chosen.any() else (None, None)
        summary |= {f"accuracy_{name}": share, f"accuracy_{name}_ci": interval}
    score, area, span = unlikeness(arrays), None, None
    if correct.any() and not correct.all():
        area, span = intervals.independent_auroc(score[correct], score[~correct])
    return {**summary, "auroc_misclassified": area, "auroc_misclassified_ci": span}


def risk_coverage(
    score: NDArray[np.floating], correct: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The coverage (share of accepted images) and risk (error rate on them) at each threshold.

    >>> risk_coverage(np.array([3.0, 1.0, 2.0, 2.0]), np.array([False, True, False, True]))
    (array([0.25, 0.75, 1.  ]), array([0.        , 0.33333333, 0.5       ]))
    """
    order = np.argsort(score, kind="stable")
    last = np.flatnonzero(np.append(score[order][1:] != score[order][:-1], True))
    number = last + 1
    return number / len(score), np.cumsum(~correct[order])[last] / number


def unlikeness(arrays: Arrays) -> NDArray[np.float64]:
    """The detector's score, or bits/dim in older records; NaN becomes infinity, rejected first."""
    score = arrays.get("score", arrays["bits_per_dim_deployed"]).astype(np.float64)
    return np.where(np.isnan(score), np.inf, score)
