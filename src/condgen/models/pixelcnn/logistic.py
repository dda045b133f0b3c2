r"""The discretized logistic distribution of quantized pixels.

The probability of a level is the mass of its cell, and the cells at both ends reach to infinity:

.. math::

    P(x) = \sigma\!\left(\tfrac{x + h - \mu}{s}\right) - \sigma\!\left(\tfrac{x - h - \mu}{s}\right)

with pixels x in [-1, 1] and half a level :math:`h = 1 / (L - 1)`.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

LARGEST_LOG_SCALE = 20.0  # a wider logistic is uniform in float32
SMALLEST_UNIFORM = 1e-7  # uniform random numbers stay away from 0 and 1


def log_prob(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    r"""Log-probability of each pixel, in nats.

    The mass of a cell from b to a is computed in logarithms,
    :math:`\log \sigma(a) + \log \sigma(-b) + \log(1 - e^{b - a})`, so that it neither underflows
    nor needs the reference's density as a fallback, and the levels sum to 1.

    Between levels the result is a relaxation with a continuous derivative: the terms that differ at
    the lowest and highest level fade in within one level of them.

    Args:
        x: Pixels in [-1, 1].
        mean: :math:`\mu`, broadcast with ``x``.
        log_scale: :math:`\log s`.
        levels: Number L of levels, 2 or more.

    Examples:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 5, dtype=torch.float64)
        >>> log_prob(x, torch.tensor(0.3), torch.tensor(-1.0), levels=5).exp().sum()
        tensor(1.0000, dtype=torch.float64)
    """
    half = 1 / (levels - 1)
    precision = (-log_scale.clamp(max=LARGEST_LOG_SCALE)).exp()
    lower_share = _fade((x + 1) / (2 * half))
    upper_share = _fade((1 - x) / (2 * half))
    centered = x - mean
    return (
        upper_share * logsigmoid(precision * (centered + half))
        + lower_share * logsigmoid(-precision * (centered - half))
        + lower_share * upper_share * (-(-2 * half * precision).expm1()).log()
    )


def _fade(distance: Tensor) -> Tensor:
    """From 0 at an end to 1 at a distance of one level or more, where its slope is 0."""
    near = distance.clamp(max=1)
    return near * (2 - near)


def draw(
    uniform: Tensor, mean: Tensor, log_scale: Tensor, levels: int, temperature: float = 1.0
) -> Tensor:
    """Map uniform random numbers in [0, 1] to levels, as pixels in [-1, 1].

    The scales are multiplied by ``temperature``.
    """
    uniform = uniform.clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM)
    return quantized(mean + temperature * log_scale.exp() * uniform.logit(), levels)


def quantized(x: Tensor, levels: int) -> Tensor:
    """Round pixels in [-1, 1] to ``levels`` values."""
    half = 1 / (levels - 1)
    return ((x.clamp(-1, 1) + 1) / (2 * half)).round() * (2 * half) - 1
