"""Dequantization and noise channels: map quantized images to inputs of the flow."""

import math

import torch
from torch import Tensor, nn

from condgen.randomness import uniform


class Dequantization(nn.Module):
    r"""Dequantized images :math:`v = (s + u) / L - 1/2`, noise channels :math:`w \sim U[0, 2/L]`.

    There are as many noise channels as image channels. The quantized values are
    :math:`s = x (L - 1)`, and :math:`u \sim U[0, 1)` dequantizes them. Their density is
    :math:`p(s) = p(v, w)\, L^{-D}\, (2/L)^{D}`; the log of the factor, in nats, is
    :attr:`log_volume`.

    With a generator, u and w are fresh noise. Without one, all images share one fixed sample of
    each, so that the result depends only on the image. (The middle of the bin, u = 1/2, is not
    typical noise: a model that fits the edges of the bins badly gives up to half a bit per
    dimension less in the middle.)

    Args:
        event_shape: Shape ``(C, H, W)`` of the images.
        pixel_levels: Number L of values of a quantized pixel.

    References:
        Appendix A.3 and B: "double the number of channels with uniform(0,1) noise which we scale
        down to [0, 2/256]".
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
        """Map images ``(N, C, H, W)`` in [0, 1] to ``(N, 2 C, H, W)``."""
        if generator is None:
            offset, noise = self.fixed_offset.to(x.dtype), self.fixed_noise.to(x.dtype).expand_as(x)
        else:
            # sampled on the device of the generator: a seed gives the same noise on every device
            first, second = (uniform(x.shape, generator, x.dtype) for _ in range(2))
            offset, noise = first.to(x.device), second.to(x.device) * 2 / self.pixel_levels
        return torch.cat(
            [(x * (self.pixel_levels - 1) + offset) / self.pixel_levels - 0.5, noise], dim=1
        )

    def images(self, v: Tensor) -> Tensor:
        """Invert :meth:`forward` with the fixed offset; the noise channels are dropped."""
        centered, _ = v.chunk(2, dim=1)
        return ((centered + 0.5) * self.pixel_levels - self.fixed_offset) / (self.pixel_levels - 1)
