"""The model interface: subclass it and implement `class_log_prob`."""

import abc
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from condgen.config import ModelSettings
from condgen.errors import CondgenError, ConfigError


def own_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context that disables an enclosing ``torch.autocast``."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def round_to_levels(
    x: Tensor, levels: int | None, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Round images to ``levels`` values per pixel; ``None`` returns them unchanged.

    >>> round_to_levels(torch.tensor([0.2, 0.4]), levels=3)
    tensor([0.0000, 0.5000])
    """
    if levels is None:
        return x
    low, step = bounds[0], (bounds[1] - bounds[0]) / (levels - 1)
    return (low + ((x - low) / step).round() * step).clamp(*bounds)


class ClassConditionalDensity(nn.Module, abc.ABC):
    r"""A model of :math:`p(x \mid y)`; the rest of the library needs only :meth:`class_log_prob`.

    A subclass sets ``num_classes`` and ``event_shape`` and implements :meth:`class_log_prob`.
    Optional attributes:

    - ``bounds``: closed interval of input values, such as (-1.0, 1.0), to which a classifier scales
      images.
    - ``pixel_levels``: number of values of a quantized pixel; ``None`` for continuous data, which
      is never scaled.
    - ``discrete``: whether the likelihood is a probability of quantized images. Between levels it
      is then a relaxation that only gives gradients; attacks and paths count quantized images.
    - ``class_subspace``: whether :meth:`forward` returns a second part.
    - ``memory_hint``: settings of the model that save memory, for error messages.

    Examples:
        >>> class Uniform(ClassConditionalDensity):
        ...     num_classes, event_shape, pixel_levels = 3, (1, 2, 2), 256
        ...     def class_log_prob(self, x):
        ...         return x.new_full((len(x), 3), -self.dims * math.log(self.pixel_levels))
        >>> Uniform().class_log_prob(torch.rand(5, 1, 2, 2)).shape
        torch.Size([5, 3])
    """

    num_classes: int
    event_shape: tuple[int, ...]
    bounds: tuple[float, float] = (0.0, 1.0)
    pixel_levels: int | None = 256
    discrete: bool = False
    class_subspace: bool = False
    memory_hint: str = ""
    settings: ModelSettings | None = None  # if built from settings
    noise_generator: torch.Generator | None = None

    @abc.abstractmethod
    def class_log_prob(self, x: Tensor) -> Tensor:
        r"""Log-likelihood of each image under each class, :math:`\log p(x \mid y)`.

        Args:
            x: Images within ``bounds``, shape ``(N, *event_shape)``.

        Returns:
            Nats per image, shape ``(N, num_classes)``, of the pixel values as stored: dividing by
            ``-dims * ln 2`` gives bits/dim. Differentiable in ``x``.

        Note:
            In ``eval()`` the result for an image depends on neither its batch nor the random state.

        References:
            Sec. 4 and eq. (4).
        """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        r"""Return :meth:`class_log_prob` and :math:`\log p(z_s \mid y)` of the class subspace.

        The latter is ``None`` without a class subspace (A.4). Only models with one override this.
        """
        return self.class_log_prob(x), None

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Draw an image within ``bounds`` for each label, shape ``(N, *event_shape)``.

        Raises:
            CondgenError: If the subclass does not implement this method.
        """
        raise CondgenError(
            f"{type(self).__name__} cannot be sampled from; give it a `sample` method."
        )

    def rsample(self, label: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw a dequantized image for each label, differentiable in the parameters.

        Images have values near [0, 1], shape ``(N, *event_shape)``; they are those that
        :meth:`dequantized` returns for real images.

        Raises:
            CondgenError: If the subclass does not implement this method.
        """
        raise CondgenError(f"{type(self).__name__} has no differentiable samples.")

    def dequantized(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images with dequantization noise, as :meth:`rsample` draws them.

        Raises:
            CondgenError: If the subclass does not implement this method.
        """
        raise CondgenError(f"{type(self).__name__} has no dequantization noise.")

    def log_condition(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Log of the condition number of a flow's Jacobian at each image, estimated, ``(N,)``.

        Of the inverse that :meth:`rsample` uses, whose scales are bounded.

        Raises:
            CondgenError: If the subclass does not implement this method.
        """
        raise CondgenError(f"{type(self).__name__} is no flow.")

    def log_scales(self) -> Tensor:
        """Log-scales of the layers of a flow, in nats, one dimension; empty without any."""
        return torch.zeros(0)

    def compile_for_training(self) -> None:
        """Compile the model for training steps.

        Raises:
            ConfigError: If this model cannot be compiled.
        """
        raise ConfigError(
            f"{type(self).__name__} cannot be compiled; set training.compile to false."
        )

    def parts(self) -> list[tuple[str, str]]:
        """Names and values of the parts of the model, for the model summary."""
        return []

    @contextmanager
    def executed_on(self, device: str) -> Iterator[None]:
        """Context in which the model runs the operations of a type of device ("cpu" or "cuda").

        The model may be on another device.
        """
        yield

    @contextmanager
    def counted(self) -> Iterator[bool]:
        """Context in which all operations can be counted.

        Yields:
            Whether training runs one more forward pass than the counter sees.
        """
        yield False

    @property
    def dims(self) -> int:
        """Number of dimensions of one image, as in bits/dim."""
        return math.prod(self.event_shape)

    @contextmanager
    def fresh_noise(self, generator: torch.Generator | None) -> Iterator[None]:
        """Context in which the noise of a model comes from ``generator``.

        Noise is dequantization and noise channels. Outside of this context such a model uses fixed
        noise in ``eval()``. A model without noise may ignore it.
        """
        before = self.noise_generator
        self.noise_generator = generator
        try:
            yield
        finally:
            self.noise_generator = before
