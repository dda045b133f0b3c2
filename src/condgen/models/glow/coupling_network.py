"""The network of a coupling layer; on a CPU it takes the path in ``blocked.py``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from condgen.errors import ConfigError
from condgen.models.glow.blocked import Blocked, matrices_of, through
from condgen.models.glow.products import repeat_for_split, split_precision

BLOCKED_ON: tuple[str, ...] = ("cpu",)  # types of device that use the blocked path
GAIN = 3.0  # factor of Glow: a zero-initialized output reaches the scale of the data faster


@contextmanager
def path_of(device: str) -> Iterator[None]:
    """Use on the CPU the code path of another type of device, to count its operations."""
    global BLOCKED_ON
    usual = BLOCKED_ON
    BLOCKED_ON = usual if device in usual else ()
    try:
        yield
    finally:
        BLOCKED_ON = usual


class CouplingNetwork(nn.Module):
    r"""3x3, 1x1 and 3x3 convolutions with ReLU, times a learned gain :math:`e^{3 g}` per channel.

    The last convolution is initialized to zero, so that a coupling starts near the identity. There
    is no batch normalization, because the inverse would differ from the forward pass.

    Args:
        channels_in: Of the input, ``(N, channels_in, H, W)``.
        channels_out: Of the output, ``(N, channels_out, H, W)``.
        width: Hidden channels.
        precision: Of the products in training mode. ``torch.bfloat16`` is faster on a CPU with AMX
            or AVX-512 BF16. Output, weights and sums over blocks of pixels stay in float32; the
            input nearly does (:func:`split_precision`). Evaluation mode uses the precision of the
            input, because the inverse would not be exact with rounded products.

    Raises:
        ConfigError: If the width is not positive.
    """

    def __init__(
        self, channels_in: int, channels_out: int, width: int, precision: torch.dtype | None = None
    ):
        super().__init__()
        if width < 1:
            raise ConfigError(
                f"a coupling network of width {width} has no hidden channels; use a width of 1 or"
                " more."
            )
        self.precision = precision
        self.first = nn.Conv2d(channels_in, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, channels_out, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.log_gain = nn.Parameter(torch.zeros(channels_out, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(N, channels_out, H, W)``."""
        parameters = self._convolved
        precision = self.precision if self.training else None
        if x.device.type in BLOCKED_ON:
            keep = torch.is_grad_enabled() and self.middle.weight.requires_grad
            out: Tensor = Blocked.apply(x, *parameters, precision or x.dtype, keep)
        else:
            precision = precision or x.dtype
            first = repeat_for_split(parameters[0], precision)
            seen = torch.cat(split_precision(x, precision), 1)
            tensors = (seen, first, *parameters[1:])
            out = convolutions(*(_channels_last(tensor, precision) for tensor in tensors))
            out = out.to(x.dtype)
        return out * (GAIN * self.log_gain).exp()

    def precompute(self) -> Callable[[Tensor], Tensor]:
        """Return :meth:`forward` for the current weights, for many calls without gradients."""
        if self.log_gain.device.type not in BLOCKED_ON:
            return self.forward
        gain = (GAIN * self.log_gain).exp()
        w1, b1, w2, b2, w3, b3 = self._convolved
        precision = (self.precision if self.training else None) or gain.dtype
        matrices = matrices_of(w1, b1, w2, b2, w3 * gain[:, None], precision)
        bias = b3[:, None, None] * gain
        return lambda x: through(x, matrices, keep=False)[0] + bias

    @property
    def _convolved(self) -> list[Tensor]:
        first, middle, last = self.first, self.middle, self.last
        return cast(
            list[Tensor],
            [first.weight, first.bias, middle.weight, middle.bias, last.weight, last.bias],
        )


def _channels_last(tensor: Tensor, precision: torch.dtype) -> Tensor:
    """Convert to the memory format of the fastest GPU convolutions; biases have none."""
    return tensor.to(
        precision, memory_format=torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    )


def convolutions(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor
) -> Tensor:
    """The same function as three library calls: for other devices, and as reference in tests."""
    hidden = relu(conv2d(x, w1, b1, padding=1))
    return conv2d(relu(conv2d(hidden, w2, b2)), w3, b3, padding=1)
