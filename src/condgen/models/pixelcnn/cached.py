"""Gated blocks that keep the activations of the row above: layers of cached sampling."""

from typing import cast

import torch
from torch import Tensor

from condgen.models.pixelcnn.convolution import Convolution
from condgen.models.pixelcnn.mixture import ClassOutputs
from condgen.models.pixelcnn.streams import Block, GatedBlock, concat_elu


class CachedConvolution:
    """A convolution of two rows that keeps the row above.

    Activations have shape ``(N, W, channels)``.

    Args:
        convolution: With a kernel of height 2 and width 2 or 3.
        batch: Number N of images.
        width: Columns W of the input.
    """

    def __init__(self, convolution: Convolution, batch: int, width: int):
        weight = convolution.weight().detach()
        self.channels, self.columns = weight.shape[1], weight.shape[3]
        # matrices for windows whose columns and channels are one dimension
        self.upper, self.lower = (
            weight[:, :, row].permute(2, 1, 0).flatten(0, 1).contiguous() for row in (0, 1)
        )
        self.bias = convolution.bias.detach()
        left, right, _, _ = convolution.padding
        self.left = left
        self.before, self.now = weight.new_zeros(2, batch, left + width + right, self.channels)

    def start_row(self) -> Tensor:
        """Move down by one row; returns what the row above contributes, with the bias."""
        self.before, self.now = self.now, self.before
        return torch.matmul(self._windows(self.before), self.upper) + self.bias

    def row(self, x: Tensor) -> Tensor:
        """Set this row and return what it contributes."""
        self.now[:, self.left : self.left + x.shape[1]] = x
        return torch.matmul(self._windows(self.now), self.lower)

    def pixel(self, column: int, x: Tensor, base: Tensor) -> Tensor:
        """Set a pixel of this row, shape ``(N, channels)``; returns ``base`` plus its result.

        For kernels that end at this pixel.
        """
        self.now[:, column + self.left] = x
        window = self.now[:, column : column + self.columns].flatten(1)
        return torch.addmm(base, window, self.lower)

    def put(self, column: int, x: Tensor) -> None:
        """Set a pixel of this row."""
        self.now[:, column + self.left] = x

    def _windows(self, row: Tensor) -> Tensor:
        """All windows of a padded row, shape ``(N, W, columns * channels)``."""
        batch, padded, channels = row.shape
        size = (batch, padded - self.columns + 1, self.columns * channels)
        return row.as_strided(size, row.stride())


class CachedVertical:
    """A gated block of the vertical stream, row by row."""

    def __init__(self, block: GatedBlock, batch: int, width: int, label: Tensor | None):
        self.first = CachedConvolution(block.first, batch, width)
        self.second = CachedConvolution(block.second, batch, width)
        self.skip = matrix(block.skip) if block.skip is not None else None
        self.bias = label_bias(block, label)

    def row(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """The output row, shape ``(N, W, filters)``."""
        hidden = self.first.start_row() + self.first.row(concat_elu(x, -1))
        if self.skip is not None and skip is not None:
            weight, bias = self.skip
            hidden = hidden + (concat_elu(skip, -1) @ weight + bias)
        out = self.second.start_row() + self.second.row(concat_elu(hidden, -1))
        return gated(x, out if self.bias is None else out + self.bias[:, None])


class CachedHorizontal:
    """A gated block of the horizontal stream, pixel by pixel."""

    def __init__(self, block: GatedBlock, batch: int, width: int, label: Tensor | None):
        self.first = CachedConvolution(block.first, batch, width)
        self.second = CachedConvolution(block.second, batch, width)
        weight, self.skip_bias = matrix(cast(Convolution, block.skip))
        filters = self.second.bias.numel() // 2
        # channels of concat_elu are v, s, -v, -s: vertical stream and skip
        parts = weight.split(filters)
        if len(parts) == 2:
            self.of_vertical, self.of_skip = weight, None
        else:
            self.of_vertical = torch.cat(parts[::2])
            self.of_skip = torch.cat(parts[1::2])
        self.bias = label_bias(block, label)

    def start_row(self, vertical: Tensor) -> None:
        """Prepare a row, given that of the vertical stream, shape ``(N, W, filters)``."""
        seen = concat_elu(vertical, -1) @ self.of_vertical + self.skip_bias
        self.first_base = (self.first.start_row() + seen).unbind(1)
        base = self.second.start_row()
        self.second_base = (base if self.bias is None else base + self.bias[:, None]).unbind(1)

    def pixel(self, column: int, x: Tensor, skip: Tensor | None) -> Tensor:
        """The output at a pixel, shape ``(N, filters)``."""
        hidden = self.first.pixel(column, concat_elu(x, -1), self.first_base[column])
        if self.of_skip is not None and skip is not None:
            hidden = torch.addmm(hidden, concat_elu(skip, -1), self.of_skip)
        out = self.second.pixel(column, concat_elu(hidden, -1), self.second_base[column])
        return gated(x, out)


class CachedBlock:
    """One block of both streams."""

    def __init__(self, block: Block, batch: int, width: int, label: Tensor | None):
        self.vertical = CachedVertical(block.vertical, batch, width, label)
        self.horizontal = CachedHorizontal(block.horizontal, batch, width, label)

    def start_row(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Run the vertical stream for a row and prepare the horizontal one."""
        vertical = self.vertical.row(x, skip)
        self.horizontal.start_row(vertical)
        return vertical


def matrix(convolution: Convolution | ClassOutputs) -> tuple[Tensor, Tensor]:
    """Weights, shape ``(channels_in, channels_out)``, and bias of a 1x1 convolution."""
    weight = convolution.weight().detach()[..., 0, 0]
    return weight.t().contiguous(), convolution.bias.detach()


def label_bias(block: GatedBlock, label: Tensor | None) -> Tensor | None:
    """The class bias of each image, shape ``(N, 2 * filters)``."""
    return None if block.label is None or label is None else block.label.detach()[label]


def gated(x: Tensor, out: Tensor) -> Tensor:
    """The residual connection."""
    value, gate = out.chunk(2, -1)
    return torch.addcmul(x, value, gate.sigmoid())
