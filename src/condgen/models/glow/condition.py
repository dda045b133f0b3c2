"""Estimate of the condition number of a flow's Jacobian."""

from collections.abc import Callable

import torch
from torch import Tensor

ITERATIONS = 8
STEP = 3e-3  # length of the steps of central differences

Map = Callable[[Tensor], tuple[Tensor, Tensor]]


def log_condition(
    forward: Map, inverse: Map, v: Tensor, generator: torch.Generator, iterations: int = ITERATIONS
) -> Tensor:
    """Log of the condition number of a flow's Jacobian at each ``v``, shape ``(N,)``.

    The condition number is the largest singular value of the flow times that of its inverse. Both
    are estimated by power iteration, which approaches them from below. Infinite if a number
    overflows; in float32, values beyond 16 nats are rounding errors.

    Args:
        forward: The flow; returns z and the log-determinant.
        inverse: Its inverse.
        v: Where, shape ``(N, ...)``.
        generator: Random generator of the first directions.
        iterations: Steps of each power iteration.
    """
    with torch.no_grad():
        z, _ = forward(v)
    largest = log_largest(forward, v, generator, iterations)
    found = largest + log_largest(inverse, z, generator, iterations)
    return found.nan_to_num(nan=torch.inf)


def log_largest(f: Map, x: Tensor, generator: torch.Generator, iterations: int) -> Tensor:
    """Log of the largest singular value of the Jacobian of ``f`` at each ``x``, shape ``(N,)``."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y, _ = f(x)
    step = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    for _ in range(iterations):
        step = STEP * step / lengths(step)
        with torch.no_grad():
            change = (f(x + step)[0] - f(x - step)[0]) / (2 * STEP)
        (step,) = torch.autograd.grad(y, x, change / lengths(change), retain_graph=True)
    return lengths(step).flatten().log()


def lengths(x: Tensor) -> Tensor:
    """The Euclidean length of each example, shaped to divide ``x``."""
    length: Tensor = x.flatten(1).norm(dim=1)
    return length.view(-1, *[1] * (x.dim() - 1))
