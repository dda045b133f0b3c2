"""Location-scale families in one dimension: what stands around the mean of a class (C.1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]


@dataclass(frozen=True)
class Family:
    """A density with location 0 and scale 1.

    Args:
        log_prob: Nats of each number.
        draw: Numbers of the shape asked for.
    """

    log_prob: Callable[[Tensor], Tensor]
    draw: Draw


def _gaussian(u: Tensor) -> Tensor:
    return -0.5 * u.square() - 0.5 * math.log(2 * math.pi)


def _laplace(u: Tensor) -> Tensor:
    return -u.abs() - math.log(2)


def _cauchy(u: Tensor) -> Tensor:
    return -torch.log1p(u.square()) - math.log(math.pi)


def _draw_gaussian(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _draw_laplace(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    sign = torch.rand(shape, generator=generator) - 0.5
    return sign.sign() * torch.empty(shape).exponential_(generator=generator)


def _draw_cauchy(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.empty(shape).cauchy_(generator=generator)


def _mixed(heavy: Family) -> Family:
    """Half Gaussian, half ``heavy``, with the same location and scale."""

    def log_prob(u: Tensor) -> Tensor:
        return torch.logaddexp(_gaussian(u), heavy.log_prob(u)) - math.log(2)

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        first, second = _draw_gaussian(shape, generator), heavy.draw(shape, generator)
        return torch.where(torch.rand(shape, generator=generator) < 0.5, first, second)

    return Family(log_prob, draw)


GAUSSIAN = Family(_gaussian, _draw_gaussian)
LAPLACE = Family(_laplace, _draw_laplace)
CAUCHY = Family(_cauchy, _draw_cauchy)
FAMILIES = {
    "gaussian": GAUSSIAN,
    "laplace": LAPLACE,
    "cauchy": CAUCHY,
    "gaussian-laplace": _mixed(LAPLACE),
    "gaussian-cauchy": _mixed(CAUCHY),
}


def class_log_prob(family: Family, z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    r""":math:`\log p(z \mid k)` of every vector under every class, in nats, shape ``(N, C)``.

    A Gaussian's is a quadratic form, :math:`\sum z^2 w - 2 \sum z \mu w + \sum \mu^2 w`: two products of matrices, without
    an array of images, classes and dimensions. Around the mean of all classes its terms are small, so that little is
    lost by cancellation.

    Args:
        family: What stands around the mean of a class.
        z: Shape ``(N, dims)``.
        mean, log_scale: Of each class, shape ``(C, dims)``.
    """
    if family != GAUSSIAN:  # a copied model has a copy of it
        return log_prob(family, z[:, None], mean, log_scale)
    center = mean.detach().mean(0)
    z, mean, weight = z - center, mean - center, (-2 * log_scale).exp()
    squares = z.square() @ weight.T - 2 * (z @ (mean * weight).T) + (mean.square() * weight).sum(-1)
    return -0.5 * squares - (log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)


def log_prob(family: Family, z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Sum over the last dimension of independent log-densities of one family, in nats."""
    return family.log_prob((z - mean) * (-log_scale).exp()).sum(-1) - log_scale.sum(-1)
