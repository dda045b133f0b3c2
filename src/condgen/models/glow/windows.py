"""The 3x3 windows of images as columns of a matrix, and back."""

import torch
from torch import Tensor


def neighbors(x: Tensor, precision: torch.dtype, ones: int = 0) -> Tensor:
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
    columns = thin(9 * channels + ones, height * width * number, padded)
    columns[: 9 * channels].view(windows.shape).copy_(windows)
    columns[9 * channels :].fill_(1)
    return columns


def scatter(columns: Tensor, shape: tuple[int, ...], precision: torch.dtype) -> Tensor:
    """Adjoint of :func:`neighbors` (col2im): each pixel adds to its nine neighbors.

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


def thin(channels: int, pixels: int, like: Tensor) -> Tensor:
    """Empty ``(channels, pixels)`` with padded rows: a power-of-2 stride causes cache conflicts."""
    return like.new_empty_strided((channels, pixels), (pixels + 64, 1))


def last_matrix(weight: Tensor) -> Tensor:
    """Flip ``(out, width, 3, 3)`` and reshape to ``(9 out, width)``, for :func:`scatter`."""
    return weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, weight.shape[1])


def last_weight(matrix: Tensor) -> Tensor:
    """Inverse of :func:`last_matrix`."""
    weight: Tensor = matrix.unflatten(0, (-1, 3, 3))
    return weight.permute(0, 3, 1, 2).flip(2, 3).contiguous()
