"""Proposition 1: its seven conditions with values and bounds, and whether each holds."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from condgen.theory.counterexample import INNER, OUTER, Counterexample, logistic
from condgen.theory.volumes import log_add, log_one_minus_exp, log_power_gap, log_sphere_surface

ROUNDING = 1e-12  # relative tolerance; the paper's lambda_2 meets one bound with equality


@dataclass(frozen=True)
class Condition:
    """One of the proposition's seven conditions.

    Args:
        number: Number in the paper.
        words: The requirement in words.
        unit: Unit of value and bound.
        value: Value for the counterexample.
        relation: ``"<="``, ``"<"``, ``">="`` or ``">"``: the required relation of value to bound.
        bound: The bound.
        note: Remark on value and bound.
    """

    number: int
    words: str
    unit: str
    value: float
    relation: str
    bound: float
    note: str = ""

    @property
    def holds(self) -> bool:
        slack = ROUNDING * abs(self.bound)
        return {
            "<=": self.value <= self.bound + slack,
            "<": self.value < self.bound,
            ">=": self.value >= self.bound - slack,
            ">": self.value > self.bound,
        }[self.relation]

    def summary(self) -> dict[str, Any]:
        """The condition as JSON."""
        return {**asdict(self), "holds": self.holds}


def conditions(example: Counterexample) -> tuple[Condition, ...]:
    """The seven conditions.

    Examples:
        >>> from condgen.theory import counterexample
        >>> [line.holds for line in conditions(counterexample(0.1, 0.01, 0.5))]
        [True, True, True, True, True, True, False]
    """
    return (
        _right_before(example),
        _prediction_changes(example),
        _sure_after(example),
        _small_change(example),
        _undetectable(example),
        _no_ball_has_much(example),
        _total_variation(example),
    )


def _right_before(example: Counterexample) -> Condition:
    return Condition(
        number=1,
        words="before: model and Bayes classifier agree, both confident",
        unit="smallest probability of the class",
        value=1.0,
        relation=">=",
        bound=1 - example.delta,
        note="in the annulus (1, 1 + radius) only class 0 has density, so both are certain",
    )


def _prediction_changes(example: Counterexample) -> Condition:
    return Condition(
        number=2,
        words="after: the prediction changes, the true class does not",
        unit="smallest log-odds, nats",
        value=min(example.log_odds_p, -example.log_odds_q),
        relation=">",
        bound=0.0,
        note="the paper prints y_q(x) != y(x'), y_q(x') = y(x'), a contradiction;"
        " it means y_q(x') != y_q(x) and y_p(x') = y_p(x)",
    )


def _sure_after(example: Counterexample) -> Condition:
    return Condition(
        number=3,
        words="after: the model is confident and wrong, the Bayes classifier confident and right",
        unit="largest probability of the other class",
        value=max(logistic(example.log_odds_q), logistic(-example.log_odds_p)),
        relation="<=",
        bound=example.delta,
        note="the paper requires <, but its own lambda_2 gives p(1|x') = delta",
    )


def _small_change(example: Counterexample) -> Condition:
    return Condition(
        number=4,
        words="the perturbation is shorter than the radius",
        unit="radius - mean distance",
        value=example.mean_spare_distance,
        relation=">",
        bound=0.0,
        note=f"mean distance {example.mean_distance:.3g};"
        " each is (|x| - 1 + radius) / 2 < radius, because |x| < 1 + radius",
    )


def _undetectable(example: Counterexample) -> Condition:
    return Condition(
        number=5,
        words="after: the model's density is at least its median",
        unit="log q(x') - median, nats",
        value=example.log_density_gain,
        relation=">=",
        bound=0.0,
        note="the median is over samples of q; q(x) has three values: less than half of the samples"
        " have the smallest, and an attacked image has the largest",
    )


def _no_ball_has_much(example: Counterexample) -> Condition:
    r"""Sum over p's components: weight x min(1, volume of ball / volume of component).

    The ball around the origin has :math:`\frac12(\lambda_1 + \lambda_2) \Delta^d`, so no bound can
    be far below.
    """
    return Condition(
        number=6,
        words="no ball of this radius has much probability under p",
        unit="log10 of the probability, at most",
        value=log_ball_probability_bound(example) / math.log(10),
        relation="<=",
        bound=example.dimension * math.log10(example.radius),
        note="an upper bound over all balls; its own bound radius^d goes to 0 as d grows",
    )


def log_ball_probability_bound(example: Counterexample) -> float:
    """Logarithm of a probability that no ball of the radius exceeds under p."""
    d, ball = example.dimension, example.dimension * math.log(example.radius)
    parts = (
        (log_add(example.log_lambda_1, example.log_lambda_2), 0.0),
        (
            log_one_minus_exp(example.log_lambda_1),
            example.log_growth + log_one_minus_exp(-example.log_growth),
        ),
        (log_one_minus_exp(example.log_lambda_2), log_power_gap(INNER, OUTER, d)),
    )
    total = -math.inf
    for log_weight, log_volume in parts:
        total = log_add(total, log_weight - math.log(2) + min(0.0, ball - log_volume))
    return total


def _total_variation(example: Counterexample) -> Condition:
    r"""The variation :math:`\int |\nabla p(x)|\, dx`; at least d / 3 for densities within radius 3.

    By the divergence theorem, which the proof uses:
    :math:`d = \int p\, \nabla \cdot x\, dx = -\int x \cdot \nabla p\, dx`, which is at most
    :math:`3 \int |\nabla p|\, dx`. The proof counts the surfaces, which shrink, but not the
    densities, which grow.
    """
    surface = math.exp(log_sphere_surface(example.dimension))
    return Condition(
        number=7,
        words="the total variation of p can be made small",
        unit="integral of |grad p|",
        value=total_variation(example),
        relation="<",
        bound=example.dimension / OUTER,
        note="no density within radius 3 is below d / 3, so this cannot hold as written;"
        " what shrinks is the surface of the region where model and Bayes classifier differ,"
        f" the unit sphere: {surface:.2g} here",
    )


def total_variation(example: Counterexample) -> float:
    """Sum over the radii 1, 1 + radius, 2 and 3: jump of p(x) times surface of the sphere."""
    in_ball, growth = example.lambda_1 + example.lambda_2, example.log_growth
    edge_to_ball = math.exp(-growth)
    # the density there, in units of one over the volume of its ball
    at_edge = (1 - example.lambda_1) / -math.expm1(-growth)
    shrink = (INNER / OUTER) ** example.dimension
    at_outer = (1 - example.lambda_2) / (1 - shrink) * (1 / OUTER + shrink / INNER)
    return (
        example.dimension
        / 2
        * (abs(in_ball - edge_to_ball * at_edge) + at_edge / (1 + example.radius) + at_outer)
    )
