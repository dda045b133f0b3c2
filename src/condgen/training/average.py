"""An exponential moving average of a module's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class Average(Generic[Module]):
    r"""The averaged copy of a module: :math:`\bar w \leftarrow d_t \bar w + (1 - d_t)\, w`.

    The decay :math:`d_t = \min(d, (1 + t) / (10 + t))` grows, so that early weights are forgotten
    soon. After the first step the average is a plain copy, because models may initialize
    themselves on the first batch. Buffers are copied.

    Args:
        module: The module that is trained.
        decay: d, between 0 and 1.
    """

    def __init__(self, module: Module, decay: float):
        self.source, self.decay = module, decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._averaged: list[Tensor] = list(self.module.parameters())
        self._trained: list[Tensor] = list(module.parameters())

    @torch.no_grad()
    def update(self, taken: int) -> None:
        """Update the average after step number ``taken``, counted from 1; no device sync."""
        decay = min(self.decay, (1 + taken) / (10 + taken)) if taken > 1 else 0.0
        torch._foreach_lerp_(self._averaged, self._trained, 1 - decay)
        for averaged, trained in zip(self.module.buffers(), self.source.buffers(), strict=True):
            averaged.copy_(trained)
