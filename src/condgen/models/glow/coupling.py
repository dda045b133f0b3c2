"""Affine coupling: half of the channels determine scale and shift of the other half."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from condgen.errors import ConfigError
from condgen.models.glow.bijections import Bijection, Map, channels_first, images_first
from condgen.models.glow.coupling_network import CouplingNetwork

OPEN = 2.0  # initial scale: sigmoid(2) = 0.88; scales below 1 keep deep flows finite


class AffineCoupling(Bijection):
    r""":math:`z^1 = x^1,\; z^2 = s(x^1) \odot (x^2 + t(x^1))` with s in (0, 1).

    The scale is :math:`s = \mathrm{sigmoid}(\cdot + 2)`.

    Args:
        channels: Number of channels of ``(N, C, H, W)`` inputs, even.
        width: Hidden channels of the network for s and t.
        precision: Of the products inside that network.

    Raises:
        ConfigError: If the number of channels is not even.

    References:
        Eq. (5) of appendix A.1, with the two halves swapped and the shift inside, as in Glow.
    """

    def __init__(self, channels: int, width: int, precision: torch.dtype | None = None):
        super().__init__()
        if channels < 2 or channels % 2:
            raise ConfigError(
                f"a coupling splits its channels in half, but there are {channels}; use"
                f" {max(2, channels + channels % 2)}."
            )
        self.network = CouplingNetwork(channels // 2, channels, width, precision)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _couple(self.network, x)

    def precompute(self) -> Map:
        return partial(_couple, self.network.precompute())

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = channels_first(z).chunk(2)
        shift, log_scale = _shift_and_log_scale(self.network, kept)
        x = torch.cat([kept, changed * (-self.bounded(log_scale)).exp() - shift])
        return images_first(x), -_log_det(log_scale)

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Recompute with one network pass for both directions: the network reads the fixed half."""
        kept, changed = channels_first(z).chunk(2)
        kept = kept.detach().requires_grad_()
        with torch.enable_grad():
            shift, log_scale = _shift_and_log_scale(self.network, kept)
            before = (changed * (-log_scale).exp() - shift).detach().requires_grad_()
            again = torch.cat([kept, (before + shift) * log_scale.exp()])
            return (kept, before), images_first(again), _log_det(log_scale)


def _couple(network: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    kept, changed = channels_first(x).chunk(2)
    shift, log_scale = _shift_and_log_scale(network, kept)
    z = torch.cat([kept, (changed + shift) * log_scale.exp()])
    return images_first(z), _log_det(log_scale)


def _shift_and_log_scale(
    network: Callable[[Tensor], Tensor], kept: Tensor
) -> tuple[Tensor, Tensor]:
    """Shift and log-scale, shape ``(C, H, W, N)`` like ``kept``."""
    shift, raw = channels_first(network(images_first(kept))).chunk(2)
    return shift, logsigmoid(raw + OPEN)


def _log_det(log_scale: Tensor) -> Tensor:
    """Log-determinant of each image, shape ``(N,)``.

    The batch dimension becomes the outermost one before the sum. Vectorized over images, the order
    of summation would depend on the batch size, and with it the last bits of the result.
    """
    return images_first(log_scale).contiguous().flatten(1).sum(1)
