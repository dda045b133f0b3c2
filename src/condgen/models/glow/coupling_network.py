"""The network inside a coupling layer, with a CPU path made of matrix products on blocks that fit the cache.

A coupling network is wide inside and thin at both ends: with 1 to 16 channels in and out and 128 between, a 3x3 convolution
library call spends most of its time moving the wide middle through memory. Here each 3x3 convolution is a matrix product
with the nine neighbours of a pixel on its thin side, and a block of pixels goes through all three layers before the next one
does. Of the wide middle the second layer is kept for the backward pass of a training step; the first is computed again, and
where only the image asks for a gradient, as in an attack on many images at once, both are.
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

BLOCKED_ON: tuple[str, ...] = ("cpu",)  # types of device that gain from the blocked path
BLOCK_BYTES = (
    1 << 22
)  # of one wide layer of one block; with less, a CPU with AMX spends its time between the products
SMALLEST_BLOCK = 2048  # pixels; fewer are not divided among threads

GAIN = 3.0  # Glow's factor: an output that starts at zero reaches the scale of the data sooner


@contextmanager
def path_of(device: str) -> Iterator[None]:
    """Take, on the CPU, the path of another type of device, to count what is done there."""
    global BLOCKED_ON
    usual = BLOCKED_ON
    BLOCKED_ON = usual if device in usual else ()
    try:
        yield
    finally:
        BLOCKED_ON = usual


class CouplingNetwork(nn.Module):
    r"""3x3, 1x1 and 3x3 convolutions with ReLU between, times a learned gain :math:`e^{3 g}` per channel.

    The last convolution starts at zero, so that a coupling starts near the identity.

    No batch normalization: it would make the inverse differ from the forward pass.

    Args:
        channels_in: Of the input, ``(N, channels_in, H, W)``.
        channels_out: Of the output, ``(N, channels_out, H, W)``.
        width: Channels between.
        precision: Of the products inside while in training mode. ``torch.bfloat16`` is faster on a CPU with AMX or AVX-512
            BF16; output, weights and sums over blocks of pixels stay in float32, and so, nearly, does the input
            (:func:`_in_parts`). In evaluation mode all is in the precision of the input, since rounded products are no exact
            inverse of each other.

    Raises:
        ConfigError: If the width is not positive.
    """

    def __init__(
        self, channels_in: int, channels_out: int, width: int, precision: torch.dtype | None = None
    ):
        super().__init__()
        if width < 1:
            raise ConfigError(
                f"a coupling network of width {width} has no channels between; use a width of 1 or more."
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
            first = _for_parts(parameters[0], precision or x.dtype)
            tensors = (torch.cat(_in_parts(x, precision or x.dtype), 1), first, *parameters[1:])
            out = convolutions(
                *(_channels_last(tensor, precision or x.dtype) for tensor in tensors)
            ).to(x.dtype)
        return out * (GAIN * self.log_gain).exp()

    def precompute(self) -> Callable[[Tensor], Tensor]:
        """:meth:`forward` of the weights as they are, made ready for many calls that record no graph."""
        if self.log_gain.device.type not in BLOCKED_ON:
            return self.forward
        gain = (GAIN * self.log_gain).exp()
        w1, b1, w2, b2, w3, b3 = self._convolved
        matrices = _matrices(
            w1,
            b1,
            w2,
            b2,
            w3 * gain[:, None],
            (self.precision if self.training else None) or gain.dtype,
        )
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
    """What a GPU's convolutions are fastest with; biases have no such order."""
    return tensor.to(
        precision, memory_format=torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    )


def convolutions(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor
) -> Tensor:
    """The same function as three library calls: the path for other devices, and the reference in tests."""
    hidden = relu(conv2d(x, w1, b1, padding=1))
    return conv2d(relu(conv2d(hidden, w2, b2)), w3, b3, padding=1)


