"""95 % confidence intervals for shares, means and ranks."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, rankdata, t

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
LOST = 2.0  # lost comparisons, in images; with fewer, the estimated AUROC variance is too small
NOTHING = 1e-12  # a variance below this is rounding error

Interval = tuple[float, float]


def share(hits: NDArray[Any]) -> tuple[float, Interval]:
    """A share of successes with Wilson's score interval, which stays in [0, 1], also at 0 and 1.

    >>> share(np.ones(10, bool))
    (1.0, (0.7225, 1.0))
    """
    low, high = wilson(int(np.sum(hits)), len(hits))
    return float(np.mean(hits)), (round(low, 4), round(high, 4))


def wilson(hits: float, number: float) -> Interval:
    """Wilson's score interval of a share, not rounded; ``number`` may be fractional.

    >>> low, high = wilson(0, 10**6)
    >>> low == 0.0, high < 1e-5
    (True, True)
    """
    share = hits / number
    center = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = (
        Z / (1 + Z**2 / number) * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    )
    return 0.0 if hits == 0 else center - half, 1.0 if hits == number else center + half


def median(values: NDArray[np.floating]) -> tuple[float, Interval]:
    """A median with its exact, distribution-free interval from order statistics.

    The median of an even number of values is the upper one. Values may be infinite, for events that
    never happened. The interval of too few values is infinite.

    >>> median(np.arange(1.0, 11.0))
    (6.0, (2.0, 9.0))
    >>> median(np.array([1.0, np.inf]))
    (inf, (-inf, inf))
    """
    ordered, number = np.sort(values), len(values)
    outside = int(binom.ppf(0.025, number, 0.5))  # number of values outside on each side
    low, high = (
        (ordered[outside - 1], ordered[number - outside]) if outside else (-math.inf, math.inf)
    )
    return float(ordered[number // 2]), (float(low), float(high))


def mean(values: NDArray[np.floating]) -> tuple[float, Interval]:
    """A mean with Student's t interval, which is infinite for one value or non-finite values.

    >>> center, (low, high) = mean(np.array([1.0, 2.0, 3.0]))
    >>> round(center, 3), round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        infinite = np.unique(values[~np.isfinite(values)])
        return float(infinite[0]) if len(infinite) == 1 else math.nan, (-math.inf, math.inf)
    center, number = float(np.mean(values)), len(values)
    if number < 2:
        return center, (-math.inf, math.inf)
    half = float(t.ppf(0.975, number - 1) * np.std(values, ddof=1)) / math.sqrt(number)
    return center, (center - half, center + half)


def paired_means(
    values: NDArray[Any], index: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Means over pairs of images, with standard errors for pairs that share images.

    With :math:`e` a pair's deviation from the mean and :math:`S_i` the sum of :math:`e` over the
    pairs of image i, the variance of the mean of P pairs is
    :math:`(\sum_i S_i^2 - \sum e^2) / P^2`, but at least that of independent pairs; times
    n / (n - 1) for n images. A column with a non-finite value has an infinite error.

    Args:
        values: One row per pair, shape ``(P, K)``.
        index: The two images of each pair, shape ``(P, 2)``.

    Returns:
        Means and standard errors, each of shape ``(K,)``.

    References:
        Aronow, Samii and Assenova, Cluster-robust variance estimation for dyadic data, 2015,
        eq. (3).
    """
    images, member = np.unique(index, return_inverse=True)
    finite = np.isfinite(values).all(0)
    with np.errstate(invalid="ignore"):  # infinities of both signs have no mean
        means = values.mean(0)
    deviation = np.where(finite, values, 0) - np.where(finite, means, 0)
    of_image = np.zeros((len(images), values.shape[1]))
    for side in member.reshape(index.shape).T:
        np.add.at(of_image, side, deviation)
    independent = (deviation**2).sum(0)
    variance = np.maximum((of_image**2).sum(0) - independent, independent) / len(values) ** 2
    few = len(images) / (len(images) - 1)
    return means, np.where(finite, np.sqrt(few * variance), np.inf)


def paired_spans(
    values: NDArray[Any], index: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The means of :func:`paired_means` with Student's t intervals.

    The degrees of freedom are those of independent pairs, half as many as images.

    Returns:
        Means, shape ``(K,)``, and the ends of their intervals, shape ``(K, 2)``.
    """
    means, errors = paired_means(values, index)
    half = t.ppf(0.975, max(len(np.unique(index)) / 2 - 1, 1)) * errors
    center = np.where(np.isfinite(half), means, 0)
    return means, np.stack([center - half, center + half], axis=1)


def paired_share(hits: NDArray[np.bool_], index: NDArray[np.int64]) -> tuple[float, Interval]:
    """A share of pairs with Wilson's interval, for the effective number of independent pairs.

    That number gives the same standard error. If all pairs agree, it is half the number of images.
    """
    share, error = (
        float(found[0]) for found in paired_means(hits[:, None].astype(np.float64), index)
    )
    number = (
        len(np.unique(index)) / 2 if error == 0 else min(len(hits), share * (1 - share) / error**2)
    )
    low, high = wilson(share * number, number)
    return share, (round(low, 4), round(high, 4))


def auroc(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> float:
    """Probability that a positive scores above a negative; ties count half.

    >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    return _placements(negative, positive)[0]


def paired_auroc(
    negative: NDArray[np.floating], positive: NDArray[np.floating]
) -> tuple[float, Interval]:
    """The AUROC of two scores per image, with an interval for paired scores.

    >>> paired_auroc(np.arange(10.0), np.arange(10.0) + 20)
    (1.0, (0.5655, 1.0))
    """
    area, above, below = _placements(negative, positive)
    spread = np.var(above + below, ddof=1) if len(above) > 1 else math.nan
    return area, _around(area, float(spread) / len(above), len(above))


def independent_auroc(
    negative: NDArray[np.floating], positive: NDArray[np.floating]
) -> tuple[float, Interval]:
    """The AUROC of the scores of two independent groups of images, with its interval.

    >>> independent_auroc(np.arange(10.0), np.arange(10.0) + 20)
    (1.0, (0.5655, 1.0))
    """
    area, above, below = _placements(negative, positive)
    fewer = min(len(above), len(below))
    spread = (
        np.var(above, ddof=1) / len(above) + np.var(below, ddof=1) / len(below)
        if fewer > 1
        else math.nan
    )
    return area, _around(area, float(spread), fewer)


def _placements(
    negative: NDArray[np.floating], positive: NDArray[np.floating]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The AUROC, the shares of negatives below each positive, of positives above each negative."""
    ranks, number = rankdata(np.concatenate([positive, negative])), len(positive)
    above = (ranks[:number] - rankdata(positive)) / len(negative)
    below = 1 - (ranks[number:] - rankdata(negative)) / number
    return float(above.mean()), above, below


def _around(area: float, variance: float, number: int) -> Interval:
    """Wilson's interval of an AUROC, for the effective number of comparisons with this variance.

    ``number`` is the number of images in the smaller group. With zero variance, as for a perfect
    ranking, the effective number is ``number / 2``. With few lost comparisons the variance is
    unreliable, and the effective number is at most ``2 * number``. Simulated coverage from 5 images
    on: 0.92 to 1.

    References:
        DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated ROC
        curves, 1988.
    """
    effective = area * (1 - area) / variance if variance * number > NOTHING else number / 2
    if area * (1 - area) * number < LOST:
        effective = min(effective, 2 * number)
    low, high = wilson(area * effective, effective)
    return round(low, 4), round(high, 4)
