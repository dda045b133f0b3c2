"""95 % confidence intervals for shares, means and ranks."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

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


def wilson(hits: int, number: int) -> Interval:
    """Wilson's score interval of a share, not rounded.

    >>> low, high = wilson(0, 10**6)
    >>> low == 0.0, high < 1e-5
    (True, True)
    """
    share = hits / number
    centre = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z / (1 + Z**2 / number) * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == number else centre + half


def mean(values: NDArray[np.floating]) -> tuple[float, Interval]:
    """A mean with its normal interval."""
    centre = float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return centre, (centre - half, centre + half)


def paired_means(values: NDArray[Any], index: NDArray[np.int64], seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means over pairs of images, with percentile bootstraps over the images, since a pair shares its images with others.

    Args:
        values: One row per pair, shape ``(P, K)``.
        index: The two images of each pair, shape ``(P, 2)``.
        seed: Of the bootstrap.

    Returns:
        Means, shape ``(K,)``, and intervals, shape ``(K, 2)``.
    """
    images, member = np.unique(index, return_inverse=True)
    member = member.reshape(index.shape)
    random = np.random.default_rng(seed)
    counts = random.multinomial(len(images), np.full(len(images), 1 / len(images)), size=RESAMPLES)
    weights = (counts[:, member[:, 0]] * counts[:, member[:, 1]]).astype(np.float64)
    weights = weights[weights.sum(1) > 0]
    resampled = weights @ values / weights.sum(1, keepdims=True)
    return values.mean(0), np.quantile(resampled, [0.025, 0.975], axis=0).T


def auroc(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> float:
    """Probability that a positive scores above a negative, ties counted half.

    >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def paired_auroc(negative: NDArray[np.floating], positive: NDArray[np.floating], seed: int = 0) -> tuple[float, Interval]:
    """The same for two scores of each image, with a percentile bootstrap over images."""
    random = np.random.default_rng(seed)
    draws = (random.integers(len(negative), size=len(negative)) for _ in range(RESAMPLES))
    low, high = np.quantile([auroc(negative[draw], positive[draw]) for draw in draws], [0.025, 0.975])
    return auroc(negative, positive), (float(low), float(high))
