"""Densities fitted in closed form from sufficient statistics."""

import abc

import torch
from torch import Tensor

from condgen.density import ClassConditionalDensity
from condgen.errors import ConfigError
from condgen.validation import check_labels


class SimpleDensity(ClassConditionalDensity):
    r"""A density with sufficient statistics.

    A subclass implements :meth:`class_log_prob`, :meth:`observe`, :meth:`solve` and
    :meth:`statistics`, and allocates its buffers in :meth:`allocate`.

    Args:
        event_shape: Shape ``(C, H, W)`` of the images.
        num_classes: C; labels run from 0 to C - 1.
        pixel_levels: Number L of values of a quantized pixel.
        per_class: Fit one density per class. With ``False`` all classes share one.

    Examples:
        >>> from condgen.models.simple import IndependentPixels
        >>> density = IndependentPixels((1, 2, 2), num_classes=2, pixel_levels=4)
        >>> density.fit(torch.ones(6, 1, 2, 2), torch.tensor([0, 1, 0, 1, 0, 1]))
        >>> density.class_log_prob(torch.ones(1, 1, 2, 2)).exp().round(decimals=2)
        tensor([[0.9400, 0.9400]])
    """

    pixel_levels: int

    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_classes: int,
        pixel_levels: int = 256,
        per_class: bool = False,
    ):
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.num_classes, self.pixel_levels, self.per_class = num_classes, pixel_levels, per_class
        self.groups = num_classes if per_class else 1
        self.allocate()

    def allocate(self) -> None:
        """Register the buffers of :attr:`groups` densities.

        Raises:
            ConfigError: If they are too large.
        """

    def fit(self, x: Tensor, label: Tensor) -> None:
        """Fit to images in [0, 1], shape ``(N, *event_shape)``, and labels, shape ``(N,)``."""
        self.observe(x, label)
        self.solve()

    @abc.abstractmethod
    def observe(self, x: Tensor, label: Tensor) -> None:
        """Add images and their labels to the sufficient statistics."""

    @abc.abstractmethod
    def solve(self) -> None:
        """Set the parameters from all images observed so far.

        Raises:
            ConfigError: If a class has no image.
        """

    @abc.abstractmethod
    def statistics(self) -> dict[str, Tensor]:
        """Sufficient statistics by name, to resume from."""

    def stored(self, x: Tensor) -> Tensor:
        """Pixel values scaled to [0, L - 1], shape ``(N, D)``."""
        return (x * (self.pixel_levels - 1)).flatten(1)

    def of_groups(self, label: Tensor) -> list[tuple[int, Tensor]]:
        """Each group of classes in ``label`` with a mask of its images, shape ``(N,)``."""
        check_labels(label, self.num_classes)
        if not self.per_class:
            return [(0, torch.ones_like(label, dtype=torch.bool))]
        return [(y, label == y) for y in label.unique().tolist()]

    def of_classes(self, log_prob: Tensor) -> Tensor:
        """Expand shape ``(N, groups)`` to ``(N, num_classes)``."""
        return log_prob.expand(-1, self.num_classes)

    def check_counts(self, count: Tensor) -> None:
        """Refuse groups without images.

        Raises:
            ConfigError: If a group has no image.
        """
        if not bool((count > 0).all()):
            missing = torch.nonzero(count == 0).flatten().tolist()
            raise ConfigError(
                f"classes {missing} have no training images to fit a density to; add some, or set"
                " model.per_class=false."
            )
