"""95 % confidence intervals for shares, means and ranks."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, rankdata

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
RESAMPLES = 1000

Interval = tuple[float, float]


def share(hits: NDArray[Any]) -> tuple[float, Interval]:
    """A share of successes with Wilson's score interval, which stays within [0, 1] and works at 0 and 1.

    >>> share(np.ones(10, bool))
    (1.0, (0.7225, 1.0))
    """
    low, high = wilson(int(np.sum(hits)), len(hits))
    return float(np.mean(hits)), (round(low, 4), round(high, 4))


def wilson(hits: float, number: float) -> Interval:
    """Wilson's score interval of a share, not rounded; of an effective number too, which may be broken.

    >>> low, high = wilson(0, 10**6)
    >>> low == 0.0, high < 1e-5
    (True, True)
    """
    share = hits / number
    centre = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z / (1 + Z**2 / number) * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == number else centre + half


def median(values: NDArray[np.floating]) -> tuple[float, Interval]:
    """A median, of an even number the upper, with its interval from order statistics: exact, whatever the distribution.

    Values may be infinite, for what never happened. Too few values have no bounds.

    >>> median(np.arange(1.0, 11.0))
    (6.0, (2.0, 9.0))
    >>> median(np.array([1.0, np.inf]))
    (inf, (-inf, inf))
    """
    ordered, number = np.sort(values), len(values)
    outside = int(binom.ppf(0.025, number, 0.5))  # so many values on each side stay out
    low, high = (ordered[outside - 1], ordered[number - outside]) if outside else (-math.inf, math.inf)
    return float(ordered[number // 2]), (float(low), float(high))


def mean(values: NDArray[np.floating]) -> tuple[float, Interval]:
    """A mean with its normal interval."""
    centre = float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return centre, (centre - half, centre + half)


def paired_means(values: NDArray[Any], index: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Means over pairs of images and their standard errors, which count that pairs share images.

    With :math:`e` a pair's deviation from the mean and :math:`S_i` the sum of :math:`e` over the pairs of image i, the variance
    of the mean of P pairs is :math:`(\sum_i S_i^2 - \sum e^2) / P^2`, and not taken below that of independent pairs.

    Args:
        values: One row per pair, shape ``(P, K)``.
        index: The two images of each pair, shape ``(P, 2)``.

    Returns:
        Means and standard errors, each of shape ``(K,)``.

    References:
        Aronow, Samii and Assenova, Cluster-robust variance estimation for dyadic data, 2015, eq. (3).
    """
    images, member = np.unique(index, return_inverse=True)
    deviation = values - values.mean(0)
    of_image = np.zeros((len(images), values.shape[1]))
    for side in member.reshape(index.shape).T:
        np.add.at(of_image, side, deviation)
    independent = (deviation**2).sum(0)
    variance = np.maximum((of_image**2).sum(0) - independent, independent) / len(values) ** 2
    return values.mean(0), np.sqrt(variance)


def paired_share(hits: NDArray[np.bool_], index: NDArray[np.int64]) -> tuple[float, Interval]:
    """A share of pairs, with Wilson's interval for as many independent pairs as would be as uncertain.

    Where all pairs agree nothing varies, and there are as many as half of the images.
    """
    share, error = (float(found[0]) for found in paired_means(hits[:, None].astype(np.float64), index))
    number = len(np.unique(index)) / 2 if error == 0 else min(len(hits), share * (1 - share) / error**2)
    low, high = wilson(share * number, number)
    return share, (round(low, 4), round(high, 4))


def auroc(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> float:
    """Probability that a positive scores above a negative, ties counted half.

    >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def paired_auroc(negative: NDArray[np.floating], positive: NDArray[np.floating], seed: int = 0) -> tuple[float, Interval]:
    """The same for two scores of each image, with a percentile bootstrap over images.

    Where all draws agree, as with perfect ranks, the interval is Wilson's for independent comparisons: half as many as images.

    >>> paired_auroc(np.arange(10.0), np.arange(10.0) + 20)
    (1.0, (0.5655, 1.0))
    """
    random = np.random.default_rng(seed)
    draws = (random.integers(len(negative), size=len(negative)) for _ in range(RESAMPLES))
    low, high = np.quantile([auroc(negative[draw], positive[draw]) for draw in draws], [0.025, 0.975])
    area = auroc(negative, positive)
    if low == high:
        low, high = (round(bound, 4) for bound in wilson(area * len(negative) / 2, len(negative) / 2))
    return area, (float(low), float(high))
