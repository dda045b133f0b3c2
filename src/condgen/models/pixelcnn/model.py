"""Conditional PixelCNN++: an autoregressive model of quantized pixels (appendix E)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from condgen import machine
from condgen.density import ClassConditionalDensity, own_precision
from condgen.errors import ConfigError
from condgen.models.pixelcnn.convolution import Convolution
from condgen.models.pixelcnn.mixture import Mixture
from condgen.models.pixelcnn.pieces import in_pieces
from condgen.models.pixelcnn.sampling import CachedHead, CachedNetwork
from condgen.models.pixelcnn.streams import Block, Network
from condgen.models.recomputation import check_compilable, counted_without
from condgen.models.sizes import check_halving
from condgen.randomness import integers
from condgen.validation import check_labels, check_temperature

PIECE, PIXELS = 16, 2**14  # images of a piece at least; more if they have fewer pixels
DRAWN_AT_ONCE = 64  # images
MOST_BLOCKS = 2**20  # distance of the seeds of dropout of two classes; blocks count on from them


class PixelCNN(ClassConditionalDensity):
    r"""PixelCNN++ whose logistic components are classes.

    .. math::

        \log p(x \mid y) = \sum_i \log p_y(x_i \mid x_1, \dots, x_{i-1})

    over pixels in raster order and, within a pixel, over channels. With ``components = None`` the
    conditional has exactly one logistic component per class, so that its mixture weights disappear
    and one pass of the network gives the likelihoods of all classes (the paper). Otherwise it is a
    mixture of that many components for every class, and classes differ by ``class_bias`` (the
    reference), with one pass per class.

    The likelihood is that of quantized pixels. Between levels it is a continuous relaxation, which
    gradients use; see :mod:`condgen.models.pixelcnn.logistic`.

    Args:
        num_classes: C; labels run from 0 to C - 1.
        event_shape: Shape ``(channels, H, W)`` of the images.
        pixel_levels: Number of values of a pixel, 2 or more.
        filters: Channels of each stream of the network.
        blocks: Gated residual blocks per resolution.
        levels: Number of resolutions.
        dropout: Probability that an activation is dropped in training.
        components: Components of a mixture that all classes share; ``None`` for one per class.
        class_bias: Give each class a bias in every block.
        class_scale: Factor of the difference of a class's outputs from those that all share;
            ``None`` for one over the dimensions of an image.
        smallest_log_scale: Lower bound of the log-scales.
        precision: Of the products in training mode.
        recompute: Recompute activations in the backward pass instead of storing them.

    Raises:
        ConfigError: If a number is out of range, an image cannot be halved after each level but
            the last, or all classes would be equal.

    References:
        Salimans et al., PixelCNN++, 2017.

    Examples:
        >>> model = PixelCNN(10, event_shape=(1, 8, 8), filters=8, blocks=1, levels=2).eval()
        >>> model.class_log_prob(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """

    discrete = True
    memory_hint = 'a smaller model.filters or model.blocks, or model.memory = "recompute"'

    def __init__(
        self,
        num_classes: int,
        *,
        event_shape: tuple[int, int, int],
        pixel_levels: int = 256,
        filters: int = 160,
        blocks: int = 5,
        levels: int = 3,
        dropout: float = 0.5,
        components: int | None = None,
        class_bias: bool = False,
        class_scale: float | None = None,
        smallest_log_scale: float = -7.0,
        precision: torch.dtype | None = None,
        recompute: bool = False,
    ):
        super().__init__()
        check_halving(event_shape, levels)
        if components is not None and not class_bias and num_classes > 1:
            raise ConfigError(
                "all classes share one mixture and have no bias, so they would be equal; set"
                " model.class_bias=true, or leave model.components out."
            )
        self.num_classes, self.event_shape = num_classes, tuple(event_shape)
        self.pixel_levels, self.class_bias = pixel_levels, class_bias
        self.filters, self.blocks, self.levels, self.dropout = filters, blocks, levels, dropout
        self.network = Network(
            event_shape[0],
            filters,
            blocks,
            levels,
            dropout,
            num_classes if class_bias else 0,
            recompute,
        )
        self.mixture = Mixture(
            filters,
            event_shape[0],
            num_classes if components is None else components,
            components is not None,
            pixel_levels,
            smallest_log_scale,
            1 / self.dims if class_scale is None else class_scale,
        )
        self.convolutions = [each for each in self.modules() if isinstance(each, Convolution)]
        for convolution in self.network.modules():
            if isinstance(convolution, Convolution):
                convolution.precision = precision

    def parts(self) -> list[tuple[str, str]]:
        _, height, width = self.event_shape
        shapes = [
            (
                f"level {level + 1}",
                f"two streams of {self.filters} x {height >> level} x {width >> level},"
                f" {self.blocks} blocks down, {self.blocks + (level + 1 < self.levels)} up",
            )
            for level in range(self.levels)
        ]
        kind = "a mixture of {} for all classes" if self.mixture.weighted else "{}, one per class"
        return [*shapes, ("logistic components", kind.format(self.mixture.components))]

    def compile_for_training(self, **options: Any) -> None:
        """Compile the blocks for training steps after the first one, which initializes them.

        Blocks of equal shape share their code, so that compilation takes a fraction of that of the
        whole network.

        Args:
            options: For :func:`torch.compile`. Default: each block as one graph, or an error.

        Raises:
            ConfigError: If activations are recomputed, which cannot be compiled.
        """
        check_compilable("recompute", self._recomputing)
        for block in self._all_blocks:
            block.compile(**{"fullgraph": True, "dynamic": False, **options})

    @contextmanager
    def counted(self) -> Iterator[bool]:
        with counted_without("recompute", self._recomputing) as recomputes:
            yield recomputes

    def class_log_prob(self, x: Tensor) -> Tensor:
        with own_precision(x.device):
            if not torch.is_grad_enabled() and not self.training:
                return torch.cat(machine.parallel_map(self._log_prob, x.split(self._piece)))
            if not self._settled:  # the initialization needs the whole batch
                return self._log_prob(x, self._seeds(len(x)))
            seeds, size = self._seeds(len(x)), self._piece

            def of_piece(piece: Tensor, number: int) -> Tensor:
                own = None if seeds is None else seeds[number * size :][: len(piece)]
                return self._log_prob(piece, own)

            return in_pieces(of_piece, x, list(self.parameters()), size)

    @property
    def _piece(self) -> int:
        """Images of a piece of a batch: smaller pieces cost more time between operations."""
        _, height, width = self.event_shape
        return max(PIECE, PIXELS // (height * width))

    def _seeds(self, images: int) -> list[int] | None:
        """Seeds of dropout, one for each image; ``None`` without dropout and on a GPU."""
        on_cpu = next(self.parameters()).device.type == "cpu"
        if not (self.training and self.dropout and on_cpu):
            return None
        generator = self.noise_generator or torch.default_generator
        drawn = integers(0, 2**62, (images,), generator)
        return cast(list[int], drawn.tolist())

    @property
    def _all_blocks(self) -> list[Block]:
        return [each for each in self.modules() if isinstance(each, Block)]

    @property
    def _recomputing(self) -> list[Block]:
        return [each for each in self._all_blocks if each.recompute]

    @property
    def _settled(self) -> bool:
        return not self.training or all(convolution.settled for convolution in self.convolutions)

    def conditionals(self, x: Tensor) -> Tensor:
        """Parameters of the conditional distribution of each pixel and channel.

        Args:
            x: Images in [0, 1], shape ``(N, channels, H, W)``.

        Returns:
            Shape ``(N, P, channels, H, W)``. Those of a pixel and channel depend only on the ones
            before it, in the order of rows, columns and channels.
        """
        x, label = 2 * x - 1, None
        if self.class_bias:
            x, label = self._for_each_class(x)
        parts = self.mixture(self.network(x, label))
        found = [parts.means(x), parts.log_scale]
        if parts.log_weight is not None:
            found.append(parts.log_weight[:, :, None].expand_as(parts.log_scale))
        parameters = torch.cat(found, 1)
        if label is None:
            return parameters
        each: Tensor = parameters.unflatten(0, (-1, self.num_classes))
        return each.flatten(1, 2)

    def _log_prob(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        x = 2 * x - 1
        label = None
        if self.class_bias:
            x, label = self._for_each_class(x)
            seeds = seeds and [
                seed + MOST_BLOCKS * y for seed in seeds for y in range(self.num_classes)
            ]
        each: Tensor = self.mixture.log_prob(self.mixture(self.network(x, label, seeds)), x)
        if label is None:
            return each
        if not self.mixture.weighted:
            each = each.gather(1, label[:, None])
        return each.view(-1, self.num_classes)

    def _for_each_class(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each image once per class, with its label."""
        label = torch.arange(self.num_classes, device=x.device).repeat(len(x))
        return x.repeat_interleave(self.num_classes, 0), label

    @torch.no_grad()
    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Draw an image in [0, 1] for each label, quantized, shape ``(N, channels, H, W)``.

        Activations are cached, so that an image costs about as much as one evaluation.

        Raises:
            ConfigError: If the temperature is negative or not finite.
            ImageError: If a label is not a class of the model.
        """
        check_temperature(temperature)
        check_labels(label, self.num_classes)
        first = next(self.parameters())
        channels, height, width = self.event_shape
        uniform = torch.rand(
            (len(label), channels + 1, height, width),
            generator=generator,
            dtype=first.dtype,
            device=generator.device,
        ).to(first.device)
        with own_precision(first.device):
            parts = zip(
                label.to(first.device).split(DRAWN_AT_ONCE),
                uniform.split(DRAWN_AT_ONCE),
                strict=True,
            )
            drawn = torch.cat([self._draw(*part, temperature) for part in parts])
        most = self.mixture.levels - 1
        return ((drawn + 1) / 2 * most).round() / most

    def _draw(self, label: Tensor, uniform: Tensor, temperature: float) -> Tensor:
        """Images in [-1, 1], pixel by pixel."""
        channels, height, width = self.event_shape
        network = CachedNetwork(self.network, len(label), width, label if self.class_bias else None)
        head = CachedHead(self.mixture)
        x = uniform.new_zeros(len(label), channels, height, width)
        for row in range(height):
            network.start_row(x[:, :, row - 1] if row else None)
            for column in range(width):
                left = x[:, :, row, column - 1] if column else None
                components = head.components(network.pixel(column, left))
                x[:, :, row, column] = self.mixture.draw(
                    components, label, uniform[:, :, row, column], temperature
                )
        return x
