"""Affine coupling: half of the channels decide how the other half is scaled and shifted."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from condgen.errors import ConfigError
from condgen.models.glow.bijections import Bijection, Map, channels_first, images_first
from condgen.models.glow.coupling_network import CouplingNetwork

OPEN = 2.0  # scales start at sigmoid(2) = 0.88 and never exceed 1, which keeps deep flows finite


class AffineCoupling(Bijection):
    r""":math:`z^1 = x^1,\; z^2 = s(x^1) \odot (x^2 + t(x^1))` with :math:`s = \mathrm{sigmoid}(\cdot + 2)`.

    Args:
        channels: Number of channels of ``(N, C, H, W)`` inputs, even.
        width: Hidden channels of the network that gives s and t.
        precision: Of the products inside that network.

    Raises:
        ConfigError: If the channels cannot be halved.

    References:
        Eq. (5) of appendix A.1, with the halves' roles swapped and the shift inside, as in Glow.
    """

    def __init__(self, channels: int, width: int, precision: torch.dtype | None = None):
        super().__init__()
        if channels < 2 or channels % 2:
            raise ConfigError(
                f"a coupling halves its channels and there are {channels}; use {max(2, channels + channels % 2)}."
            )
        self.network = CouplingNetwork(channels // 2, channels, width, precision)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _coupled(self.network, x)

    def precompute(self) -> Map:
        return partial(_coupled, self.network.precompute())

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = channels_first(z).chunk(2)
        shift, log_scale = _shift_and_log_scale(self.network, kept)
        x = torch.cat([kept, changed * (-log_scale).exp() - shift])
        return images_first(x), -_of_each_image(log_scale)

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """One pass through the network serves the inverse and the graph: it reads the half that stays as it is."""
        kept, changed = channels_first(z).chunk(2)
        kept = kept.detach().requires_grad_()
        with torch.enable_grad():
            shift, log_scale = _shift_and_log_scale(self.network, kept)
            before = (changed * (-log_scale).exp() - shift).detach().requires_grad_()
            again = torch.cat([kept, (before + shift) * log_scale.exp()])
            return (kept, before), images_first(again), _of_each_image(log_scale)


def _coupled(network: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    kept, changed = channels_first(x).chunk(2)
    shift, log_scale = _shift_and_log_scale(network, kept)
    return images_first(torch.cat([kept, (changed + shift) * log_scale.exp()])), _of_each_image(
        log_scale
    )


def _shift_and_log_scale(
    network: Callable[[Tensor], Tensor], kept: Tensor
) -> tuple[Tensor, Tensor]:
    """Each ``(C, H, W, N)``, as is ``kept``."""
    shift, raw = channels_first(network(images_first(kept))).chunk(2)
    return shift, logsigmoid(raw + OPEN)


def _of_each_image(log_scale: Tensor) -> Tensor:
    """The log-determinant, shape ``(N,)``.

    Images are made the outermost first: summed side by side in a vector unit, the order of a sum, and so its last bits, would
    depend on how many images there are.
    """
    return images_first(log_scale).contiguous().flatten(1).sum(1)
