"""A Gaussian with full covariance, shared by all classes or one per class."""

import math

import torch
from torch import Tensor

from condgen.errors import ConfigError
from condgen.models.simple.density import SimpleDensity

MOST_NUMBERS = 2 * 10**8  # in all covariances; 8 bytes each while fitting
OF_UNIFORM = 1 / 12  # variance of U[0, 1)


class Gaussian(SimpleDensity):
    r"""A full-covariance Gaussian of dequantized pixel values, fitted by maximum likelihood.

    The values :math:`s + u` with :math:`u \sim U[0, 1)` have mean :math:`\mu + 1/2` and covariance
    :math:`\Sigma = S + I / 12`, where :math:`S` is the covariance of the quantized values. The
    log-likelihood of an image is the expectation over u in closed form, a lower bound on its
    log-probability:

    .. math::

        E_u \log \mathcal{N}(s + u)
        = \log \mathcal{N}(s + 1/2) - \tfrac{1}{24} \mathrm{tr}\, \Sigma^{-1}

    Raises:
        ConfigError: If the covariances have more than :data:`MOST_NUMBERS` numbers.
    """

    count: Tensor
    shift: Tensor
    first: Tensor
    second: Tensor
    mean: Tensor
    whitening: Tensor
    offset: Tensor

    def allocate(self) -> None:
        if self.groups * self.dims**2 > MOST_NUMBERS:
            raise ConfigError(
                f"{self.groups} covariance matrices of {self.dims} dimensions are too large; set"
                " model.per_class=false or use smaller images, such as data.size=32."
            )
        groups, dims, double = self.groups, self.dims, torch.float64
        self.register_buffer("count", torch.zeros(groups, dtype=double), persistent=False)
        self.register_buffer("shift", torch.zeros(dims), persistent=False)
        self.register_buffer("first", torch.zeros(groups, dims, dtype=double), persistent=False)
        self.register_buffer(
            "second", torch.zeros(groups, dims, dims, dtype=double), persistent=False
        )
        self.register_buffer("mean", torch.zeros(groups, dims))
        self.register_buffer("whitening", torch.eye(dims).expand(groups, -1, -1).clone())
        self.register_buffer("offset", torch.zeros(groups))

    def class_log_prob(self, x: Tensor) -> Tensor:
        value = self.stored(x)
        squares = [
            ((value - mean) @ whitening.T).square().sum(1)
            for mean, whitening in zip(
                self.mean.to(x.dtype), self.whitening.to(x.dtype), strict=True
            )
        ]
        return self.of_classes(self.offset.to(x.dtype) - 0.5 * torch.stack(squares, dim=1))

    @torch.no_grad()
    def observe(self, x: Tensor, label: Tensor) -> None:
        """Add images to the statistics.

        Sums are of differences to the mean of the first batch, which limits cancellation.
        """
        value = self.stored(x).round()
        if not self.count.any():
            self.shift.copy_(value.mean(0).round())
        for group, members in self.of_groups(label):
            part = value[members] - self.shift
            self.count[group] += len(part)
            self.first[group] += part.double().sum(0)
            self.second[group] += part.T @ part

    @torch.no_grad()
    def solve(self) -> None:
        self.check_counts(self.count)
        dims = self.dims
        for group in range(self.groups):
            mean = self.first[group] / self.count[group]
            covariance = self.second[group] / self.count[group] - torch.outer(mean, mean)
            covariance.diagonal().add_(OF_UNIFORM)
            lower = torch.linalg.cholesky(covariance)
            whitening = torch.linalg.solve_triangular(
                lower, torch.eye(dims, dtype=lower.dtype, device=lower.device), upper=False
            )
            log_det = lower.diagonal().log().sum()
            spread = whitening.square().sum() / 24
            self.mean[group] = mean + self.shift
            self.whitening[group] = whitening
            self.offset[group] = -log_det - 0.5 * dims * math.log(2 * math.pi) - spread

    def statistics(self) -> dict[str, Tensor]:
        return {
            "count": self.count,
            "shift": self.shift,
            "first": self.first,
            "second": self.second,
        }

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Samples of the Gaussian, rounded down to a quantized value and clipped to [0, 1]."""
        group = label.cpu() if self.per_class else torch.zeros_like(label.cpu())
        noise = torch.randn(len(label), self.dims, generator=generator).to(self.mean)
        value = torch.empty_like(noise)
        for y in group.unique().tolist():
            members = group == y
            deviation = torch.linalg.solve_triangular(
                self.whitening[y], noise[members].T, upper=False
            ).T
            value[members] = self.mean[y] + 0.5 + temperature * deviation
        most = self.pixel_levels - 1
        return (value.floor().clamp(0, most) / most).view(len(label), *self.event_shape)
