"""The network: a vertical stream that sees all rows above, and a horizontal one that sees left."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, elu

from condgen.errors import ConfigError
from condgen.models.pixelcnn.convolution import (
    Convolution,
    Upsampling,
    above,
    above_and_left,
    shift_down,
    shift_right,
)
from condgen.models.pixelcnn.pieces import recomputed

Seeds = Sequence[int]  # one for each image


class Streams(NamedTuple):
    """Activations of both streams, each ``(N, filters, H, W)``.

    At each pixel ``vertical`` depends on the rows above only, ``horizontal`` also on the pixels
    left of it.
    """

    vertical: Tensor
    horizontal: Tensor


def concat_elu(x: Tensor, channels: int = 1) -> Tensor:
    """ELU of x and of -x, as twice as many channels; ``channels`` is their dimension."""
    return elu(torch.cat([x, -x], channels))


def drop(x: Tensor, probability: float, generators: Sequence[torch.Generator] | None) -> Tensor:
    """Dropout of single activations; without generators, with that of the device.

    With one for each image (on a CPU), what is dropped from an image does not depend on its batch.
    A 64-bit random number decides on four activations, which is several times as fast as
    :func:`torch.nn.functional.dropout`; the probability is rounded to a multiple of 2**-16.
    """
    if generators is None:
        return dropout(x, probability)
    number = x[0].numel()
    words = torch.empty(len(x), -(-number // 4), dtype=torch.int64)
    for row, generator in zip(words, generators, strict=True):
        row.random_(-(2**63), None, generator=generator)
    threshold = round(probability * 2**16) - 2**15
    kept = (words.view(torch.int16)[:, :number] >= threshold).to(x.dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    return x * kept.mul_(1 / (1 - probability)).as_strided(x.shape, x.stride())


class GatedBlock(nn.Module):
    r"""A residual block: :math:`x + a\,\sigma(b)`, with dropout and a skip connection.

    Args:
        filters: Channels of input and output.
        shifted: :func:`above` or :func:`above_and_left`.
        skip_filters: Channels of the second input; 0 if there is none.
        classes: Number of labels with a bias of their own; 0 for none.
        dropout: Probability that an activation is dropped in training.
    """

    def __init__(
        self,
        filters: int,
        shifted: Callable[..., Convolution],
        skip_filters: int,
        classes: int,
        dropout: float,
    ):
        super().__init__()
        self.dropout = dropout
        self.first = shifted(2 * filters, filters)
        self.skip = Convolution(2 * skip_filters, filters, (1, 1)) if skip_filters else None
        self.second = shifted(2 * filters, 2 * filters, scale=0.1)
        self.label = nn.Parameter(0.05 * torch.randn(classes, 2 * filters)) if classes else None

    def forward(
        self,
        x: Tensor,
        skip: Tensor | None,
        label: Tensor | None,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        precision = self.first.products_in(x)
        hidden: Tensor = self.first(concat_elu(x.to(precision)))
        if self.skip is not None and skip is not None:
            hidden = hidden + self.skip(concat_elu(skip.to(precision)))
        hidden = concat_elu(hidden)
        if self.dropout and self.training:
            hidden = drop(hidden, self.dropout, generators)
        out: Tensor = self.second(hidden)
        if self.label is not None:
            out = out + self.label[label][:, :, None, None]
        value, gate = out.chunk(2, 1)
        return x + value * gate.sigmoid()


class Block(nn.Module):
    """One gated block for each stream; the horizontal one reads the vertical one.

    Args:
        filters: Channels of each stream.
        skips: Whether the block also reads an earlier activation of each stream.
        classes: Number of labels with a bias of their own; 0 for none.
        dropout: Probability that an activation is dropped in training.
        recompute: Recompute the activations in the backward pass.
    """

    def __init__(self, filters: int, skips: bool, classes: int, dropout: float, recompute: bool):
        super().__init__()
        self.recompute = recompute
        more = filters if skips else 0
        self.vertical = GatedBlock(filters, above, more, classes, dropout)
        self.horizontal = GatedBlock(filters, above_and_left, filters + more, classes, dropout)

    @property
    def settled(self) -> bool:
        """Whether the first batch has initialized the block."""
        return self.vertical.first.settled

    def forward(
        self, now: Streams, skip: Streams | None, label: Tensor | None, seeds: Seeds | None
    ) -> Streams:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._through(now, skip, label, seeds)

        def again(*tensors: Tensor) -> Streams:
            skipped = Streams(*tensors[2:]) if skip else None
            return self._through(Streams(*tensors[:2]), skipped, label, seeds)

        return Streams(*recomputed(again, [*now, *(skip or ())], list(self.parameters())))

    def _through(
        self, now: Streams, skip: Streams | None, label: Tensor | None, seeds: Seeds | None
    ) -> Streams:
        own = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
        vertical = self.vertical(now.vertical, skip.vertical if skip else None, label, own)
        seen = torch.cat([vertical, skip.horizontal], 1) if skip else vertical
        return Streams(vertical, self.horizontal(now.horizontal, seen, label, own))


class Resize(nn.Module):
    """Halves (or doubles) height and width of both streams."""

    def __init__(self, vertical: Convolution, horizontal: Convolution):
        super().__init__()
        self.vertical, self.horizontal = vertical, horizontal

    def forward(self, now: Streams) -> Streams:
        return Streams(self.vertical(now.vertical), self.horizontal(now.horizontal))


class First(nn.Module):
    """The input layer, which shifts the image so that no pixel sees itself.

    A channel of ones tells the image from its padding.
    """

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.vertical = above(channels + 1, filters)
        self.row_above = Convolution(channels + 1, filters, (1, 3), (1, 1, 0, 0))
        self.column_left = Convolution(channels + 1, filters, (2, 1), (0, 0, 1, 0))

    def forward(self, x: Tensor) -> Streams:
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return Streams(
            shift_down(self.vertical(x)),
            shift_down(self.row_above(x)) + shift_right(self.column_left(x)),
        )


class Level(nn.Module):
    """The blocks of one resolution and, between the way down and up, the next lower resolution.

    On the way up, each block reads an activation of the way down.

    Args:
        blocks: Blocks on the way down; on the way up there is one more, except at the lowest
            resolution.
        levels: Number of resolutions, with this one.
        filters, classes, dropout, recompute: See :class:`Block`.
    """

    def __init__(
        self,
        blocks: int,
        levels: int,
        filters: int,
        classes: int,
        dropout: float,
        recompute: bool,
    ):
        super().__init__()

        def several(number: int, skips: bool) -> nn.ModuleList:
            return nn.ModuleList(
                Block(filters, skips, classes, dropout, recompute) for _ in range(number)
            )

        lowest = levels == 1
        self.down = several(blocks, skips=False)
        self.up = several(blocks + (not lowest), skips=True)
        self.inner: Level | None = None
        if not lowest:
            halves = (make(filters, filters, stride=2) for make in (above, above_and_left))
            self.halve = Resize(*halves)
            self.inner = Level(blocks, levels - 1, filters, classes, dropout, recompute)
            self.upsample = Resize(Upsampling(filters, (2, 3)), Upsampling(filters, (2, 2)))

    def forward(self, now: Streams, label: Tensor | None, seeds: Iterator[Seeds] | None) -> Streams:
        def own() -> Seeds | None:
            return None if seeds is None else next(seeds)

        def through(block: nn.Module, now: Streams, skip: Streams | None) -> Streams:
            # only `block(...)` runs a compiled block
            run = block if self.training and block.settled else block.forward
            return cast(Streams, run(now, skip, label, own()))

        earlier = [now]
        for block in self.down:
            earlier.append(through(block, earlier[-1], None))
        if self.inner is None:
            now = earlier.pop()
        else:
            now = self.upsample(self.inner(self.halve(earlier[-1]), label, seeds))
        for block in self.up:
            now = through(block, now, earlier.pop())
        return now


class Network(nn.Module):
    """Residual blocks at several resolutions, going down and up again with skip connections.

    Args:
        channels: Of the images.
        filters: Channels of each stream.
        blocks: Residual blocks per resolution; see :class:`Level`.
        levels: Number of resolutions.
        dropout: Probability that an activation is dropped in training.
        classes: Number of labels with a bias in every block; 0 for none.
        recompute: Recompute the activations of each block in the backward pass.

    Raises:
        ConfigError: If a number is out of its range.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        blocks: int,
        levels: int,
        dropout: float,
        classes: int = 0,
        recompute: bool = False,
    ):
        super().__init__()
        for name, value in {"filters": filters, "blocks": blocks}.items():
            if value < 1:
                raise ConfigError(f"PixelCNN++ with {value} {name} has no layers; use 1 or more.")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout:g}, expected 0 or more and less than 1.")
        self.first = First(channels, filters)
        self.level = Level(blocks, levels, filters, classes, dropout, recompute)

    def forward(self, x: Tensor, label: Tensor | None = None, seeds: Seeds | None = None) -> Tensor:
        """Activations of the horizontal stream at full resolution, ``(N, filters, H, W)``.

        Args:
            x: Images in [-1, 1], shape ``(N, channels, H, W)``.
            label: Class of each image, shape ``(N,)``, if there are class biases.
            seeds: Seed of dropout of each image; ``None`` for the generator of the device.
        """
        of_blocks = None if seeds is None else ([seed + i for seed in seeds] for i in count())
        first = self.first(x.contiguous(memory_format=torch.channels_last))
        now: Streams = self.level(first, label, of_blocks)
        return now.horizontal
