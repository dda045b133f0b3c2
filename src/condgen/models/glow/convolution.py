"""Invertible 1x1 convolution: a learned linear map of the channels."""

import torch
from torch import Tensor, nn

from condgen.models.glow.bijections import Bijection, Map, channels_first, images_first


class Invertible1x1Convolution(Bijection):
    r"""Multiply the channels of each pixel by :math:`W = P L (U + \mathrm{diag}(s))`.

    :math:`W` is initialized to a random rotation. :math:`P` and the signs of :math:`s` are fixed,
    so :math:`W` is never singular and :math:`\log |\det| = H W \sum_c \log |s_c|` is cheap. The
    inverse solves two triangular systems in float64, because a float32 inverse of :math:`W` loses
    all digits if the scales differ widely.

    Args:
        channels: Number of channels of ``(N, C, H, W)`` inputs.
        generator: Random generator of the initial rotation.

    References:
        Kingma & Dhariwal, Glow, Sec. 3.2.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, generator: torch.Generator | None = None):
        super().__init__()
        rotation, _ = torch.linalg.qr(
            torch.randn(channels, channels, generator=generator, dtype=torch.float64)
        )
        permutation, lower, upper = torch.linalg.lu(rotation)
        scale = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_scale = nn.Parameter(scale.abs().log().float())
        self.register_buffer("permutation", permutation.float())
        self.register_buffer("sign", scale.sign().float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _mix(self.weight(), x), self._log_det(x)

    def precompute(self) -> Map:
        weight, per_pixel = self.weight(), self.log_scale.sum()
        return lambda x: (_mix(weight, x), x.shape[-2] * x.shape[-1] * per_pixel)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        triangles = self._triangles(self.bounded(self.log_scale))
        lower, upper = (triangle.double() for triangle in triangles)
        channels = channels_first(z).double()
        columns = self.permutation.T.double() @ channels.flatten(1)
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        return images_first(columns.view_as(channels).to(z.dtype)), -self._log_det(z)

    def weight(self) -> Tensor:
        """W, shape ``(C, C)``."""
        lower, upper = self._triangles(self.log_scale)
        return self.permutation @ torch.addmm(upper, lower, upper)

    def _triangles(self, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """L without its diagonal of ones, and U with the scales on its diagonal."""
        return self.lower.tril(-1), self.upper.triu(1) + torch.diag(self.sign * log_scale.exp())

    def _log_det(self, x: Tensor) -> Tensor:
        return (x.shape[-2] * x.shape[-1] * self.log_scale.sum()).expand(len(x))


def _mix(weight: Tensor, x: Tensor) -> Tensor:
    channels = channels_first(x)
    return images_first((weight @ channels.flatten(1)).view_as(channels))
