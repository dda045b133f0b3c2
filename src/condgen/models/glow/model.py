"""Class-conditional Glow, the flow of the experiments (appendix A and B)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from condgen import machine
from condgen.density import ClassConditionalDensity, own_precision
from condgen.errors import ConfigError
from condgen.models.glow.actnorm import ActNorm
from condgen.models.glow.bijections import (
    Bijection,
    Compose,
    MultiScale,
    level_shapes,
)
from condgen.models.glow.condition import log_condition
from condgen.models.glow.convolution import Invertible1x1Convolution
from condgen.models.glow.coupling import AffineCoupling
from condgen.models.glow.coupling_network import path_of
from condgen.models.glow.dequantization import Dequantization
from condgen.models.glow.priors import Prior, SplitPrior
from condgen.models.recomputation import check_compilable, counted_without
from condgen.models.sizes import check_halving
from condgen.validation import check_labels, check_temperature

DRAWS = 100  # attempts for a sample whose image is not finite
DECODED_AT_ONCE = 250  # images
SMALLEST_LOG_SCALE = -7.0  # of a layer, where samples are differentiated


def block(
    channels: int, width: int, precision: torch.dtype | None, generator: torch.Generator
) -> list[Bijection]:
    """One step of the flow: actnorm, 1x1 convolution, affine coupling."""
    convolution = Invertible1x1Convolution(channels, generator)
    return [ActNorm(channels), convolution, AffineCoupling(channels, width, precision)]


@contextmanager
def inverse_bounded(module: nn.Module, smallest: float) -> Iterator[None]:
    """Context in which no bijection of a module divides by a scale below ``exp(smallest)``."""
    bijections = [each for each in module.modules() if isinstance(each, Bijection)]
    for bijection in bijections:
        bijection.smallest_log_scale = smallest
    try:
        yield
    finally:
        for bijection in bijections:
            del bijection.smallest_log_scale


class Glow(ClassConditionalDensity):
    r"""Glow with a class-conditional prior over the whole latent vector.

    .. math::

        \log p(x \mid y)
        = \log p(z \mid y) + \log |\det \partial z / \partial v| + \text{const},\quad z = f(v)

    where v is the dequantized image with noise channels (:class:`Dequantization`). One pass through
    f gives the likelihoods of all classes.

    Args:
        prior: :math:`p(z \mid y)` over ``2 * C * H * W`` dimensions; sets the number of classes.
        event_shape: Shape ``(C, H, W)`` of the images.
        pixel_levels: Number of values of a quantized pixel.
        levels: Number of levels of the multi-scale architecture.
        blocks: Steps per level.
        width: Hidden channels of the coupling networks.
        precision: Of the products inside the coupling networks; all other operations, including
            log-determinants, are in float32.
        constant_memory: Recompute activations through the inverse instead of storing them; see
            :class:`Compose`.
        generator: Random generator of the initial rotations.

    Raises:
        ConfigError: If height or width cannot be halved after each level but the last.

    Examples:
        >>> from condgen.models.glow.priors import ClassMixture
        >>> glow = Glow(ClassMixture(10, 128), event_shape=(1, 8, 8), levels=2, blocks=2, width=16)
        >>> glow.class_log_prob(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """

    memory_hint = 'a smaller model.width or model.blocks, or model.memory = "constant"'

    def __init__(
        self,
        prior: Prior,
        *,
        event_shape: tuple[int, int, int],
        pixel_levels: int = 256,
        levels: int = 4,
        blocks: int = 12,
        width: int = 128,
        precision: torch.dtype | None = None,
        constant_memory: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_halving(event_shape, levels)
        if blocks < 0:
            raise ConfigError(f"a level cannot have {blocks} blocks; use 0 or more.")
        generator = generator or torch.Generator().manual_seed(0)
        channels, height, columns = event_shape
        self.num_classes, self.event_shape, self.pixel_levels = (
            prior.num_classes,
            event_shape,
            pixel_levels,
        )
        self.class_subspace = isinstance(prior, SplitPrior)
        self.blocks, self.width = blocks, width
        self.noisy = Dequantization(event_shape, pixel_levels)
        noisy_shape = (2 * channels, height, columns)
        self.flow = MultiScale(
            [
                Compose(
                    [
                        step
                        for _ in range(blocks)
                        for step in block(shape[0], width, precision, generator)
                    ],
                    constant_memory,
                )
                for shape in level_shapes(noisy_shape, levels)
            ],
            noisy_shape,
        )
        self.prior = prior
        self.actnorms = [step for step in self.modules() if isinstance(step, ActNorm)]

    def compile_for_training(self, **options: Any) -> None:
        """Compile the flow for training steps after the first one, which initializes actnorm.

        Args:
            options: For :func:`torch.compile`. Default: the whole flow as one graph, or an error;
                run as a CUDA graph, or without one and with a warning.

        Raises:
            ConfigError: If activations are recomputed, which cannot be compiled.
        """
        check_compilable("constant", self._recomputing)
        self.flow.compile(**{"fullgraph": True, "mode": "reduce-overhead", **options})

    def parts(self) -> list[tuple[str, str]]:
        shapes = [
            (
                f"level {depth}",
                f"{channels} x {height} x {width}, {self.blocks} blocks of width {self.width}",
            )
            for depth, (channels, height, width) in enumerate(self.flow.shapes, start=1)
        ]
        return [*shapes, ("latent vector", f"{self.prior.dims} dimensions")]

    @contextmanager
    def executed_on(self, device: str) -> Iterator[None]:
        with path_of(device):
            yield

    @contextmanager
    def counted(self) -> Iterator[bool]:
        with counted_without("constant_memory", self._recomputing) as recomputes:
            yield recomputes

    def class_log_prob(self, x: Tensor) -> Tensor:
        log_prob: Tensor = self(x)[0]
        return log_prob

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        with own_precision(x.device):
            z, log_det = self.encode(x)
            log_prior, subspace = self.prior(z)
            return log_prior + log_det[:, None], subspace

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map images to latent vectors.

        Returns:
            ``z``, shape ``(N, 2 * dims)``, and :math:`\log p(x \mid y) - \log p(z \mid y)` in nats,
            shape ``(N,)``.
        """
        noisy = self.noisy(x, self.noise_generator)
        if self.training and not self._settled:
            z, log_det = self.flow.forward(noisy)  # actnorm needs the whole batch
        elif torch.is_grad_enabled():  # only `self.flow(...)` runs the compiled flow
            z, log_det = self.flow(noisy) if self.training else self.flow.forward(noisy)
        else:
            z, log_det = machine.map_chunks(self.flow.precompute(), noisy)
        return z, log_det + self.noisy.log_volume

    def decode(self, z: Tensor) -> Tensor:
        """Images whose :meth:`encode` is ``z``, shape ``(N, C, H, W)``, not clipped to [0, 1]."""
        return self.noisy.images(machine.map_chunks(self.flow.inverse, z)[0])

    @torch.no_grad()
    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Draw an image in [0, 1] for each label, quantized, shape ``(N, C, H, W)``.

        In the tails of a prior the inverse of a flow may overflow; such a z is drawn again.

        Raises:
            ConfigError: If the temperature is negative, not finite, or so high that images
                overflow.
            ImageError: If a label is not a class of the model.
        """
        check_temperature(temperature)
        check_labels(label, self.num_classes)
        x = next(self.parameters()).new_full((len(label), *self.event_shape), torch.nan)
        left = torch.arange(len(label))
        for _ in range(DRAWS):
            with own_precision(x.device):
                z = self.prior.sample(label[left], temperature, generator)
                x[left] = torch.cat([self.decode(part) for part in z.split(DECODED_AT_ONCE)])
            left = torch.nonzero(~torch.isfinite(x).flatten(1).all(1)).flatten().cpu()
            if not len(left):
                most = self.noisy.pixel_levels - 1
                return (x.clamp(*self.bounds) * most).round() / most
        raise ConfigError(
            f"{len(left)} of {len(label)} samples were not finite in {DRAWS} draws; use a"
            f" temperature below {temperature:g}."
        )

    def rsample(self, label: Tensor, *, generator: torch.Generator) -> Tensor:
        check_labels(label, self.num_classes)
        with own_precision(label.device), inverse_bounded(self, SMALLEST_LOG_SCALE):
            z = self.prior.sample(label, 1.0, generator)
            v, _ = self.flow.inverse(z)
        return v[:, : self.event_shape[0]] + 0.5

    def dequantized(self, x: Tensor, generator: torch.Generator) -> Tensor:
        noisy: Tensor = self.noisy(x, generator)
        return noisy[:, : self.event_shape[0]] + 0.5

    def log_condition(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        flow = copy.deepcopy(self.flow).double()
        with own_precision(x.device), inverse_bounded(flow, SMALLEST_LOG_SCALE):
            v = self.noisy(x, generator).double()
            return log_condition(flow.forward, flow.inverse, v, generator)

    def log_scales(self) -> Tensor:
        steps = [
            each for each in self.modules() if isinstance(each, (ActNorm, Invertible1x1Convolution))
        ]
        return torch.cat([step.log_scale.flatten() for step in steps])

    @property
    def _settled(self) -> bool:
        return all(actnorm.settled for actnorm in self.actnorms)

    @property
    def _recomputing(self) -> list[Compose]:
        return [
            step for step in self.modules() if isinstance(step, Compose) and step.constant_memory
        ]
