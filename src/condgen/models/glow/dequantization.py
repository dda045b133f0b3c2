"""From stored images to what the flow models: dequantization and noise channels, with their densities."""

import math

import torch
from torch import Tensor, nn


class Dequantization(nn.Module):
    r"""Centerd images with as many channels of noise: :math:`v = (s + u) / L - 1/2`, :math:`w \sim U[0, 2/L]`.

    Here :math:`s = x (L - 1)` are the values as stored and :math:`u \sim U[0, 1)` dequantizes them. Stored values have
    the density :math:`p(s) = p(v, w)\, L^{-D}\, (2/L)^{D}`; that factor, in nats, is :attr:`log_volume`.

    With a generator both noises are fresh. Without, both are one draw that every image shares, so that the answer depends
    on the image alone. (The middle of the cell, u = 1/2, would be no typical noise: a model that finds the edges of the
    cells hard says up to half a bit per dimension less there.)

    Args:
        event_shape: Shape ``(C, H, W)`` of the images.
        pixel_levels: How many values a stored pixel can take, L.

    References:
        Appendix A.3 and B: "double the number of channels with uniform(0,1) noise which we scale down to [0, 2/256]".
    """

    fixed_offset: Tensor
    fixed_noise: Tensor

    def __init__(self, event_shape: tuple[int, int, int], pixel_levels: int):
        super().__init__()
        self.pixel_levels = pixel_levels
        self.log_volume = math.prod(event_shape) * (
            math.log(2 / pixel_levels) - math.log(pixel_levels)
        )
        offset, noise = torch.rand((2, *event_shape), generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed_offset", offset)
        self.register_buffer("fixed_noise", noise * 2 / pixel_levels)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, 2 C, H, W)``."""
        if generator is None:
            offset, noise = self.fixed_offset.to(x.dtype), self.fixed_noise.to(x.dtype).expand_as(x)
        else:
            # drawn where the generator lives, so that a seed means the same noise on every device
            first, second = (
                torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
                for _ in range(2)
            )
            offset, noise = first.to(x.device), second.to(x.device) * 2 / self.pixel_levels
        return torch.cat(
            [(x * (self.pixel_levels - 1) + offset) / self.pixel_levels - 0.5, noise], dim=1
        )

    def images(self, v: Tensor) -> Tensor:
        """The images whose noisy version is ``v`` under the fixed offset; the noise channels are dropped."""
        centerd, _ = v.chunk(2, dim=1)
        return ((centerd + 0.5) * self.pixel_levels - self.fixed_offset) / (self.pixel_levels - 1)
