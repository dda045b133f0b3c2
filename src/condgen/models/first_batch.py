"""Layers that the first training batch initializes: actnorm, weight normalization."""

import abc
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

# lower bound: a channel that is constant in the first batch would get an infinite scale
SMALLEST_STD = 1e-3


class InitializedByData(nn.Module, abc.ABC):
    """A layer that initializes itself on its first batch in training mode.

    The saved state contains the flag ``initialized``. In distributed training all processes use the
    values of rank 0. Its batch is enough, and a broadcast makes all copies bitwise equal. A sum of
    statistics over processes would need a fixed order for that.

    A subclass calls :meth:`settle` in ``forward`` while it is in training mode and not ``settled``.
    """

    initialized: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initialized", torch.tensor(False))
        # True once the buffer was read as True: on a GPU each read waits for all queued kernels
        self.settled = False
        self.register_load_state_dict_post_hook(_reset_settled)

    @abc.abstractmethod
    def set_from(self, x: Tensor) -> list[nn.Parameter]:
        """Set parameters from a batch, shape ``(N, C, H, W)``; returns those that were set."""

    def settle(self, x: Tensor) -> None:
        """Initialize from ``x`` unless that was done before; an empty batch does nothing."""
        if not self.initialized and len(x):
            self.initialize(x)
        self.settled = bool(self.initialized)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set parameters from a batch, shape ``(N, C, H, W)``."""
        changed = self.set_from(x)
        if dist.is_available() and dist.is_initialized():
            for parameter in changed:
                dist.broadcast(parameter, src=0)
        self.initialized.fill_(True)


def _reset_settled(module: nn.Module, _: object) -> None:
    """Read ``initialized`` again: loaded weights may or may not be initialized."""
    cast(InitializedByData, module).settled = False
