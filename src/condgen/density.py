"""What a model must be: one method, the log-likelihood of every image under every class."""

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn

from condgen.errors import CondgenError, ImageError


class ClassConditionalDensity(nn.Module, abc.ABC):
    r"""A model of :math:`p(x \mid y)`; everything else in the library follows from :meth:`class_log_prob`.

    A subclass sets ``num_classes`` and ``event_shape`` and writes that one method. Optional: ``bounds``, the closed
    interval that each input value lives in, and ``pixel_levels``, how many values a stored pixel can take (``None`` for data
    that is continuous by nature).

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

    def sample(self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator) -> Tensor:
        """One image within ``bounds`` for each label, shape ``(N, *event_shape)``; for models that can be drawn from.

        Raises:
            CondgenError: If this model has no such method of its own.
        """
        raise CondgenError(f"{type(self).__name__} cannot be sampled from; give it a `sample` method.")

    @property
    def dims(self) -> int:
        """Dimensions of one image: what "per dim" divides by."""
        return math.prod(self.event_shape)

    @contextmanager
    def fresh_noise(self, generator: torch.Generator | None) -> Iterator[None]:
        """Within this context a model that adds noise (dequantisation, noise channels) draws it from ``generator``.

        Outside of it such a model uses fixed noise in ``eval()``; a model without noise is free to ignore it.
        """
        before = self.noise_generator
        self.noise_generator = generator
        try:
            yield
        finally:
            self.noise_generator = before


def check_model(density: object) -> None:
    """Refuse what is no model, before it is asked anything; a compiled one is one.

    Raises:
        CondgenError: If it has no ``class_log_prob``, or does not say its classes and the shape of its images.
    """
    name = type(density).__name__
    if not hasattr(density, "class_log_prob") or not hasattr(density, "fresh_noise"):
        raise CondgenError(f"the model is a {name}; make it a subclass of condgen.ClassConditionalDensity.")
    classes, shape = (getattr(density, key, None) for key in ("num_classes", "event_shape"))
    if not _counts(classes):
        raise CondgenError(f"{name}.num_classes is {classes!r}, expected a whole number from 1 on; set it in the class.")
    if not isinstance(shape, tuple) or not all(map(_counts, shape)):
        raise CondgenError(f"{name}.event_shape is {shape!r}, expected a tuple such as (1, 28, 28); set it in the class.")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no number of things.

    Raises:
        CondgenError: If it is no whole number from ``least`` on.
    """
    if not _counts(value, least):
        raise CondgenError(f"{name} is {value!r}, expected a whole number from {least} on.")


def _counts(value: object, least: int = 1) -> bool:
    return isinstance(value, Integral) and int(value) >= least  # NumPy's whole numbers too


def check_answer(answer: object, number: int, density: ClassConditionalDensity) -> None:
    """Refuse an answer to ``number`` images that is none.

    Raises:
        CondgenError: If it is not a floating-point tensor of shape ``(number, num_classes)``.
    """
    expected = (number, density.num_classes)
    if not isinstance(answer, Tensor):
        found = f"a {type(answer).__name__}"
    elif answer.shape != expected or not answer.is_floating_point():
        found = f"{answer.dtype} of shape {tuple(answer.shape)}"
    else:
        return
    raise CondgenError(
        f"{type(density).__name__}.class_log_prob gave {found}, expected a floating-point tensor of shape {expected}:"
        " (N, num_classes)."
    )


def check_tensor(value: object, name: str) -> None:
    """Refuse arrays and lists, which only look as if they would do.

    Raises:
        ImageError: Naming what to write.
    """
    if not isinstance(value, Tensor):
        raise ImageError(f"{name}: found a {type(value).__name__}, expected a tensor; torch.as_tensor({name}) makes one.")


def check_images(x: Tensor, density: ClassConditionalDensity) -> None:
    """Refuse what no model should be asked about.

    Raises:
        ImageError: If ``x`` is no tensor, is not floating point, has another shape than the model, holds a NaN, or leaves
            ``bounds``.
    """
    check_tensor(x, "images")
    if not x.is_floating_point():
        advice = f"divide stored values by {density.pixel_levels - 1}" if density.pixel_levels else "convert them"
        raise ImageError(f"images are {x.dtype}, expected floating point; {advice}.")
    if x.shape[1:] != density.event_shape or x.ndim != 1 + len(density.event_shape):
        expected = ", ".join(map(str, ("N", *density.event_shape)))
        raise ImageError(f"images have shape {tuple(x.shape)}, the model expects ({expected}).")
    if x.numel() == 0:
        return
    low, high = torch.tensor(density.bounds, dtype=x.dtype).tolist()  # a bound may be no number of that precision
    least, most = torch.stack(x.detach().aminmax()).tolist()  # one wait for the device, not four
    if math.isnan(least) or math.isnan(most):
        raise ImageError("images hold a NaN; remove or repair them first.")
    if least < low or most > high:
        found = f"[{least:.4g}, {most:.4g}]"
        raise ImageError(f"images span {found}, expected [{low:g}, {high:g}]; rescale or clamp them.")


def check_labels(label: Tensor, num_classes: int) -> None:
    """Refuse labels that name no class of the model.

    Raises:
        ImageError: If ``label`` is not a vector of integers in ``[0, num_classes)``.
    """
    check_tensor(label, "labels")
    if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
        raise ImageError(f"labels are {label.dtype} of shape {tuple(label.shape)}, expected a vector of integers.")
    if label.numel() and not (int(label.min()) >= 0 and int(label.max()) < num_classes):
        found = f"{int(label.min())} to {int(label.max())}"
        raise ImageError(f"labels run from {found}, the model knows classes 0 to {num_classes - 1}.")
