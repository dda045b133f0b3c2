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
    """Within this context ``torch.autocast`` around it changes nothing."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


class ClassConditionalDensity(nn.Module, abc.ABC):
    r"""A model of :math:`p(x \mid y)`; everything else in the library follows from :meth:`class_log_prob`.

    A subclass sets ``num_classes`` and ``event_shape`` and writes that one method. Optional: ``bounds``, the closed
    interval that each input value lives in, such as (-1.0, 1.0), to which a classifier scales images; ``pixel_levels``,
    how many values a stored pixel can take (``None`` for data that is continuous by nature, and never scaled);
    ``class_subspace``, whether :meth:`forward` returns a second part; and ``memory_hint``, which settings of the model
    save memory.

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
    class_subspace: bool = False
    memory_hint: str = ""
    settings: ModelSettings | None = None  # how it was built, where a family has built it
    noise_generator: torch.Generator | None = None

    @abc.abstractmethod
    def class_log_prob(self, x: Tensor) -> Tensor:
        r"""Log-likelihood of each image under each class, :math:`\log p(x \mid y)`.

        Args:
            x: Images within ``bounds``, shape ``(N, *event_shape)``.

        Returns:
            Nats per image, shape ``(N, num_classes)``, of the pixel values as stored, so that dividing by
            ``-dims * ln 2`` gives bits/dim with no further offset. Differentiable in ``x``.

        Note:
            In ``eval()`` the answer for an image depends on neither its batch nor the random state.

        References:
            Sec. 4 and eq. (4).
        """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        r"""``class_log_prob`` and, where the model keeps a subspace for the class, its part :math:`\log p(z_s \mid y)`.

        Only a model with such a subspace (A.4) overrides this.
        """
        return self.class_log_prob(x), None

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """One image within ``bounds`` for each label, shape ``(N, *event_shape)``; for models that can be drawn from.

        Raises:
            CondgenError: If this model has no such method of its own.
        """
        raise CondgenError(
            f"{type(self).__name__} cannot be sampled from; give it a `sample` method."
        )

    def compile_for_training(self) -> None:
        """Let training steps run a compiled model.

        Raises:
            ConfigError: If this model cannot be compiled.
        """
        raise ConfigError(
            f"{type(self).__name__} cannot be compiled; set training.compile to false."
        )

    def parts(self) -> list[tuple[str, str]]:
        """Names and values of what the model is made of, for its summary."""
        return []

    @contextmanager
    def executed_on(self, device: str) -> Iterator[None]:
        """Within this context, the operations of a type of device ("cpu" or "cuda") run, wherever the model is."""
        yield

    @contextmanager
    def counted(self) -> Iterator[bool]:
        """Within this context, all operations can be counted.

        Yields:
            Whether training makes one more forward pass than the counter sees.
        """
        yield False

    @property
    def dims(self) -> int:
        """Dimensions of one image: what "per dim" divides by."""
        return math.prod(self.event_shape)

    @contextmanager
    def fresh_noise(self, generator: torch.Generator | None) -> Iterator[None]:
        """Within this context a model that adds noise (dequantization, noise channels) draws it from ``generator``.

        Outside of it such a model uses fixed noise in ``eval()``; a model without noise is free to ignore it.
        """
        before = self.noise_generator
        self.noise_generator = generator
        try:
            yield
        finally:
            self.noise_generator = before
