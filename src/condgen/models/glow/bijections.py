"""Bijections: invertible maps with the log-determinant of their Jacobian."""

import abc
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from condgen.density import own_precision
from condgen.errors import ConfigError
from condgen.models.sizes import check_halving

Map = Callable[[Tensor], tuple[Tensor, Tensor]]


def channels_first(x: Tensor) -> Tensor:
    """View ``(N, C, H, W)`` as ``(C, H, W, N)``.

    The view is contiguous if ``x`` comes from :func:`images_first`, as in every step here. With the
    batch dimension innermost in memory, each channel is one contiguous block. Copies of
    neighbors, concatenation and mixing of channels then need no strided access. The public shape
    of all tensors is ``(N, C, H, W)``.
    """
    return x.permute(1, 2, 3, 0)


def images_first(channels: Tensor) -> Tensor:
    """View ``(C, H, W, N)`` as ``(N, C, H, W)``."""
    return channels.permute(3, 0, 1, 2)


class Bijection(nn.Module, abc.ABC):
    r"""An invertible :math:`z = f(x)` with :math:`\log |\det \partial z / \partial x|` per example.

    A subclass implements :meth:`forward` and :meth:`inverse`. Then
    :math:`\log p(x) = \log p(f(x)) + \log |\det \partial f / \partial x|` (A.1).

    Attributes:
        smallest_log_scale: Lower bound of log-scales in :meth:`inverse`, in nats.
    """

    smallest_log_scale: float = -math.inf

    @abc.abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``z`` of shape ``(N, ...)`` and ``log |det dz/dx|`` in nats, shape ``(N,)``."""

    @abc.abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` of shape ``(N, ...)`` and ``log |det dx/dz|`` in nats, shape ``(N,)``."""

    def bounded(self, log_scale: Tensor) -> Tensor:
        """Log-scales, at least :attr:`smallest_log_scale`."""
        if self.smallest_log_scale == -math.inf:
            return log_scale
        return log_scale.clamp_min(self.smallest_log_scale)

    def precompute(self) -> Map:
        """Return :meth:`forward` with all terms that depend only on the parameters precomputed.

        For many calls without gradients. The log-determinant may be one number for all examples. A
        subclass may override this to save work.
        """
        return self.forward

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Recompute ``x`` from ``z``, then ``forward(x)`` with gradients.

        For a backward pass without stored activations. A subclass may override this to share work.

        Returns:
            ``x`` as one or more groups of channels ``(C, H, W, N)``, and the two results of
            :meth:`forward`, whose graph starts at these groups.
        """
        with torch.no_grad():
            x = channels_first(self.inverse(z)[0])
        x.requires_grad_()
        with torch.enable_grad():
            return (x,), *self(images_first(x))


class Compose(Bijection):
    """Composition of bijections, applied in the given order.

    Args:
        bijections: The steps.
        constant_memory: Recompute activations in the backward pass from the output through the
            inverses, instead of storing them. Memory then does not grow with the number of steps.
            Second derivatives are not available.

    Examples:
        >>> z, log_det = Compose([Squeeze(), Squeeze()])(torch.rand(5, 1, 8, 8))
        >>> z.shape, log_det.shape
        (torch.Size([5, 16, 2, 2]), torch.Size([5]))
    """

    def __init__(self, bijections: Iterable[Bijection], constant_memory: bool = False):
        super().__init__()
        self.constant_memory = constant_memory
        self.steps = cast(Sequence[Bijection], nn.ModuleList(bijections))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.constant_memory and torch.is_grad_enabled():
            result: tuple[Tensor, Tensor] = _Recomputed.apply(x, self, *self.parameters())
            return result
        return one_after_the_other(self.steps, x)

    def precompute(self) -> Map:
        return partial(one_after_the_other, [step.precompute() for step in self.steps])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for bijection in reversed(self.steps):
            z, log_det = bijection.inverse(z)
            total = total + log_det
        return z, total


def one_after_the_other(maps: Iterable[Map], x: Tensor) -> tuple[Tensor, Tensor]:
    """Apply all maps in order and sum their log-determinants."""
    total = x.new_zeros(len(x))
    for each in maps:
        x, log_det = each(x)
        total = total + log_det
    return x, total


class _Recomputed(torch.autograd.Function):
    """The steps of a :class:`Compose`; only the final output is saved for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, composed: Compose, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        z, log_det = one_after_the_other(composed.steps, x)
        ctx.composed = composed
        ctx.save_for_backward(z, *parameters)  # saved parameters: detects in-place changes
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        z, *parameters = ctx.saved_tensors
        buffers = _gradient_buffers(
            [parameter for parameter in parameters if parameter.requires_grad]
        )
        for step in reversed(ctx.composed.steps):
            own = [parameter for parameter in step.parameters() if parameter.requires_grad]
            with own_precision(z.device):
                x, again, log_det = step.reconstruct(z.detach())
                # a log-determinant may depend only on parameters, or (Squeeze) on nothing
                outputs = [
                    (output, gradient)
                    for output, gradient in ((again, grad_z), (log_det, grad_log_det))
                    if output.requires_grad
                ]
                graph, incoming = zip(*outputs, strict=True)
                gradients = torch.autograd.grad(graph, [*x, *own], incoming)
            grad_z, z = (images_first(torch.cat(groups)) for groups in (gradients[: len(x)], x))
            for parameter, gradient in zip(own, gradients[len(x) :], strict=True):
                buffers[parameter].copy_(gradient)
        return grad_z, None, *(buffers.get(parameter) for parameter in parameters)


