"""The counterexample of Sec. 2 and appendix D: a near-perfect model no detector can protect."""

import math
from dataclasses import dataclass

from condgen.errors import CondgenError
from condgen.theory.volumes import log_add, log_ball_volume, log_one_minus_exp, log_power_gap

INNER, OUTER = 2.0, 3.0  # the annulus of class 1, eq. (2)
ATTACKABLE = 1 / 3  # share of samples that Proposition 1 promises
MOST_DIMENSIONS = 2**1000  # a larger dimension does not fit a float


@dataclass(frozen=True)
class Counterexample:
    r"""The data p and the model q of eqs. (2) and (3), in closed form; every logarithm is in nats.

    With U(a, b) uniform between the radii a and b, and both classes equally likely::

        p(x|0) = lambda_1 U(0, 1) + (1 - lambda_1) U(1, 1 + radius)        q(x|0) = U(0, 1 + radius)
        p(x|1) = lambda_2 U(0, 1) + (1 - lambda_2) U(2, 3)                 q(x|1) = p(x|1)

    :func:`counterexample` chooses the dimension and the two weights. With other values,
    :func:`condgen.theory.conditions` shows which of the proposition's conditions hold.

    Args:
        epsilon: Upper bound of both KL divergences.
        delta: Upper bound of the probability of a class that is not predicted.
        radius: Upper bound of the length of an attack, :math:`\Delta` in the paper.
        dimension: d.
        log_lambda_1: Logarithm of the first class's weight in the unit ball.
        log_lambda_2: Logarithm of the second class's weight in the unit ball.

    Examples:
        >>> example = counterexample(epsilon=0.1, delta=0.01, radius=0.5)
        >>> example.dimension, round(example.attackable, 4)
        (35, 0.4966)
    """

    epsilon: float
    delta: float
    radius: float
    dimension: int
    log_lambda_1: float
    log_lambda_2: float

    @property
    def lambda_1(self) -> float:
        return math.exp(self.log_lambda_1)

    @property
    def lambda_2(self) -> float:
        return math.exp(self.log_lambda_2)

    @property
    def log_growth(self) -> float:
        r""":math:`d \log(1 + \Delta)`: log volume of the ball of radius 1 + radius.

        Relative to the unit ball.
        """
        return self.dimension * math.log1p(self.radius)

    @property
    def kl_q_p(self) -> float:
        """KL(q(x, y) || p(x, y)), exact: half of eq. (14)'s value for class 0.

        Class 1 is modeled perfectly.
        """
        in_ball = math.exp(-self.log_growth)
        gain = log_one_minus_exp(-self.log_growth) - log_one_minus_exp(self.log_lambda_1)
        return 0.5 * (in_ball * (-self.log_lambda_1 - self.log_growth) + (1 - in_ball) * gain)

    @property
    def kl_q_p_bound(self) -> float:
        """The paper's bound, log(1 / (1 - lambda_1)), eq. (15): without the factor 1/2."""
        return -log_one_minus_exp(self.log_lambda_1)

    @property
    def kl_p_q(self) -> float:
        """KL(p(x, y) || q(x, y)), exact: half of the integrals of eqs. (16) and (17)."""
        gain = log_one_minus_exp(self.log_lambda_1) - log_one_minus_exp(-self.log_growth)
        return 0.5 * (
            self.lambda_1 * (self.log_lambda_1 + self.log_growth) + (1 - self.lambda_1) * gain
        )

    @property
    def kl_p_q_bound(self) -> float:
        """The paper's bound, lambda_1 d log(1 + radius), eq. (17): without the factor 1/2."""
        return self.lambda_1 * self.log_growth

    @property
    def log_odds_p(self) -> float:
        """log p(0|x) / p(1|x) in the unit ball, eq. (11)."""
        return self.log_lambda_1 - self.log_lambda_2

    @property
    def log_odds_q(self) -> float:
        """log q(0|x) / q(1|x) in the unit ball, eq. (12): if below 0, the model is wrong there."""
        return -(self.log_lambda_2 + self.log_growth)

    @property
    def confidence_p(self) -> float:
        """p(0|x) in the unit ball, eq. (11): the Bayes-optimal classifier is right."""
        return logistic(self.log_odds_p)

    @property
    def confidence_q(self) -> float:
        """q(1|x) in the unit ball, one minus eq. (12): the model is wrong and confident."""
        return logistic(-self.log_odds_q)

    @property
    def attackable(self) -> float:
        """Share of samples of p that can be attacked: class 0 outside the unit ball.

        Exact, up to a set of measure zero. In the unit ball the model is wrong before any attack.
        From the annulus of class 1, every path to another prediction changes the true class too.
        """
        return (1 - self.lambda_1) / 2

    @property
    def mean_distance(self) -> float:
        """Mean distance of the attack on these samples, (E|x| - 1 + radius) / 2.

        The attack is :func:`condgen.theory.annuli.move_into_ball`.
        """
        return self.radius - self.mean_spare_distance

    @property
    def mean_spare_distance(self) -> float:
        r"""Mean of radius minus distance, (1 + radius - E|x|) / 2; exact even if very small.

        With :math:`s = d \log(1 + \Delta)`,
        :math:`(d + 1)(1 + \Delta - E|x|) = 1 + \Delta - \Delta d / (e^s - 1)`.
        """
        inside = math.exp(-self.log_growth) / -math.expm1(-self.log_growth)
        return (1 + self.radius - self.radius * self.dimension * inside) / (
            2 * (self.dimension + 1)
        )

    @property
    def log_unit(self) -> float:
        """Log-density of U(0, 1), halved for the class: the reference of :attr:`regions`."""
        return -log_ball_volume(self.dimension) - math.log(2)

    @property
    def regions(self) -> tuple[tuple[float, float], ...]:
        """log q(x) relative to :attr:`log_unit`, and the probability under q.

        One pair each for the ball and the two annuli.
        """
        in_ball = log_add(-self.log_growth, self.log_lambda_2)
        outer = log_one_minus_exp(self.log_lambda_2) - log_power_gap(INNER, OUTER, self.dimension)
        return (
            (in_ball, (math.exp(-self.log_growth) + self.lambda_2) / 2),
            (-self.log_growth, -math.expm1(-self.log_growth) / 2),
            (outer, (1 - self.lambda_2) / 2),
        )

    @property
    def log_density_gain(self) -> float:
        """log q(x) of an attacked image minus the median."""
        return self.regions[0][0] - self._relative_median

    @property
    def log_median_density(self) -> float:
        """The largest t for which at least half of q's samples have log q(x) >= t.

        q(x) has only three values.
        """
        return self._relative_median + self.log_unit

    @property
    def _relative_median(self) -> float:
        share = 0.0
        densest_first = sorted(self.regions, reverse=True)
        for density, probability in densest_first:
            share += probability
            if share >= 0.5:
                return density
        return densest_first[-1][0]

    @property
    def median_bits_per_dim(self) -> float:
        """The median as a detector threshold: at least half of q's samples have at most this."""
        return -self.log_median_density / (self.dimension * math.log(2))

    @property
    def share_at_least_median(self) -> float:
        """Share of q's samples with a density of at least the median; above 1/2 because of ties."""
        return sum(share for density, share in self.regions if density >= self._relative_median)

    @property
    def share_as_dense_as_attack(self) -> float:
        """Share of q's samples at least as dense as an attacked image.

        No sample is denser, so a detector that rejects the attack rejects every sample.
        """
        return sum(share for density, share in self.regions if density >= self.regions[0][0])


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


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow.

    >>> logistic(0.0), logistic(-1e6), logistic(1e6)
    (0.5, 0.0, 1.0)
    """
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


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
