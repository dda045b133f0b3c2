"""Bijections: invertible maps that know the log-determinant of their Jacobian."""

import abc
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from condgen.density import own_precision
from condgen.errors import ConfigError

Map = Callable[[Tensor], tuple[Tensor, Tensor]]


def channels_first(x: Tensor) -> Tensor:
    """``(C, H, W, N)`` from ``(N, C, H, W)``, a view; whole where :func:`images_first` made ``x``, as every step here does.

    With the images innermost in memory, a channel is one long run: neighbours of all pixels are copied, channels joined and
    mixed, without a stride. Shapes stay ``(N, C, H, W)`` for all who look from outside.
    """
    return x.permute(1, 2, 3, 0)


def images_first(channels: Tensor) -> Tensor:
    """``(N, C, H, W)`` from ``(C, H, W, N)``, a view."""
    return channels.permute(3, 0, 1, 2)


class Bijection(nn.Module, abc.ABC):
    r"""An invertible :math:`z = f(x)` on batches, with :math:`\log |\det \partial z / \partial x|` per example.

    A subclass writes two methods; :math:`\log p(x) = \log p(f(x)) + \log |\det \partial f / \partial x|` (A.1).
    """

    @abc.abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``z`` of shape ``(N, ...)`` and ``log |det dz/dx|`` in nats, shape ``(N,)``."""

    @abc.abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` of shape ``(N, ...)`` and ``log |det dx/dz|`` in nats, shape ``(N,)``."""

    def precompute(self) -> Map:
        """:meth:`forward` with what depends on the parameters alone worked out, once for many calls that record no graph.

        The log-determinant may be one number for all examples. A subclass that can save work overrides it.
        """
        return self.forward

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """``x`` from ``z``, in one or more groups of channels ``(C, H, W, N)``, and ``forward(x)`` as a graph from there.

        This is what a backward pass without stored activations needs; a subclass that can share work overrides it.
        """
        with torch.no_grad():
            x = channels_first(self.inverse(z)[0])
        x.requires_grad_()
        with torch.enable_grad():
            return (x,), *self(images_first(x))


class Compose(Bijection):
    """Bijections one after the other, the first given first.

    Args:
        bijections: The steps.
        constant_memory: Store no activations for the backward pass but recompute them from the output through the
            inverses. Memory then does not grow with the number of steps; a second derivative is not available.

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
            found: tuple[Tensor, Tensor] = _Recomputed.apply(x, self, *self.parameters())
            return found
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
    """All maps, and the sum of their log-determinants."""
    total = x.new_zeros(len(x))
    for each in maps:
        x, log_det = each(x)
        total = total + log_det
    return x, total


class _Recomputed(torch.autograd.Function):
    """The steps of a :class:`Compose`, keeping only their common output for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, composed: Compose, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        z, log_det = one_after_the_other(composed.steps, x)
        ctx.composed = composed
        ctx.save_for_backward(z, *parameters)  # so that weights changed in between are an error
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_z: Tensor, to_log_det: Tensor) -> tuple[Tensor | None, ...]:
        z, *parameters = ctx.saved_tensors
        to_parameters = _slots([parameter for parameter in parameters if parameter.requires_grad])
        for step in reversed(ctx.composed.steps):
            own = [parameter for parameter in step.parameters() if parameter.requires_grad]
            with own_precision(z.device):
                x, again, log_det = step.reconstruct(z.detach())
                # a step's log-determinant may depend on its parameters alone, or (in Squeeze) on nothing
                outputs = [
                    (output, to)
                    for output, to in ((again, to_z), (log_det, to_log_det))
                    if output.requires_grad
                ]
                graph, incoming = zip(*outputs, strict=True)
                gradients = torch.autograd.grad(graph, [*x, *own], incoming)
            to_z, z = (images_first(torch.cat(groups)) for groups in (gradients[: len(x)], x))
            for parameter, gradient in zip(own, gradients[len(x) :], strict=True):
                to_parameters[parameter].copy_(gradient)
        return to_z, None, *(to_parameters.get(parameter) for parameter in parameters)


def _slots(parameters: list[Tensor]) -> dict[Tensor, Tensor]:
    """A place for each parameter's gradient, all in one piece.

    Small ones kept between large ones that come and go would leave memory in holes, more of them the deeper the model.
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
    """Trades space for channels: ``(N, C, H, W)`` to ``(N, 4 C, H / 2, W / 2)``; each 2x2 block becomes four channels.

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
    """Levels of blocks; at the end of each but the last, half of the channels leave and the rest is squeezed.

    The squeeze stands at the *end* of a level (appendix B), which the doubled channels make possible. All of ``z``
    comes back in one vector, shallow levels first, so that decoding resamples nothing.

    Args:
        levels: One bijection per level, each keeping the shape of its input.
        event_shape: Shape ``(C, H, W)`` at the first level; ``C`` even, ``H`` and ``W`` divisible by ``2^(levels - 1)``.

    Raises:
        ConfigError: If they are not.
    """

    def __init__(self, levels: Iterable[Bijection], event_shape: tuple[int, int, int]):
        super().__init__()
        self.levels = cast(Sequence[Bijection], nn.ModuleList(levels))
        check_levels(event_shape, len(self.levels))
        if len(self.levels) > 1 and event_shape[0] % 2:
            raise ConfigError(
                f"half of the channels leave a level and there are {event_shape[0]}; use {event_shape[0] + 1}."
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


def check_levels(event_shape: tuple[int, int, int], levels: int) -> None:
    """Refuse an image that cannot be halved ``levels - 1`` times.

    Raises:
        ConfigError: Naming the levels that its size allows, and the nearest size that allows as many.
    """
    _, height, width = event_shape
    possible = 1
    while height % (1 << possible) == 0 and width % (1 << possible) == 0:
        possible += 1
    if levels < 1:
        raise ConfigError(f"a flow of {levels} levels maps nothing; use 1 to {possible} levels.")
    if levels > possible:
        step = 1 << (levels - 1)
        padded = "x".join(str(-(-size // step) * step) for size in (height, width))
        raise ConfigError(
            f"images of {height}x{width} cannot be halved for {levels} levels; use 1 to {possible} levels or images of"
            f" {padded}."
        )
