"""Random streams from one integer seed: a stream for each purpose and each epoch, none of which disturbs another."""

import zlib

import numpy as np
import torch


def stream(seed: int, *path: str | int) -> torch.Generator:
    """A generator that depends on ``seed`` and ``path`` alone.

    >>> first, again, other = stream(0, "noise", 3), stream(0, "noise", 3), stream(0, "noise", 4)
    >>> bool(torch.rand(1, generator=first) == torch.rand(1, generator=again))
    True
    """
    return torch.Generator().manual_seed(int(numpy_stream(seed, *path).integers(2**63)))


def numpy_stream(seed: int, *path: str | int) -> np.random.Generator:
    """The same for NumPy."""
    words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in path]
    return np.random.default_rng([seed, *words])
