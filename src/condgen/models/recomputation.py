"""Models that recompute activations in the backward pass: counting and compiling them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from condgen.errors import ConfigError


def check_compilable(memory: str, recomputing: Sequence[nn.Module]) -> None:
    """Refuse to compile a model that recomputes activations.

    Args:
        memory: Its setting ``model.memory``.
        recomputing: Its modules that recompute.

    Raises:
        ConfigError: If there are any.
    """
    if recomputing:
        raise ConfigError(
            f'training.compile needs model.memory = "standard", but it is "{memory}"; change one of'
            " them before starting a run."
        )


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
