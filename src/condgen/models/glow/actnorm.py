"""Actnorm: a per-channel affine map, initialized to normalize the data."""

import torch
from torch import Tensor, nn

from condgen.models.first_batch import SMALLEST_STD, InitializedByData, std_mean
from condgen.models.glow.bijections import Bijection, Map


class ActNorm(InitializedByData, Bijection):
    r""":math:`z_c = s_c\,(x_c + b_c)` per channel, initialized to zero mean and unit variance of z.

    The first batch in training mode initializes :math:`s` and :math:`b`.

    Args:
        channels: Number of channels of ``(N, C, H, W)`` inputs.

    References:
        Kingma & Dhariwal, Glow, Sec. 3.1.

    Examples:
        >>> z, _ = ActNorm(3)(5 + 2 * torch.randn(64, 3, 8, 8))
        >>> bool(z.mean().abs() < 1e-5)
        True
    """

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.settled:
            self.settle(x)
        return (x + self.shift) * self.log_scale.exp(), self._log_det(x)

    def precompute(self) -> Map:
        scale, per_pixel = self.log_scale.exp(), self.log_scale.sum()
        return lambda x: ((x + self.shift).mul_(scale), x.shape[-2] * x.shape[-1] * per_pixel)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (-self.bounded(self.log_scale)).exp() - self.shift, -self._log_det(z)

    def set_from(self, x: Tensor) -> list[nn.Parameter]:
        std, mean = (each.view_as(self.shift) for each in std_mean(x))
        self.shift.copy_(-mean)
        self.log_scale.copy_(-std.clamp_min(SMALLEST_STD).log())
        return [self.shift, self.log_scale]

    def _log_det(self, x: Tensor) -> Tensor:
        return (x.shape[-2] * x.shape[-1] * self.log_scale.sum()).expand(len(x))
