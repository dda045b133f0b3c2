"""Independent random streams: one for each purpose, epoch and step."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, *path: str | int) -> torch.Generator:
    """Return a generator for ``seed`` and ``path``, such as ``("noise", epoch, step)``.

    >>> first, again, other = stream(0, "noise", 3), stream(0, "noise", 3), stream(0, "noise", 4)
    >>> bool(torch.rand(1, generator=first) == torch.rand(1, generator=again))
    True
    """
    return torch.Generator().manual_seed(int(numpy_stream(seed, *path).integers(2**63)))


def numpy_stream(seed: int, *path: str | int) -> np.random.Generator:
    """Return a NumPy generator for ``seed`` and ``path``."""
    words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in path]
    return np.random.default_rng([seed, *words])


@contextmanager
def seeded(generator: torch.Generator, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch's global generators with a number of ``generator`` within this context.

    This makes code that takes no generator, such as dropout, reproducible. The state of the global
    generators is restored afterwards.

    Args:
        generator: Gives one number.
        device: Device of the computation; the CPU's global generator is always seeded.

    >>> with seeded(stream(0, "dropout")):
    ...     first = torch.rand(1)
    >>> with seeded(stream(0, "dropout")):
    ...     bool(torch.rand(1) == first)
    True
    """
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        torch.cuda.init()
        generators.append(torch.cuda.default_generators[device.index or 0])
    before = [each.get_state() for each in generators]
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    for each in generators:
        each.manual_seed(seed)
    try:
        yield
    finally:
        for each, state in zip(generators, before, strict=True):
            each.set_state(state)
