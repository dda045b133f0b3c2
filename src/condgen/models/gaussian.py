"""One Gaussian per class: the smallest density, a baseline and a test oracle."""

import math

import torch
from torch import Tensor

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.models.distributions import GAUSSIAN, log_prob
from condgen.validation import check_tensor, is_number


class DiagonalGaussian(ClassConditionalDensity):
    r"""One Gaussian per class, :math:`p(x \mid y) = \mathcal{N}(x; \mu_y, \sigma^2 I)`.

    Each class has a mean; all classes share the scale. Quantized values are dequantized to the
    middle of their bin.

    Args:
        mean: Class means in [0, 1], shape ``(C, *event_shape)``.
        scale: Standard deviation, in the unit of the images.
        pixel_levels: Number of values of a quantized pixel.

    Examples:
        >>> density = DiagonalGaussian(mean=torch.rand(10, 1, 4, 4))
        >>> density.class_log_prob(torch.rand(2, 1, 4, 4)).shape
        torch.Size([2, 10])
    """

    mean: Tensor

    def __init__(self, mean: Tensor, scale: float = 0.2, pixel_levels: int = 256):
        super().__init__()
        check_tensor(mean, "mean")
        if mean.ndim < 2 or not mean.is_floating_point() or not torch.isfinite(mean).all():
            raise CondgenError(
                f"mean is {mean.dtype} of shape {tuple(mean.shape)}, expected finite numbers of"
                " shape (C, ...)."
            )
        if not (is_number(scale) and scale > 0):
            raise CondgenError(f"scale is {scale!r}, expected a positive number.")
        self.num_classes, *shape = mean.shape
        self.event_shape = tuple(shape)
        self.pixel_levels: int = pixel_levels
        self.register_buffer("mean", mean)
        self.log_scale = math.log(scale)

    def class_log_prob(self, x: Tensor) -> Tensor:
        mean = self.mean.flatten(1)
        log_density = log_prob(
            GAUSSIAN, x.flatten(1)[:, None], mean, x.new_full((), self.log_scale).expand_as(mean)
        )
        return log_density - self.dims * math.log(self.pixel_levels - 1)

    @classmethod
    def fitted(cls, x: Tensor, label: Tensor, pixel_levels: int = 256) -> "DiagonalGaussian":
        """Maximum-likelihood fit: a mean per class and one shared scale."""
        if missing := sorted(set(range(int(label.max()) + 1)) - set(label.tolist())):
            raise CondgenError(
                f"classes {missing} have no images; number the classes without gaps."
            )
        mean = torch.stack([x[label == y].mean(0) for y in range(int(label.max()) + 1)])
        return cls(mean, (x - mean[label]).std().item(), pixel_levels)
