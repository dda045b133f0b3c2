"""Layers that the first training batch initializes: actnorm, weight normalization."""

import abc
from typing import cast

import torch
from torch import Tensor, nn

from condgen import processes

# lower bound: a channel that is constant in the first batch would get an infinite scale
SMALLEST_STD = 1e-3


class InitializedByData(nn.Module, abc.ABC):
    """A layer that initializes itself on its first batch in training mode.

    The saved state contains the flag ``initialized``. Processes that share a batch use the
    statistics of the whole batch, and the values that the first process computes from them.

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
        for parameter in self.set_from(x):
            processes.copy_from_first(parameter)
        self.initialized.fill_(True)


def std_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean of each channel over the batches of all processes, ``(C,)``.

    Args:
        x: The batch of this process, shape ``(N, C, H, W)``.
    """
    std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
    if processes.count() == 1:
        return std, mean
    found = processes.gather((len(x), std.double().cpu(), mean.double().cpu()))
    sizes = torch.tensor([size for size, _, _ in found], dtype=torch.float64)
    weights = (sizes / sizes.sum())[:, None]
    stds, means = (
        torch.stack(column) for column in zip(*(each[1:] for each in found), strict=True)
    )
    center = (weights * means).sum(0)
    variance = (weights * (stds.square() + (means - center).square())).sum(0)
    return variance.sqrt().to(std), center.to(mean)


def _reset_settled(module: nn.Module, _: object) -> None:
    """Read ``initialized`` again: loaded weights may or may not be initialized."""
    cast(InitializedByData, module).settled = False
