"""The gradient of a module, averaged over processes by PyTorch's data-parallel engine."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from condgen import processes
from condgen.errors import ConfigError

Found = TypeVar("Found")
Compute = Callable[[], tuple[Tensor, Found]]


class Replicas:
    """A module of which every process has a copy, with equal parameters.

    During a backward pass the engine averages gradients over processes while others are still
    being computed. With one process there is no engine.

    Args:
        module: The module, on its device; it gets the parameters of the first process.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self._engine: DistributedDataParallel | None = None
        if processes.count() > 1:
            # of 1x1 convolutions, whose strides mean the same
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._engine = DistributedDataParallel(
                _Computation(module), forward_sync_buffers=False, gradient_as_bucket_view=True
            )

    def backward(self, compute: Compute[Found], *, last: bool = True) -> Found:
        """Accumulate the gradient of a loss.

        Args:
            compute: Returns the loss, a scalar, and anything else.
            last: Whether this is the last loss of a step; the sum of their gradients is averaged.

        Returns:
            What ``compute`` returns besides the loss.
        """
        if self._engine is None:
            loss, found = compute()
            loss.backward()
            return found
        with nullcontext() if last else self._engine.no_sync():
            loss, found = self._engine(compute)
            loss.backward()
        if last:
            self._check_all_used()
        return found

    def _check_all_used(self) -> None:
        """The engine waits for the gradient of every parameter."""
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise ConfigError(
                    f"the loss does not depend on the parameter '{name}', and several processes"
                    " train only models with a gradient for every parameter; set its"
                    " requires_grad to False, or train with one process."
                )


class _Computation(nn.Module):
    """Lets the engine run any computation with the parameters of a module."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, compute: Compute[Found]) -> tuple[Tensor, Found]:
        return compute()