class _Blocked(torch.autograd.Function):
    """Block by block of pixels; inside, thin tensors are ``(channels, H W N)`` and wide ones ``(pixels of a block, width)``.

    What the first layer sees ends in a row of ones, its weights in the bias, so that one product gives both their gradients.
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
        to_out = channels_first(gradient)
        from_out = _neighbours(to_out, w1.dtype)
        to_columns = _thin(w1.shape[1], columns.shape[1], columns)
        trained = any(
            ctx.needs_input_grad[1:7]
        )  # an attack asks for the gradient of the image alone
        blocks = _blocks(columns, len(w1))

        def fill(number: int) -> tuple[Tensor, ...]:
            of_columns, of_out = columns[:, blocks[number]], from_out[:, blocks[number]]
            first = _linear_relu(of_columns.t(), w1_and_b1)
            second = kept[number] if kept else _linear_relu(first, w2, b2)
            to_second = _where_positive(_product(of_out.t(), w3), second)
            to_first = _where_positive(_product(to_second, w2), first)
            _product(w1.t(), to_first.t(), out=to_columns[:, blocks[number]])
            if not trained:
                return ()
            to_w2 = _product(to_second.t(), first)
            return _product(of_columns, to_first), to_w2, to_second.sum(0), _product(of_out, second)

        with own_precision(gradient.device):
            shares = machine.parallel_map(fill, range(len(blocks)))
        to_x = images_first(_scatter(to_columns, (ctx.channels, *to_out.shape[1:]), gradient.dtype))
        if not trained:
            return to_x, *[None] * 8
        of_first, to_w2, to_b2, to_w3 = (
            torch.stack(parts).sum(0, dtype=to_x.dtype) for parts in zip(*shares, strict=True)
        )
        to_w1, to_b1 = (
            of_first[: len(to_columns)].t().unflatten(1, (ctx.channels, 3, 3)),
            of_first[-1],
        )
        return (
            to_x,
            to_w1,
            to_b1,
            to_w2[:, :, None, None],
            to_b2,
            _last_weight(to_w3),
            gradient.sum((0, 2, 3)),
            None,
            None,
        )


def _matrices(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, precision: torch.dtype
) -> tuple[Tensor, ...]:
    """What the blocks are multiplied by: the first layer with its bias, the second, its bias, and the last."""
    first = torch.cat((_for_parts(w1.flatten(1), precision), b1[:, None]), 1)
    return tuple(matrix.to(precision) for matrix in (first, w2.flatten(1), b2, _last_matrix(w3)))


def _through(
    x: Tensor, matrices: tuple[Tensor, ...], keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The output less its bias; for a backward pass also what the first layer saw and, if kept, the second's outputs."""
    w1_and_b1, w2, b2, w3 = matrices
    parts = torch.cat(_in_parts(channels_first(x), w2.dtype))
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


def _in_parts(x: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
    """What the first layer sees: in a lower ``precision`` the input and, beside it, what rounding takes from it.

    Both meet the same weights, so that their sum counts; gradients are those of the first part alone. A coupling can predict a
    pixel's value to a small part of a level, which rounding the values that it sees would drown. It costs more likelihood than
    all other rounding together.
    """
    if precision == x.dtype:
        return (x,)
    rounded = x.to(precision)
    return rounded, (x - rounded).detach().to(precision)


def _for_parts(w1: Tensor, precision: torch.dtype) -> Tensor:
    return w1 if precision == w1.dtype else torch.cat((w1, w1.detach()), 1)


def _blocks(columns: Tensor, width: int) -> list[slice]:
    """At least two where there is work for two threads; whatever the threads, the same."""
    pixels = columns.shape[1]
    size = max(
        1,
        min(BLOCK_BYTES // (width * columns.dtype.itemsize), max(SMALLEST_BLOCK, -(-pixels // 2))),
    )
    return [slice(start, start + size) for start in range(0, max(1, pixels), size)]


def _linear_relu(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """In bfloat16 oneDNN applies the ReLU before the product leaves the registers, at half of the time."""
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
    """In bfloat16 on a CPU without units for it: the units' sums, in float32 of rounded numbers, at nearly float32's speed."""
    if left.dtype != torch.bfloat16 or _has_bfloat16():
        return torch.mm(left, right, out=out)
    product = (left.float() @ right.float()).bfloat16()
    return product if out is None else out.copy_(product)


def _where_positive(gradient: Tensor, activation: Tensor) -> Tensor:
    """The gradient of a ReLU, in place. A bfloat16 is positive where its bits are, and integers take a quarter of the time."""
    if gradient.dtype == torch.bfloat16:
        _where_positive(gradient.view(torch.int16), activation.view(torch.int16))
        return gradient
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(
        gradient, activation, 0, grad_input=gradient
    )
    return masked


@cache
def _has_bfloat16() -> bool:
    """Whether oneDNN multiplies in bfloat16; on CPUs without AVX-512 its calls exist and fail, and PyTorch's own crawl."""
    return bool(
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _neighbours(x: Tensor, precision: torch.dtype, ones: int = 0) -> Tensor:
    """``(C, H, W, N)`` to ``(9 C + ones, H W N)``: what a 3x3 convolution sees at each pixel, zeros outside, and ones.

    Images are the innermost, so that long runs are copied whatever the size of an image.
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
    """The adjoint of :func:`_neighbours`, ``(C, H, W, N)`` as given by ``shape``: every pixel adds to its nine neighbours.

    The nine are added in one call. Threads that share an interpreter meet at every call, however little it does.
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
    """Room for ``(channels, pixels)``; rows a power of 2 apart would contend for the same lines of the cache."""
    return like.new_empty_strided((channels, pixels), (pixels + 64, 1))


def _last_matrix(weight: Tensor) -> Tensor:
    """``(out, width, 3, 3)`` to ``(9 out, width)``, mirrored: a pixel writes to where a convolution would read from."""
    return weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, weight.shape[1])


def _last_weight(matrix: Tensor) -> Tensor:
    weight: Tensor = matrix.unflatten(0, (-1, 3, 3))
    return weight.permute(0, 3, 1, 2).flip(2, 3).contiguous()
