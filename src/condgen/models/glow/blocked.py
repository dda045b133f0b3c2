"""The CPU path of a coupling network: matrix products on blocks that fit the cache."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from condgen import machine
from condgen.density import own_precision
from condgen.models.glow.bijections import channels_first, images_first
from condgen.models.glow.products import (
    linear_relu,
    product,
    repeat_for_split,
    split_precision,
    where_positive,
)
from condgen.models.glow.windows import last_matrix, last_weight, neighbors, scatter, thin

# size of one hidden layer of one block; on CPUs with AMX smaller blocks are dominated by overhead
BLOCK_BYTES = 1 << 22
SMALLEST_BLOCK = 2048  # pixels; fewer are not divided among threads


class Blocked(torch.autograd.Function):
    """The three convolutions, one block of pixels at a time.

    A coupling network has wide hidden layers and thin inputs and outputs: 1 to 16 channels, with
    128 hidden ones. A library call for a 3x3 convolution spends most of its time on memory traffic
    of the hidden layers. Here each 3x3 convolution is a matrix product with the nine neighbors of a
    pixel on its thin side, and each block of pixels passes all three layers before the next block
    starts. For the backward pass of a training step the second hidden layer is saved and the first
    is recomputed. If only the images require a gradient, as in attacks on many images, both are
    recomputed.

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
        matrices = matrices_of(w1, b1, w2, b2, w3, precision)
        out, seen, kept = through(x, matrices, keep)
        ctx.channels = x.shape[1]
        ctx.save_for_backward(seen, *matrices, *kept)
        return out + b3[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, w1_and_b1, w2, b2, w3, *kept = ctx.saved_tensors
        w1 = w1_and_b1[:, : 9 * ctx.channels]
        columns = seen if kept else neighbors(seen, w1.dtype, ones=1)
        grad_out = channels_first(gradient)
        out_columns = neighbors(grad_out, w1.dtype)
        grad_columns = thin(w1.shape[1], columns.shape[1], columns)
        trained = any(ctx.needs_input_grad[1:7])  # False in attacks: only x requires a gradient
        blocks = _blocks(columns, len(w1))

        def fill(number: int) -> tuple[Tensor, ...]:
            of_columns, of_out = columns[:, blocks[number]], out_columns[:, blocks[number]]
            first = linear_relu(of_columns.t(), w1_and_b1)
            second = kept[number] if kept else linear_relu(first, w2, b2)
            grad_second = where_positive(product(of_out.t(), w3), second)
            grad_first = where_positive(product(grad_second, w2), first)
            product(w1.t(), grad_first.t(), out=grad_columns[:, blocks[number]])
            if not trained:
                return ()
            grad_w2 = product(grad_second.t(), first)
            return (
                product(of_columns, grad_first),
                grad_w2,
                grad_second.sum(0),
                product(of_out, second),
            )

        with own_precision(gradient.device):
            shares = machine.parallel_map(fill, range(len(blocks)))
        grad_x = images_first(
            scatter(grad_columns, (ctx.channels, *grad_out.shape[1:]), gradient.dtype)
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
            last_weight(grad_w3),
            gradient.sum((0, 2, 3)),
            None,
            None,
        )


def matrices_of(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, precision: torch.dtype
) -> tuple[Tensor, ...]:
    """Matrices for the blocks: first layer with bias, second layer, its bias, last layer."""
    first = torch.cat((repeat_for_split(w1.flatten(1), precision), b1[:, None]), 1)
    return tuple(matrix.to(precision) for matrix in (first, w2.flatten(1), b2, last_matrix(w3)))


def through(
    x: Tensor, matrices: tuple[Tensor, ...], keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output without its bias, input of the first layer and, with ``keep``, second hidden layer.

    The last two are for the backward pass.
    """
    w1_and_b1, w2, b2, w3 = matrices
    parts = torch.cat(split_precision(channels_first(x), w2.dtype))
    columns = neighbors(parts, w2.dtype, ones=1)
    to_out = thin(len(w3), columns.shape[1], columns)

    def fill(block: slice) -> Tensor | None:
        second = linear_relu(linear_relu(columns[:, block].t(), w1_and_b1), w2, b2)
        product(w3, second.t(), out=to_out[:, block])
        return second if keep else None

    kept = machine.parallel_map(fill, _blocks(columns, len(w2)))
    out = scatter(to_out, (len(w3) // 9, *parts.shape[1:]), x.dtype)
    return (
        images_first(out),
        columns if keep else parts,
        [second for second in kept if second is not None],
    )


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
