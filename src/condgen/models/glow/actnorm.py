"""Actnorm: a per-channel affine map, initialized to normalize the data."""

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from condgen.models.glow.bijections import Bijection, Map

# lower bound: a channel that is constant in the first batch would get an infinite scale
SMALLEST_STD = 1e-3


class ActNorm(Bijection):
    r""":math:`z_c = s_c\,(x_c + b_c)` per channel, initialized to zero mean and unit variance of z.

    The first batch in training mode initializes :math:`s` and :math:`b`; the saved state contains
    the flag ``initialized``. In distributed training all processes use the values of rank 0. Its
    batch is enough, and a broadcast makes all copies bitwise equal. A sum of statistics over
    processes would need a fixed order for that.

    Args:
        channels: Number of channels of ``(N, C, H, W)`` inputs.

    References:
        Kingma & Dhariwal, Glow, Sec. 3.1.

    Examples:
        >>> z, _ = ActNorm(3)(5 + 2 * torch.randn(64, 3, 8, 8))
        >>> bool(z.mean().abs() < 1e-5)
        True
    """

    initialized: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(False))
        # True once the buffer was read as True: on a GPU each read waits for all queued kernels
        self.settled = False
        self.register_load_state_dict_post_hook(_reset_settled)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.settled:
            if not self.initialized and len(x):
                self.initialize(x)
            self.settled = bool(self.initialized)
        return (x + self.shift) * self.log_scale.exp(), self._log_det(x)

    def precompute(self) -> Map:
        scale, per_pixel = self.log_scale.exp(), self.log_scale.sum()
        return lambda x: ((x + self.shift).mul_(scale), x.shape[-2] * x.shape[-1] * per_pixel)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() - self.shift, -self._log_det(z)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set shift and scale from a batch of shape ``(N, C, H, W)``."""
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
        self.shift.copy_(-mean[0])
        self.log_scale.copy_(-std[0].clamp_min(SMALLEST_STD).log())
        if dist.is_available() and dist.is_initialized():
            for parameter in (self.shift, self.log_scale):
                dist.broadcast(parameter, src=0)
        self.initialized.fill_(True)

    def _log_det(self, x: Tensor) -> Tensor:
        return (x.shape[-2] * x.shape[-1] * self.log_scale.sum()).expand(len(x))


def _reset_settled(module: nn.Module, _: object) -> None:
    """Read ``initialized`` again: loaded weights may or may not be initialized."""
    cast(ActNorm, module).settled = False
