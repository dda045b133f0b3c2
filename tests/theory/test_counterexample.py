"""The numbers of Section 2 against direct arithmetic, quadrature and brute force.

Also at dimensions where floats overflow.
"""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from condgen.errors import CondgenError
from condgen.theory import Counterexample, conditions, counterexample, smallest_dimension, summary
from condgen.theory.conditions import log_ball_probability_bound, total_variation
from condgen.theory.construction import log_lambda_1_range

ASKED = [
    (0.1, 0.01, 0.5),
    (0.01, 0.001, 0.5),
    (0.1, 0.01, 0.1),
    (0.3, 0.2, 0.9),
    (1.0, 0.4, 0.9),
    (5.0, 0.3, 0.5),
]
# Weights with some mass in each annulus.
SMALL = Counterexample(1.0, 0.3, 0.5, 3, math.log(0.6), math.log(0.3))


def admissible(epsilon: float, delta: float, radius: float, d: int) -> bool:
    """Eq. (19), condition 3 and the attackable third, as in the paper."""
    least = ((1 - delta) / delta) ** 2 / (1 + radius) ** d
    return (
        least < epsilon / (d * math.log(1 + radius))
        and least < 1 - math.exp(-epsilon)
        and least < 1 / 3
    )


def volume(d: int) -> float:
    return math.pi ** (d / 2) / math.gamma(d / 2 + 1)


def densities(example: Counterexample, r: float) -> tuple[float, float, float]:
    """p(x|0), q(x|0) and p(x|1) at radius r, without logarithms."""
    d, edge, unit = example.dimension, 1 + example.radius, volume(example.dimension)
    p0 = (
        example.lambda_1 / unit
        if r < 1
        else (1 - example.lambda_1) / (unit * (edge**d - 1))
        if r < edge
        else 0.0
    )
    p1 = (
        example.lambda_2 / unit
        if r < 1
        else (1 - example.lambda_2) / (unit * (3**d - 2**d))
        if 2 < r < 3
        else 0.0
    )
    return p0, 1 / (unit * edge**d) if r < edge else 0.0, p1


def integral(example: Counterexample, value) -> float:
    """Integrate a function of the radius over the ball of radius 3."""
    d, stops = example.dimension, (0, 1, 1 + example.radius, 2, 3)
    shells = [
        quad(lambda r: value(r) * d * volume(d) * r ** (d - 1), a, b)[0]
        for a, b in itertools.pairwise(stops)
    ]
    return sum(shells)


def test_the_papers_conditions_give_35_dimensions() -> None:
    example = counterexample(0.1, 0.01, 0.5)
    assert example.dimension == 35
    assert 99**2 / 1.5**35 < example.lambda_1 < 0.1 / (35 * math.log(1.5))
    assert example.lambda_2 == pytest.approx(example.lambda_1 / 99)


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_the_smallest_dimension_is_the_first_that_works_and_all_later_ones_do(
    asked: tuple[float, float, float],
) -> None:
    works = [admissible(*asked, d) for d in range(1, 400)]
    smallest = smallest_dimension(*asked)
    assert works.index(True) + 1 == smallest
    assert all(works[smallest - 1 :])


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-300, 1e3), st.floats(1e-300, 0.499), st.floats(1e-200, 0.999))
def test_every_line_but_the_seventh_holds_wherever_one_asks(
    epsilon: float, delta: float, radius: float
) -> None:
    example = counterexample(epsilon, delta, radius)
    assert [line.number for line in conditions(example) if not line.holds] == [7]
    assert example.attackable >= 1 / 3 - 1e-12
    assert example.kl_q_p <= example.kl_q_p_bound / 2 <= epsilon
    assert example.kl_p_q <= example.kl_p_q_bound / 2 <= epsilon


def test_densities_and_divergences_are_those_of_quadrature() -> None:
    def divergence(first: int, second: int, r: float) -> float:
        values = densities(SMALL, r)
        return values[first] * math.log(values[first] / values[second]) if values[first] else 0.0

    for which in range(3):
        assert integral(SMALL, lambda r, which=which: densities(SMALL, r)[which]) == pytest.approx(
            1
        )
    assert SMALL.kl_p_q == pytest.approx(integral(SMALL, lambda r: divergence(0, 1, r)) / 2)
    assert SMALL.kl_q_p == pytest.approx(integral(SMALL, lambda r: divergence(1, 0, r)) / 2)


def test_confidences_are_bayes_rule() -> None:
    p0, q0, p1 = densities(SMALL, 0.5)
    assert SMALL.confidence_p == pytest.approx(p0 / (p0 + p1))
    assert SMALL.confidence_q == pytest.approx(p1 / (q0 + p1))


def test_the_median_density_is_that_of_sorted_values() -> None:
    def q(r: float) -> float:
        _, q0, p1 = densities(SMALL, r)
        return (q0 + p1) / 2

    values = {r: q(r) for r in (0.5, 1.2, 2.5)}
    share = {
        r: integral(SMALL, lambda s, v=v: q(s) * math.isclose(q(s), v)) for r, v in values.items()
    }
    at_least = {r: sum(share[s] for s in values if values[s] >= values[r]) for r in values}
    median = max(values[r] for r in values if at_least[r] >= 0.5)
    assert math.exp(SMALL.log_median_density) == pytest.approx(median)
    assert SMALL.share_at_least_median == pytest.approx(at_least[1.2])
    assert SMALL.share_as_dense_as_attack == pytest.approx(share[0.5])
    assert SMALL.log_density_gain == pytest.approx(math.log(values[0.5] / median))


