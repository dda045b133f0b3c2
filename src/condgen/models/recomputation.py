"""Counting the operations of models that recompute activations in the backward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def counted_without(switch: str, recomputing: Sequence[nn.Module]) -> Iterator[bool]:
    """Context in which recomputation is off and counts as one more forward pass.

    The counter of operations does not see a backward pass inside a backward pass.

    Args:
        switch: Attribute of the modules that turns recomputation on.
        recomputing: Modules for which it is on.

    Yields:
        Whether there are any.
    """
    for module in recomputing:
        setattr(module, switch, False)
    try:
        yield bool(recomputing)
    finally:
        for module in recomputing:
            setattr(module, switch, True)
