"""The densities p and q of Section 2, with exact samples, and the attack of Fig. 2."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.theory.counterexample import INNER, OUTER, Counterexample
from condgen.theory.volumes import log_ball_volume, log_one_minus_exp, log_power_gap
from condgen.validation import check_labels

EMPTY = 1000.0  # nats between a region without density and the least dense region


class Annuli(ClassConditionalDensity):
    r"""Uniform mixtures on annuli, :math:`p(x \mid y) = \sum_k w_{yk}\, U(a_k, b_k)`.

    The annuli are centered at the origin. Densities are exact up to rounding, with one exception:
    where a class has no density, its logarithm is not minus infinity. It is at least 1000 nats
    below every other value and below the uniform density on ``bounds``. This adds a mass of less
    than e^-1000, and posterior and log p(x) stay finite everywhere.

    The density is constant between its edges, so its gradient is zero. An ``edge_width`` does not
    change the values, but the gradient is that of edges which fade over this width (a
    straight-through estimate), so a gradient-based attack has a slope to follow.
    :func:`condgen.testing.check_density` then correctly reports a different gradient.

    Args:
        dims: d, the dimension of an image; ``event_shape`` is ``(d,)``.
        annuli: Inner and outer radius of each component, K pairs.
        log_weight: Logarithm of each component's weight in each class, shape ``(C, K)``, float64.
        edge_width: Scale over which an edge fades in the backward pass. Default: edges have no
            slope.

    Raises:
        CondgenError: If the edge width is not positive.

    Examples:
        >>> ring = Annuli(2, [(0, 1), (2, 3)], torch.eye(2, dtype=torch.float64).log())
        >>> log_prob = ring.class_log_prob(torch.tensor([[0.5, 0.0], [0.0, 2.5]]))
        >>> log_prob.exp().mul(math.pi).round(decimals=4)
        tensor([[1.0000, 0.0000],
                [0.0000, 0.2000]], dtype=torch.float64)

    References:
        Eqs. (2) and (3).
    """

    pixel_levels = None
    log_weight: Tensor
    log_density: Tensor
    inner: Tensor
    outer: Tensor

    def __init__(
        self,
        dims: int,
        annuli: list[tuple[float, float]],
        log_weight: Tensor,
        edge_width: float | None = None,
    ) -> None:
        super().__init__()
        if edge_width is not None and not 0 < edge_width < math.inf:
            raise CondgenError(
                f"edge_width is {edge_width}, expected a positive length such as 0.1, or None."
            )
        self.num_classes, self.event_shape, self.edge_width = len(log_weight), (dims,), edge_width
        widest = max(outer for _, outer in annuli)
        self.bounds = (-widest, widest)
        volumes = [
            log_ball_volume(dims) + log_power_gap(inner, outer, dims) for inner, outer in annuli
        ]
        inner, outer = torch.tensor(annuli, dtype=torch.float64).T
        self.register_buffer("inner", inner)
        self.register_buffer("outer", outer)
        self.register_buffer("log_density", -torch.tensor(volumes, dtype=torch.float64))
        self.register_buffer("log_weight", log_weight)
        present = log_weight + self.log_density
        self.empty = (
            min(present[present.isfinite()].min().item(), -dims * math.log(2 * widest)) - EMPTY
        )

    def class_log_prob(self, x: Tensor) -> Tensor:
        """Nats, shape ``(N, C)``, in the module's precision: float64 unless it was converted."""
        radius = torch.linalg.vector_norm(x.to(self.outer.dtype), dim=1, keepdim=True)
        inside = (radius >= self.inner) & (radius <= self.outer)
        exact = torch.logaddexp(
            self._mixed(inside.to(radius.dtype).log()), radius.new_tensor(self.empty)
        )
        slope = (
            0 * radius
            if self.edge_width is None
            else self._mixed(self._faded(radius, self.edge_width))
        )
        return exact.detach() + (slope - slope.detach())

    def _mixed(self, log_inside: Tensor) -> Tensor:
        """Log-density of the mixture, shape ``(N, C)``.

        ``log_inside`` is the logarithm of each component's indicator, shape ``(N, K)``.
        """
        return torch.logsumexp(self.log_weight + (self.log_density + log_inside)[:, None], -1)

    def _faded(self, radius: Tensor, width: float) -> Tensor:
        """Logarithm of each component's indicator with fading edges; a ball has no inner edge."""
        inner = self.inner.masked_fill(self.inner == 0, -math.inf)
        return logsigmoid((self.outer - radius) / width) + logsigmoid((radius - inner) / width)

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Draw one exact sample for each label, shape ``(N, d)``.

        Draws a component, a direction, and a radius by its inverse distribution function.

        Raises:
            CondgenError: If the temperature is not 1; a uniform distribution has none.
        """
        check_labels(label, self.num_classes)
        if temperature != 1:
            raise CondgenError(
                f"temperature is {temperature}; samples of annuli are exact, leave it at 1."
            )
        part = torch.multinomial(self.log_weight.exp()[label], 1, generator=generator)
        inner, outer = self.inner[part], self.outer[part]
        uniform = torch.rand(part.shape, generator=generator, dtype=self.outer.dtype)
        of_outer = uniform + (1 - uniform) * (self.dims * (inner / outer).log()).exp()
        radius = outer * (of_outer.log() / self.dims).exp()
        direction = torch.randn(len(label), self.dims, generator=generator, dtype=self.outer.dtype)
        x: Tensor = radius * direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        return x


def data_density(example: Counterexample) -> Annuli:
    """p(x|y) of eq. (2): the data distribution.

    >>> from condgen.theory import counterexample
    >>> data_density(counterexample(0.1, 0.01, 0.5)).event_shape
    (35,)
    """
    in_ball = torch.tensor([example.log_lambda_1, example.log_lambda_2], dtype=torch.float64)
    log_weight = torch.full((2, 3), -math.inf, dtype=torch.float64)
    log_weight[:, 0] = in_ball
    log_weight[0, 1], log_weight[1, 2] = map(log_one_minus_exp, in_ball.tolist())
    return Annuli(example.dimension, [(0, 1), (1, 1 + example.radius), (INNER, OUTER)], log_weight)


def model_density(example: Counterexample, edge_width: float | None = None) -> Annuli:
    """q(x|y) of eq. (3): a near-perfect model of the data. ``edge_width`` as in :class:`Annuli`."""
    log_weight = torch.full((2, 3), -math.inf, dtype=torch.float64)
    log_weight[0, 1] = 0.0
    log_weight[1, 0], log_weight[1, 2] = (
        example.log_lambda_2,
        log_one_minus_exp(example.log_lambda_2),
    )
    return Annuli(
        example.dimension, [(0, 1), (0, 1 + example.radius), (INNER, OUTER)], log_weight, edge_width
    )


def move_into_ball(x: Tensor, radius: float) -> Tensor:
    r"""The attack of Fig. 2: from the annulus (1, 1 + radius) straight into the unit ball.

    An image moves toward the origin, to the distance :math:`1 - (1 + \Delta - \|x\|) / 2` from it:
    inside the ball, over less than ``radius``. Images elsewhere do not change.

    Args:
        x: Images, shape ``(N, d)``.
        radius: :math:`\Delta`.

    Examples:
        >>> move_into_ball(torch.tensor([[1.25, 0.0], [2.5, 0.0]]), radius=0.5)
        tensor([[0.8750, 0.0000],
                [2.5000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    moved = x / norm * (1 - (1 + radius - norm) / 2)
    return torch.where((norm > 1) & (norm < 1 + radius), moved, x)
