"""Convolutions with weight normalization that see no later pixel."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

from condgen.models.first_batch import SMALLEST_STD, InitializedByData, std_mean

Padding = tuple[int, int, int, int]  # left, right, top, bottom
NONE: Padding = (0, 0, 0, 0)


class Convolution(InitializedByData):
    r"""A convolution with weights :math:`g\,v / \lVert v \rVert` per output channel.

    The first batch in training mode initializes the gain g and the bias, so that each output
    channel has zero mean and standard deviation ``scale``.

    Args:
        channels_in: Of the input, ``(N, channels_in, H, W)``.
        channels_out: Of the output.
        kernel: Height and width of the kernel.
        padding: Zeros left, right, above and below.
        stride: Step between outputs.
        scale: Standard deviation of the output after initialization.

    References:
        Salimans & Kingma, Weight normalization, 2016.

    Examples:
        >>> out = Convolution(3, 4, (2, 3), padding=(1, 1, 1, 0))(torch.randn(8, 3, 6, 6))
        >>> out.shape, bool(out.mean().abs() < 1e-5)
        (torch.Size([8, 4, 6, 6]), True)
    """

    outputs_dim = 0  # dimension of the weights that counts output channels

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, int],
        padding: Padding = NONE,
        stride: int = 1,
        scale: float = 1.0,
    ):
        super().__init__()
        self.padding, self.stride, self.scale = padding, stride, scale
        self.precision: torch.dtype | None = None  # of the products in training mode
        shape = self._shape(channels_in, channels_out)
        self.direction = nn.Parameter(0.05 * torch.randn(*shape, *kernel))
        self.gain = nn.Parameter(torch.ones(channels_out))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def _shape(self, channels_in: int, channels_out: int) -> tuple[int, int]:
        return channels_out, channels_in

    def weight(self) -> Tensor:
        """The normalized weights, in the shape that the convolution expects."""
        over = [dim for dim in range(4) if dim != self.outputs_dim]
        norm = self.direction.square().sum(over, keepdim=True).sqrt()
        return self.direction * (self.gain.view_as(norm) / norm)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.settled:
            self.settle(x)
        precision = self.products_in(x)
        return self.convolve(*(each.to(precision) for each in (x, self.weight(), self.bias)))

    def products_in(self, x: Tensor) -> torch.dtype:
        """Precision of the products with ``x``."""
        return (self.precision if self.training else None) or x.dtype

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve the padded input."""
        weight = weight.contiguous(memory_format=torch.channels_last)
        return conv2d(pad(x, self.padding), weight, bias, self.stride)

    def set_from(self, x: Tensor) -> list[nn.Parameter]:
        self.gain.fill_(1.0)
        self.bias.zero_()
        out = self.convolve(x.to(self.direction), self.weight(), self.bias)
        std, mean = std_mean(out)
        self.gain.copy_(self.scale / std.clamp_min(SMALLEST_STD))
        self.bias.copy_(-mean * self.gain)
        return [self.gain, self.bias]


class Upsampling(Convolution):
    """A transposed convolution with stride 2 whose output has twice the height and width.

    Args:
        channels: Of input and output.
        kernel: ``(2, 3)`` for the vertical stream or ``(2, 2)`` for the horizontal one.
    """

    outputs_dim = 1

    def __init__(self, channels: int, kernel: tuple[int, int]):
        super().__init__(channels, channels, kernel, stride=2)

    def _shape(self, channels_in: int, channels_out: int) -> tuple[int, int]:
        return channels_in, channels_out

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = conv_transpose2d(x, weight, bias, stride=2)
        margin = (weight.shape[-1] - 1) // 2
        return out[..., margin : margin + 2 * x.shape[-1]]


def above(channels_in: int, channels_out: int, stride: int = 1, scale: float = 1.0) -> Convolution:
    """2x3 convolution that sees this row and the one above: "down-shifted"."""
    return Convolution(channels_in, channels_out, (2, 3), (1, 1, 1, 0), stride, scale)


def above_and_left(
    channels_in: int, channels_out: int, stride: int = 1, scale: float = 1.0
) -> Convolution:
    """2x2 convolution that sees this pixel and those above and left: "down-right-shifted"."""
    return Convolution(channels_in, channels_out, (2, 2), (1, 0, 1, 0), stride, scale)


def shift_down(x: Tensor) -> Tensor:
    """Move each row down by one; the first row becomes zero."""
    return pad(x, (0, 0, 1, -1))


def shift_right(x: Tensor) -> Tensor:
    """Move each column right by one; the first column becomes zero."""
    return pad(x, (1, -1))
