"""The counterexample of Sec. 2 and appendix D: a near-perfect model no detector can protect."""

import math
from dataclasses import dataclass

from condgen.theory.volumes import log_add, log_ball_volume, log_one_minus_exp, log_power_gap

INNER, OUTER = 2.0, 3.0  # the annulus of class 1, eq. (2)


@dataclass(frozen=True)
class Counterexample:
    r"""The data p and the model q of eqs. (2) and (3), in closed form; every logarithm is in nats.

    With U(a, b) uniform between the radii a and b, and both classes equally likely::

        p(x|0) = lambda_1 U(0, 1) + (1 - lambda_1) U(1, 1 + radius)        q(x|0) = U(0, 1 + radius)
        p(x|1) = lambda_2 U(0, 1) + (1 - lambda_2) U(2, 3)                 q(x|1) = p(x|1)

    :func:`condgen.theory.counterexample` chooses the dimension and the two weights. With other
    values, :func:`condgen.theory.conditions` shows which of the proposition's conditions hold.

    Args:
        epsilon: Upper bound of both KL divergences.
        delta: Upper bound of the probability of a class that is not predicted.
        radius: Upper bound of the length of an attack, :math:`\Delta` in the paper.
        dimension: d.
        log_lambda_1: Logarithm of the first class's weight in the unit ball.
        log_lambda_2: Logarithm of the second class's weight in the unit ball.

    Examples:
        >>> from condgen.theory import counterexample
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


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow.

    >>> logistic(0.0), logistic(-1e6), logistic(1e6)
    (0.5, 0.0, 1.0)
    """
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
