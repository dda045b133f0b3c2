"""The network of a coupling layer, with a CPU path of matrix products on blocks that fit the cache.

A coupling network has wide hidden layers and thin inputs and outputs: 1 to 16 channels, with 128
hidden ones. A library call for a 3x3 convolution spends most of its time on memory traffic of the
hidden layers. Here each 3x3 convolution is a matrix product with the nine neighbours of a pixel on
its thin side, and each block of pixels passes all three layers before the next block starts. For
the backward pass of a training step the second hidden layer is saved and the first is recomputed.
If only the images require a gradient, as in attacks on many images, both are recomputed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, relu

from condgen import machine
from condgen.density import own_precision
from condgen.errors import ConfigError
from condgen.models.glow.bijections import channels_first, images_first

BLOCKED_ON: tuple[str, ...] = ("cpu",)  # types of device that use the blocked path
# size of one hidden layer of one block; on CPUs with AMX smaller blocks are dominated by overhead
BLOCK_BYTES = 1 << 22
SMALLEST_BLOCK = 2048  # pixels; fewer are not divided among threads

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
            input nearly does (:func:`_split_precision`). Evaluation mode uses the precision of the
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
            out: Tensor = _Blocked.apply(x, *parameters, precision or x.dtype, keep)
        else:
            precision = precision or x.dtype
            first = _repeat_for_split(parameters[0], precision)
            seen = torch.cat(_split_precision(x, precision), 1)
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
        matrices = _matrices(w1, b1, w2, b2, w3 * gain[:, None], precision)
        bias = b3[:, None, None] * gain
        return lambda x: _through(x, matrices, keep=False)[0] + bias

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


class _Blocked(torch.autograd.Function):
    """The three convolutions, one block of pixels at a time.

    Internally, thin tensors are ``(channels, H W N)`` and wide ones ``(pixels of a block, width)``.
    The input of the first layer ends in a row of ones and its weights end in the bias, so that one
    product gives the gradients of both.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        w3: Tensor,
        b3: Tensor,
        precision: torch.dtype,
        keep: bool,
    ) -> Tensor:
        matrices = _matrices(w1, b1, w2, b2, w3, precision)
        out, seen, kept = _through(x, matrices, keep)
        ctx.channels = x.shape[1]
        ctx.save_for_backward(seen, *matrices, *kept)
        return out + b3[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, w1_and_b1, w2, b2, w3, *kept = ctx.saved_tensors
        w1 = w1_and_b1[:, : 9 * ctx.channels]
        columns = seen if kept else _neighbours(seen, w1.dtype, ones=1)
        grad_out = channels_first(gradient)
        out_columns = _neighbours(grad_out, w1.dtype)
        grad_columns = _thin(w1.shape[1], columns.shape[1], columns)
        trained = any(ctx.needs_input_grad[1:7])  # False in attacks: only x requires a gradient
        blocks = _blocks(columns, len(w1))

        def fill(number: int) -> tuple[Tensor, ...]:
            of_columns, of_out = columns[:, blocks[number]], out_columns[:, blocks[number]]
            first = _linear_relu(of_columns.t(), w1_and_b1)
            second = kept[number] if kept else _linear_relu(first, w2, b2)
            grad_second = _where_positive(_product(of_out.t(), w3), second)
            grad_first = _where_positive(_product(grad_second, w2), first)
            _product(w1.t(), grad_first.t(), out=grad_columns[:, blocks[number]])
            if not trained:
                return ()
            grad_w2 = _product(grad_second.t(), first)
            return (
                _product(of_columns, grad_first),
                grad_w2,
                grad_second.sum(0),
                _product(of_out, second),
            )

        with own_precision(gradient.device):
            shares = machine.parallel_map(fill, range(len(blocks)))
        grad_x = images_first(
            _scatter(grad_columns, (ctx.channels, *grad_out.shape[1:]), gradient.dtype)
        )
        if not trained:
            return grad_x, *[None] * 8
        grad_w1_and_b1, grad_w2, grad_b2, grad_w3 = (
            torch.stack(parts).sum(0, dtype=grad_x.dtype) for parts in zip(*shares, strict=True)
        )
        grad_w1, grad_b1 = (
            grad_w1_and_b1[: len(grad_columns)].t().unflatten(1, (ctx.channels, 3, 3)),
            grad_w1_and_b1[-1],
        )
        return (
            grad_x,
            grad_w1,
            grad_b1,
            grad_w2[:, :, None, None],
            grad_b2,
            _last_weight(grad_w3),
            gradient.sum((0, 2, 3)),
            None,
            None,
        )


def _matrices(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, precision: torch.dtype
) -> tuple[Tensor, ...]:
    """Matrices for the blocks: first layer with bias, second layer, its bias, last layer."""
    first = torch.cat((_repeat_for_split(w1.flatten(1), precision), b1[:, None]), 1)
    return tuple(matrix.to(precision) for matrix in (first, w2.flatten(1), b2, _last_matrix(w3)))


def _through(
    x: Tensor, matrices: tuple[Tensor, ...], keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output without its bias, input of the first layer and, with ``keep``, second hidden layer.

    The last two are for the backward pass.
    """
    w1_and_b1, w2, b2, w3 = matrices
    parts = torch.cat(_split_precision(channels_first(x), w2.dtype))
    columns = _neighbours(parts, w2.dtype, ones=1)
    to_out = _thin(len(w3), columns.shape[1], columns)

    def fill(block: slice) -> Tensor | None:
        second = _linear_relu(_linear_relu(columns[:, block].t(), w1_and_b1), w2, b2)
        _product(w3, second.t(), out=to_out[:, block])
        return second if keep else None

    kept = machine.parallel_map(fill, _blocks(columns, len(w2)))
    out = _scatter(to_out, (len(w3) // 9, *parts.shape[1:]), x.dtype)
    return (
        images_first(out),
        columns if keep else parts,
        [second for second in kept if second is not None],
    )


def _split_precision(x: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
    """Input of the first layer: ``x`` rounded to a lower ``precision``, and the rounding error.

    Both parts have the same weights, so the layer sees their sum. Only the first part has
    gradients. A coupling can predict a pixel to a small fraction of a level, but not from rounded
    inputs: that rounding costs more likelihood than all other rounding together.
    """
    if precision == x.dtype:
        return (x,)
    rounded = x.to(precision)
    return rounded, (x - rounded).detach().to(precision)


def _repeat_for_split(w1: Tensor, precision: torch.dtype) -> Tensor:
    """First-layer weights for the parts of :func:`_split_precision`."""
    return w1 if precision == w1.dtype else torch.cat((w1, w1.detach()), 1)


def _blocks(columns: Tensor, width: int) -> list[slice]:
    """Slices of pixels, at least two if there is work for two threads.

    They do not depend on the number of threads.
    """
    pixels = columns.shape[1]
    size = max(
        1,
        min(BLOCK_BYTES // (width * columns.dtype.itemsize), max(SMALLEST_BLOCK, -(-pixels // 2))),
    )
    return [slice(start, start + size) for start in range(0, max(1, pixels), size)]


def _linear_relu(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ReLU of a linear layer; for bfloat16 oneDNN fuses both, which takes half of the time."""
    if rows.dtype == torch.bfloat16 and _has_bfloat16():
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.contiguous(), weight, bias, "relu", [], ""
        )
        return fused
    if rows.dtype == torch.bfloat16:
        return _linear_relu(
            rows.float(), weight.float(), None if bias is None else bias.float()
        ).bfloat16()
    return (
        torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    ).relu_()


def _product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Matrix product; bfloat16 is emulated on CPUs without bfloat16 units.

    The emulation accumulates products of rounded numbers in float32, like the units do, at nearly
    the speed of float32.
    """
    if left.dtype != torch.bfloat16 or _has_bfloat16():
        return torch.mm(left, right, out=out)
    product = (left.float() @ right.float()).bfloat16()
    return product if out is None else out.copy_(product)


def _where_positive(gradient: Tensor, activation: Tensor) -> Tensor:
    """Gradient of a ReLU, in place.

    A bfloat16 is positive if and only if its bits are as an integer, and int16 takes a quarter of
    the time.
    """
    if gradient.dtype == torch.bfloat16:
        _where_positive(gradient.view(torch.int16), activation.view(torch.int16))
        return gradient
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(
        gradient, activation, 0, grad_input=gradient
    )
    return masked


@cache
def _has_bfloat16() -> bool:
    """Whether oneDNN supports bfloat16 products.

    On CPUs without AVX-512 the oneDNN calls fail and the PyTorch products are very slow.
    """
    return bool(
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _neighbours(x: Tensor, precision: torch.dtype, ones: int = 0) -> Tensor:
    """im2col of a zero-padded 3x3 convolution: ``(C, H, W, N)`` to ``(9 C + ones, H W N)``.

    The last ``ones`` rows are 1. The batch dimension is innermost, so copies are of long contiguous
    blocks for any image size.
    """
    channels, height, width, number = x.shape
    padded = x.new_zeros(channels, height + 2, width + 2, number, dtype=precision)
    padded[:, 1:-1, 1:-1] = x
    channel, row, column, _ = padded.stride()
    windows = padded.as_strided(
        (channels, 3, 3, height, width * number), (channel, row, column, row, 1)
    )
    columns = _thin(9 * channels + ones, height * width * number, padded)
    columns[: 9 * channels].view(windows.shape).copy_(windows)
    columns[9 * channels :].fill_(1)
    return columns


def _scatter(columns: Tensor, shape: tuple[int, ...], precision: torch.dtype) -> Tensor:
    """Adjoint of :func:`_neighbours` (col2im): each pixel adds to its nine neighbours.

    Returns ``(C, H, W, N)`` as given by ``shape``. One fused call: each extra operation costs a GIL
    hand-off.
    """
    channels, height, width, number = shape
    padded = columns.new_zeros(channels, height + 2, width + 2, number, dtype=precision)
    channel, row, column, _ = padded.stride()
    places = padded.as_strided(
        (3, 3, channels, height, width * number), (row, column, channel, row, 1)
    )
    windows = columns.view(channels, 9, height, width * number)
    torch._foreach_add_(
        [place for line in places.unbind() for place in line.unbind()], windows.unbind(1)
    )
    return padded[:, 1:-1, 1:-1]


def _thin(channels: int, pixels: int, like: Tensor) -> Tensor:
    """Empty ``(channels, pixels)`` with padded rows: a power-of-2 stride causes cache conflicts."""
    return like.new_empty_strided((channels, pixels), (pixels + 64, 1))


def _last_matrix(weight: Tensor) -> Tensor:
    """Flip ``(out, width, 3, 3)`` and reshape to ``(9 out, width)``, for :func:`_scatter`."""
    return weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, weight.shape[1])


def _last_weight(matrix: Tensor) -> Tensor:
    """Inverse of :func:`_last_matrix`."""
    weight: Tensor = matrix.unflatten(0, (-1, 3, 3))
    return weight.permute(0, 3, 1, 2).flip(2, 3).contiguous()
