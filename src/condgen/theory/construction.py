"""Constructing the counterexample: its smallest dimension and the weights that it allows."""

import math

from condgen.errors import CondgenError
from condgen.theory.counterexample import Counterexample
from condgen.theory.volumes import log_add

ATTACKABLE = 1 / 3  # share of samples that Proposition 1 promises
MOST_DIMENSIONS = 2**1000  # a larger dimension does not fit a float


def counterexample(
    epsilon: float, delta: float, radius: float, dimension: int | None = None
) -> Counterexample:
    r"""Construct the counterexample, in the smallest dimension or in a given larger one.

    ``lambda_1`` is the middle of its admissible interval, and ``lambda_2`` is
    :math:`\frac{\delta}{1 - \delta} \lambda_1` as in the proof of Proposition 1.

    Args:
        epsilon: Upper bound of both KL divergences, in nats; positive.
        delta: Upper bound of the probability of a class that is not predicted; between 0 and 1/2.
        radius: Upper bound of the length of an attack, :math:`\Delta`; between 0 and 1, so that the
            annuli do not overlap.
        dimension: d. Default: the smallest that works.

    Raises:
        CondgenError: If a value is out of range, or the dimension is too small; names the smallest
            that works.

    References:
        Proposition 1, eq. (19) and the five conditions of its proof.

    Examples:
        >>> counterexample(0.1, 0.01, 0.5).dimension
        35
        >>> counterexample(0.1, 0.01, 0.5, dimension=20)
        Traceback (most recent call last):
        condgen.errors.CondgenError: dimension 20 is too small for epsilon 0.1, delta 0.01
            and radius 0.5; give 35 or more.
    """
    smallest = smallest_dimension(epsilon, delta, radius)
    dimension = smallest if dimension is None else dimension
    if not smallest <= dimension <= MOST_DIMENSIONS:
        fault, advice = (
            ("small", f"{smallest} or more")
            if dimension < smallest
            else ("large", "at most 2**1000")
        )
        given = f"epsilon {epsilon:g}, delta {delta:g} and radius {radius:g}"
        raise CondgenError(f"dimension {dimension} is too {fault} for {given}; give {advice}.")
    low, high = log_lambda_1_range(epsilon, delta, dimension * math.log1p(radius))
    log_lambda_1 = log_add(low, high) - math.log(2)
    return Counterexample(
        epsilon, delta, radius, dimension, log_lambda_1, log_lambda_1 - log_odds(delta)
    )


def smallest_dimension(epsilon: float, delta: float, radius: float) -> int:
    r"""The smallest d for which an admissible ``lambda_1`` exists; every larger d works too.

    With :math:`s = d \log(1 + \Delta)` and :math:`A = ((1 - \delta) / \delta)^2`, eq. (19) requires
    :math:`A e^{-s} < \varepsilon / s`, condition 3 requires
    :math:`A e^{-s} \le 1 - e^{-\varepsilon}`, and an attackable third requires
    :math:`A e^{-s} < 1/3`. The last two hold from some s on, and imply :math:`s > 1`, where the
    first does as well.

    Raises:
        CondgenError: If a value is out of range.
    """
    _check_ranges(epsilon, delta, radius)
    growth = math.log1p(radius)

    def works(dimension: int) -> bool:
        low, high = log_lambda_1_range(epsilon, delta, dimension * growth)
        return low < high

    above = 1
    while not works(above):
        above *= 2
        if above > MOST_DIMENSIONS:
            raise CondgenError(
                f"radius {radius:g} needs more than 2**1000 dimensions; give a larger radius."
            )
    below = above // 2  # does not work, or is 0
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (below, middle) if works(middle) else (middle, above)
    return above


def log_lambda_1_range(epsilon: float, delta: float, log_growth: float) -> tuple[float, float]:
    """The open interval of admissible ``lambda_1``, as logarithms; empty if low >= high.

    Lower end: condition 2, which implies conditions 1 and 4. Upper end: conditions 5 and 3, and the
    attackable third.
    """
    condition_3 = math.log(-math.expm1(-epsilon))
    condition_5 = math.log(epsilon) - math.log(log_growth)
    attackable_third = math.log(1 - 2 * ATTACKABLE)
    return 2 * log_odds(delta) - log_growth, min(condition_3, condition_5, attackable_third)


def log_odds(delta: float) -> float:
    """log((1 - delta) / delta)."""
    return math.log1p(-delta) - math.log(delta)


def _check_ranges(epsilon: float, delta: float, radius: float) -> None:
    if not 0 < epsilon < math.inf:
        raise CondgenError(
            f"epsilon is {epsilon:g}, expected a positive number of nats;"
            " 0.1 means a near-perfect model."
        )
    if not 0 < delta < 0.5:
        raise CondgenError(
            f"delta is {delta:g}, expected a number between 0 and 0.5;"
            " 0.01 means mistakes with 99 % confidence."
        )
    if not 0 < radius < 1:
        raise CondgenError(
            f"radius is {radius:g}, expected a number between 0 and 1, so that the annulus from 1"
            " to 1 + radius does not overlap the one from 2 to 3; 0.5 is a good start."
        )