def _gradient_buffers(parameters: list[Tensor]) -> dict[Tensor, Tensor]:
    """A gradient buffer for each parameter, all in one allocation.

    Small gradients allocated between large temporary tensors would fragment the memory, more so in
    deeper models.
    """
    memory = (
        parameters[0].new_zeros(sum(parameter.numel() for parameter in parameters))
        if parameters
        else torch.empty(0)
    )
    pieces = memory.split([parameter.numel() for parameter in parameters])
    return {
        parameter: piece.view_as(parameter)
        for parameter, piece in zip(parameters, pieces, strict=True)
    }


class Squeeze(Bijection):
    """Space to channels: ``(N, C, H, W)`` to ``(N, 4 C, H / 2, W / 2)``.

    Each 2x2 block becomes four channels.

    References:
        Dinh et al., Density estimation using Real NVP, Sec. 3.6.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        number, channels, height, width = x.shape
        windows = (
            channels_first(x)
            .reshape(channels, height // 2, 2, width // 2, 2, number)
            .permute(0, 2, 4, 1, 3, 5)
        )
        return images_first(
            windows.reshape(4 * channels, height // 2, width // 2, number)
        ), x.new_zeros(number)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        number, channels, height, width = z.shape
        pixels = (
            channels_first(z)
            .reshape(channels // 4, 2, 2, height, width, number)
            .permute(0, 3, 1, 4, 2, 5)
        )
        return images_first(
            pixels.reshape(channels // 4, 2 * height, 2 * width, number)
        ), z.new_zeros(number)


class MultiScale(Bijection):
    """Multi-scale architecture: levels of bijections with a split and a squeeze in between.

    After each level but the last, half of the channels are factored out and the rest is squeezed.
    The squeeze is at the *end* of a level (appendix B), which is possible because the channels are
    doubled. All of ``z`` is one vector, shallow levels first, so decoding is deterministic.

    Args:
        levels: One bijection per level; each preserves the shape of its input.
        event_shape: Shape ``(C, H, W)`` at the first level; ``C`` even, ``H`` and ``W`` divisible
            by ``2^(levels - 1)``.

    Raises:
        ConfigError: If ``event_shape`` does not fit.
    """

    def __init__(self, levels: Iterable[Bijection], event_shape: tuple[int, int, int]):
        super().__init__()
        self.levels = cast(Sequence[Bijection], nn.ModuleList(levels))
        check_halving(event_shape, len(self.levels))
        if len(self.levels) > 1 and event_shape[0] % 2:
            raise ConfigError(
                f"levels split their channels in half, but there are {event_shape[0]}; use"
                f" {event_shape[0] + 1}."
            )
        self.shapes = level_shapes(event_shape, len(self.levels))
        self.squeeze = Squeeze()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._through(self.levels, x)

    def precompute(self) -> Map:
        return partial(self._through, [level.precompute() for level in self.levels])

    def _through(self, levels: Iterable[Map], x: Tensor) -> tuple[Tensor, Tensor]:
        parts: list[Tensor] = []
        total = x.new_zeros(len(x))
        for depth, level in enumerate(levels):
            if depth > 0:
                left, right = channels_first(x).chunk(2)
                parts.append(images_first(left).flatten(1))
                x, _ = self.squeeze(images_first(right))
            x, log_det = level(x)
            total = total + log_det
        return torch.cat([*parts, x.flatten(1)], dim=1), total

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        *parts, last = z.split(self._part_sizes(), dim=1)
        x, total = last.unflatten(1, self.shapes[-1]), z.new_zeros(len(z))
        for depth in reversed(range(len(self.levels))):
            x, log_det = self.levels[depth].inverse(x)
            total = total + log_det
            if depth > 0:
                x, _ = self.squeeze.inverse(x)
                channels, height, width = self.shapes[depth - 1]
                left = parts[depth - 1].unflatten(1, (channels // 2, height, width))
                x = images_first(torch.cat([channels_first(left), channels_first(x)]))
        return x, total

    def _part_sizes(self) -> list[int]:
        sizes = [channels * height * width for channels, height, width in self.shapes]
        return [size // 2 for size in sizes[:-1]] + sizes[-1:]


def level_shapes(event_shape: tuple[int, int, int], levels: int) -> list[tuple[int, int, int]]:
    """Shape of the blocks' input at each level of :class:`MultiScale`.

    >>> level_shapes((2, 32, 32), levels=4)
    [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]
    """
    channels, height, width = event_shape
    return [(channels << depth, height >> depth, width >> depth) for depth in range(levels)]
