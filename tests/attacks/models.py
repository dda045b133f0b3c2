"""Classifiers with known geometry, and deliberately broken classifiers."""

import torch
from torch import Tensor

from condgen import ClassConditionalDensity, DiagonalGaussian, GenerativeClassifier

DIMS = 16


def two_gaussians(
    distance: float = 0.6, dims: int = DIMS, pixel_levels: int = 256
) -> GenerativeClassifier:
    """Two classes on the diagonal. The boundary is the hyperplane midway: exact distances."""
    step = distance / dims**0.5 / 2
    mean = torch.stack([torch.full((1, 1, dims), 0.5 - step), torch.full((1, 1, dims), 0.5 + step)])
    return GenerativeClassifier(DiagonalGaussian(mean, scale=0.2, pixel_levels=pixel_levels))


def images(
    number: int = 8, dims: int = DIMS, seed: int = 0, spread: float = 0.04
) -> tuple[Tensor, Tensor]:
    """Images around the two means, and their labels."""
    classifier = two_gaussians(dims=dims)
    label = torch.arange(number) % 2
    noise = torch.randn(number, 1, 1, dims, generator=torch.Generator().manual_seed(seed))
    return (classifier.density.mean[label] + spread * noise).clamp(0, 1), label


def distance_to_boundary(x: Tensor) -> Tensor:
    """Distance to the boundary of :func:`two_gaussians`, without the bounds of pixel values."""
    return (x.flatten(1) - 0.5).sum(1).abs() / x[0].numel() ** 0.5


class Broken(ClassConditionalDensity):
    """Wrap a density and add one fault."""

    def __init__(self, density: ClassConditionalDensity, fault: str):
        super().__init__()
        self.density, self.fault = density, fault
        self.num_classes, self.event_shape, self.pixel_levels = (
            density.num_classes,
            density.event_shape,
            density.pixel_levels,
        )

    def class_log_prob(self, x: Tensor) -> Tensor:
        match self.fault:
            case "quantised input":
                return self.density.class_log_prob((x * 16).round() / 16)
            case "masked gradient":
                return self.density.class_log_prob(
                    x.detach() + _Reversed.apply(x) - _Reversed.apply(x).detach()
                )
            case "stochastic output":
                return self.density.class_log_prob(x) + 3 * torch.randn(len(x), self.num_classes)
            case "saturated posterior":
                posterior = (1e6 * self.density.class_log_prob(x)).softmax(-1)
                return (posterior + 1e-30).log()
            case "NaN in part of the gradient":
                return self.density.class_log_prob(_PartlyNaN.apply(x))
            case "no gradient":
                return self.density.class_log_prob(x.detach())
        raise AssertionError(self.fault)


class _Reversed(torch.autograd.Function):
    """Identity with a reversed gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return -gradient


class _PartlyNaN(_Reversed):
    """Identity with a NaN gradient on the first three pixels."""

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        broken = gradient.clone()
        broken[..., :3] = torch.nan
        return broken


class Sick(ClassConditionalDensity):
    """Wrap a density and return ``says`` for images whose first pixel exceeds ``limit``."""

    def __init__(self, density: ClassConditionalDensity, says: float, limit: float):
        super().__init__()
        self.density, self.says, self.limit = density, says, limit
        self.num_classes, self.event_shape, self.pixel_levels = (
            density.num_classes,
            density.event_shape,
            density.pixel_levels,
        )

    def class_log_prob(self, x: Tensor) -> Tensor:
        sick = x.flatten(1)[:, :1] > self.limit
        last = torch.arange(self.num_classes) == self.num_classes - 1
        return self.density.class_log_prob(x).masked_fill(sick & last, self.says)