def test_the_mean_distance_is_that_of_quadrature() -> None:
    in_annulus = integral(SMALL, lambda r: densities(SMALL, r)[0] * (r > 1))
    moved = integral(SMALL, lambda r: densities(SMALL, r)[0] * (r > 1) * (r - 1 + SMALL.radius) / 2)
    assert SMALL.mean_distance == pytest.approx(moved / in_annulus)


@pytest.mark.parametrize(
    "example", [SMALL, counterexample(0.1, 0.01, 0.5)], ids=lambda example: f"d={example.dimension}"
)
def test_total_variation_is_that_of_a_fine_grid_and_never_below_its_floor(
    example: Counterexample,
) -> None:
    d, r = example.dimension, np.linspace(0, 3.001, 60001)
    density = np.array(
        [(p0 + p1) / 2 for p0, _, p1 in (densities(example, radius) for radius in r)]
    )
    surface = d * volume(d) * ((r[1:] + r[:-1]) / 2) ** (d - 1)
    assert total_variation(example) == pytest.approx(
        float((np.abs(np.diff(density)) * surface).sum()), rel=2e-3
    )
    assert total_variation(example) >= d / 3


def test_no_ball_holds_more_than_the_bound_and_one_holds_nearly_as_much() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400_000, 3))
    # Uniform in the ball of radius 3.
    x *= 3 * random.uniform(size=(len(x), 1)) ** (1 / 3) / np.linalg.norm(x, axis=1, keepdims=True)
    cell = volume(3) * 27 / len(x)
    weight = (
        np.array(
            [
                (p0 + p1) / 2
                for p0, _, p1 in (densities(SMALL, r) for r in np.linalg.norm(x, axis=1))
            ]
        )
        * cell
    )
    centers = [np.array([t, 0, 0]) for t in np.linspace(0, 3, 13)]
    held = [weight[np.linalg.norm(x - center, axis=1) < SMALL.radius].sum() for center in centers]
    bound = math.exp(log_ball_probability_bound(SMALL))
    assert max(held) <= bound
    real = counterexample(0.1, 0.01, 0.5)
    round_origin = math.log((real.lambda_1 + real.lambda_2) / 2) + 35 * math.log(0.5)
    assert 0 < log_ball_probability_bound(real) - round_origin < 1e-3


SMALL_LINE = Counterexample(1.0, 0.4, 0.5, 1, math.log(0.2), math.log(0.1))
FAILURES = {
    "the model is right in the ball": (
        Counterexample(0.1, 0.01, 0.5, 35, math.log(0.007), math.log(1e-8)),
        {2, 3, 7},
    ),
    "the Bayes rule is wrong in the ball": (
        Counterexample(0.1, 0.01, 0.5, 35, math.log(1e-3), math.log(1e-2)),
        {2, 3, 7},
    ),
    "on a line the annuli are no larger than a ball": (SMALL_LINE, {2, 3, 6, 7}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_line_that_does_not_hold_says_so(name: str) -> None:
    example, unmet = FAILURES[name]
    assert {line.number for line in conditions(example) if not line.holds} == unmet


@pytest.mark.parametrize(
    "dimension", [10**6, 10**9, 10**18, 10**300], ids=lambda d: f"1e{len(str(d)) - 1}"
)
def test_nothing_overflows_at_any_dimension(dimension: int) -> None:
    values = summary(counterexample(0.1, 0.01, 0.5, dimension))
    lines = values.pop("conditions")
    numbers = [value for value in values.values() if isinstance(value, float)] + [
        line["value"] for line in lines
    ]
    assert all(math.isfinite(number) for number in numbers)
    assert [line["number"] for line in lines if not line["holds"]] == [7]
    assert json.loads(json.dumps(values))["dimension"] == dimension


def test_the_dimension_grows_as_one_over_the_radius_and_with_the_logarithm_of_the_rest() -> None:
    assert smallest_dimension(0.1, 0.01, 1e-8) / smallest_dimension(
        0.1, 0.01, 1e-4
    ) == pytest.approx(1e4, rel=1e-3)
    assert smallest_dimension(0.1, 1e-12, 0.5) < 6 * smallest_dimension(0.1, 1e-2, 0.5)
    assert smallest_dimension(0.1, 0.01, 1e-8) > 1e9


def test_eq_19_alone_would_admit_a_weight_above_one() -> None:
    """Condition 3 is needed if d log(1 + radius) is tiny: eq. (19) then allows weights above 1."""
    epsilon, delta, radius = 0.1, 0.01, 1e-6
    assert (99**2) / (1 + radius) < epsilon / math.log(1 + radius)
    low, high = log_lambda_1_range(epsilon, delta, math.log1p(radius))
    assert low > high


BAD = {
    "radius of one": ((0.1, 0.01, 1.0), "radius is 1, expected a number between 0 and 1"),
    "no radius": ((0.1, 0.01, 0.0), "radius is 0"),
    "radius is no number": ((0.1, 0.01, math.nan), "radius is nan"),
    "radius too small for any dimension": ((0.1, 0.01, 1e-305), r"more than 2\*\*1000 dimensions"),
    "epsilon of zero": ((0.0, 0.01, 0.5), "epsilon is 0, expected a positive number"),
    "infinite epsilon": ((math.inf, 0.01, 0.5), "epsilon is inf"),
    "delta of a half": ((0.1, 0.5, 0.5), "delta is 0.5, expected a number between 0 and 0.5"),
    "negative delta": ((0.1, -0.01, 0.5), "delta is -0.01"),
    "dimension too small": ((0.1, 0.01, 0.5, 34), "dimension 34 is too small .* give 35 or more"),
    "dimension too large": ((0.1, 0.01, 0.5, 2**1001), "is too large .* at most"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_with_a_way_out(name: str) -> None:
    arguments, message = BAD[name]
    with pytest.raises(CondgenError, match=message):
        counterexample(*arguments)
