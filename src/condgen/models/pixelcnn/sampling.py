"""Sampling with cached activations: each activation is computed once per image.

The vertical stream runs once per row. The horizontal stream runs pixel by pixel, but all that it
takes from the row above and from the vertical stream is computed for the whole row at once.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import elu

from condgen.models.pixelcnn.cached import CachedBlock, CachedConvolution, matrix
from condgen.models.pixelcnn.convolution import Convolution
from condgen.models.pixelcnn.mixture import Components, Mixture
from condgen.models.pixelcnn.streams import Block, First, Level, Network


class CachedLevel:
    """All blocks of one resolution and, between the way down and up, the next lower resolution."""

    def __init__(self, level: Level, batch: int, width: int, label: Tensor | None):
        self.down, self.up = (
            [CachedBlock(cast(Block, block), batch, width, label) for block in blocks]
            for blocks in (level.down, level.up)
        )
        self.inner: CachedLevel | None = None
        self.at = -1  # row
        if level.inner is not None:
            self.halve_vertical = CachedConvolution(level.halve.vertical, batch, width)
            self.halve_horizontal = CachedConvolution(level.halve.horizontal, batch, width)
            self.double_vertical = doubling(level.upsample.vertical)
            self.double_horizontal = doubling(level.upsample.horizontal)
            self.inner = CachedLevel(level.inner, batch, width // 2, label)

    def start_row(self, x: Tensor) -> Tensor:
        """Run the vertical stream for the next row, ``(N, W, filters)``."""
        self.at += 1
        entries = [x]
        for block in self.down:
            entries.append(block.start_row(entries[-1], None))
        x = self._vertical_below(entries[-1]) if self.inner else entries.pop()
        for block in self.up:
            x = block.start_row(x, entries.pop())
        return x

    def pixel(self, column: int, x: Tensor) -> Tensor:
        """Run the horizontal stream for the next pixel, ``(N, filters)``."""
        entries = [x]
        for block in self.down:
            entries.append(block.horizontal.pixel(column, entries[-1], None))
        x = self._horizontal_below(column, entries[-1]) if self.inner else entries.pop()
        for block in self.up:
            x = block.horizontal.pixel(column, x, entries.pop())
        return x

    def _vertical_below(self, x: Tensor) -> Tensor:
        inner = cast(CachedLevel, self.inner)
        halved = self.halve_vertical.start_row()
        self.halve_base = self.halve_horizontal.start_row().unbind(1)
        halved = halved + self.halve_vertical.row(x)
        if self.at % 2 == 0:
            lower = inner.start_row(halved[:, ::2])
            self.vertical_rows = self._double_rows(lower)
            self.horizontal_rows = torch.zeros_like(self.vertical_rows)
        return self.vertical_rows[self.at % 2]

    def _double_rows(self, x: Tensor) -> Tensor:
        """Two rows of twice the width, shape ``(2, N, 2 W, filters)``."""
        weight, bias = self.double_vertical  # (2, 3, filters, filters)
        after = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
        even = x @ weight[:, 1][:, None]
        odd = x @ weight[:, 2][:, None] + after @ weight[:, 0][:, None]
        return torch.stack([even, odd], 3).flatten(2, 3) + bias

    def _horizontal_below(self, column: int, x: Tensor) -> Tensor:
        inner = cast(CachedLevel, self.inner)
        if self.at % 2 == 0 and column % 2 == 0:
            halved = self.halve_horizontal.pixel(column, x, self.halve_base[column])
            weight, bias = self.double_horizontal  # (2, 2, filters, filters)
            lower = inner.pixel(column // 2, halved) @ weight + bias  # (2, 2, N, filters)
            self.horizontal_rows[:, :, column : column + 2] = lower.transpose(1, 2)
        else:
            self.halve_horizontal.put(column, x)
        return self.horizontal_rows[self.at % 2, :, column]


class CachedFirst:
    """The input layer, row by row and pixel by pixel."""

    def __init__(self, first: First, batch: int, width: int):
        self.vertical = CachedConvolution(first.vertical, batch, width)
        self.row_above = first.row_above
        self.left_weight = first.column_left.weight().detach()[..., 0].permute(2, 1, 0)
        self.left_bias = first.column_left.bias.detach()
        self.above: Tensor | None = None

    def start_row(self, above: Tensor | None) -> Tensor:
        """The vertical stream, given the row above, shape ``(N, W, channels + 1)``."""
        self.above = above
        if above is None:  # the first row
            self.vertical_shape = (*self.vertical.now.shape[:1], self.vertical.now.shape[1] - 2, -1)
            zeros = self.vertical.bias.new_zeros(1, 1, self.vertical.bias.numel())
            self.base = zeros.expand(self.vertical_shape)
            return self.base
        image = above.transpose(1, 2)[:, :, None]
        self.base = self.row_above(image)[:, :, 0].transpose(1, 2)
        return self.vertical.start_row() + self.vertical.row(above)

    def pixel(self, column: int, left: Tensor | None) -> Tensor:
        """The horizontal stream, given the pixel to the left, shape ``(N, channels + 1)``."""
        base = self.base[:, column]
        if left is None:  # the first column
            return base
        here = base + left @ self.left_weight[1] + self.left_bias
        if self.above is None:
            return here
        return here + self.above[:, column - 1] @ self.left_weight[0]


class CachedNetwork:
    """Computes the horizontal stream pixel by pixel, in the order of generation.

    Args:
        network: In evaluation mode.
        batch: Number N of images.
        width: Their width W.
        label: Class of each image, if the network has class biases.
    """

    def __init__(self, network: Network, batch: int, width: int, label: Tensor | None = None):
        self.first = CachedFirst(network.first, batch, width)
        self.level = CachedLevel(network.level, batch, width, label)

    def start_row(self, above: Tensor | None) -> None:
        """Begin the next row, given the finished row above, shape ``(N, channels, W)``."""
        row = None if above is None else with_one(above.transpose(1, 2))
        self.level.start_row(self.first.start_row(row))

    def pixel(self, column: int, left: Tensor | None) -> Tensor:
        """Activations at a pixel, ``(N, filters)``, given the one left of it, ``(N, channels)``."""
        return self.level.pixel(
            column, self.first.pixel(column, None if left is None else with_one(left))
        )


class CachedHead:
    """The output layer at one pixel."""

    def __init__(self, mixture: Mixture):
        self.mixture = mixture
        self.weight, self.bias = matrix(mixture.output)

    def components(self, activations: Tensor) -> Components:
        """Components from activations, shape ``(N, filters)``."""
        return self.mixture.components_of(torch.addmm(self.bias, elu(activations), self.weight))


def with_one(x: Tensor) -> Tensor:
    """Append a channel of ones."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


def doubling(upsampling: Convolution) -> tuple[Tensor, Tensor]:
    """Weights of a transposed convolution, ``(rows, columns, in, out)``, and its bias."""
    weight = upsampling.weight().detach().permute(2, 3, 0, 1).contiguous()
    return weight, upsampling.bias.detach()
