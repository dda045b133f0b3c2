"""Log volumes and surfaces of balls and annuli; in high dimensions only logarithms fit a float."""

import math


def log_ball_volume(dimension: int) -> float:
    r"""Volume of the unit ball, :math:`\log c_d = \frac d2 \log \pi - \log \Gamma(\frac d2 + 1)`.

    >>> round(math.exp(log_ball_volume(3)), 6) == round(4 / 3 * math.pi, 6)
    True
    """
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)


def log_power_gap(inner: float, outer: float, dimension: int) -> float:
    r""":math:`\log(b^d - a^d)` for :math:`0 \le a < b`: volume of an annulus, in unit balls.

    >>> log_power_gap(2, 3, 10**6) == 10**6 * math.log(3)
    True
    """
    if inner == 0:
        return dimension * math.log(outer)
    return dimension * math.log(outer) + log_one_minus_exp(dimension * math.log(inner / outer))


def log_sphere_surface(dimension: int) -> float:
    r"""Surface of the unit sphere, :math:`\log (d\, c_d)`.

    >>> round(math.exp(log_sphere_surface(2)), 6) == round(2 * math.pi, 6)
    True
    """
    return math.log(dimension) + log_ball_volume(dimension)


def log_one_minus_exp(log_value: float) -> float:
    r""":math:`\log(1 - e^v)` for v < 0, accurate also if :math:`e^v` is close to 0 or 1."""
    return math.log1p(-math.exp(log_value)) if log_value < -1 else math.log(-math.expm1(log_value))


def log_add(first: float, second: float) -> float:
    r""":math:`\log(e^a + e^b)`.

    >>> log_add(-math.inf, -2.0)
    -2.0
    """
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
