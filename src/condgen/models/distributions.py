"""One-dimensional location-scale families: the density around the mean of a class (C.1)."""

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
        log_prob: Log-density of each number, in nats.
        draw: Random numbers of a given shape.
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
    """Equal mixture of a Gaussian and ``heavy``, with the same location and scale."""

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
    r""":math:`\log p(z \mid k)` of each vector under each class, in nats, shape ``(N, C)``.

    For a Gaussian it is a quadratic form, :math:`\sum z^2 w - 2 \sum z \mu w + \sum \mu^2 w`. Two
    matrix products compute it without an array of shape ``(N, C, dims)``. Centering at the mean of
    all classes keeps its terms small, which limits cancellation.

    Args:
        family: Density around the mean of a class.
        z: Shape ``(N, dims)``.
        mean, log_scale: Of each class, shape ``(C, dims)``.
    """
    if family != GAUSSIAN:  # by value: a copied model has a copy of the family
        return log_prob(family, z[:, None], mean, log_scale)
    center = mean.detach().mean(0)
    z, mean, weight = z - center, mean - center, (-2 * log_scale).exp()
    squares = z.square() @ weight.T - 2 * (z @ (mean * weight).T) + (mean.square() * weight).sum(-1)
    return -0.5 * squares - (log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)


def log_prob(family: Family, z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Sum over the last dimension of independent log-densities of one family, in nats."""
    return family.log_prob((z - mean) * (-log_scale).exp()).sum(-1) - log_scale.sum(-1)
