"""Independent random streams: one for each purpose, epoch and step."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 256  # images whose random numbers are drawn together


@dataclass(frozen=True)
class Rows:
    """Some images of a batch that is spread over processes or parts.

    Args:
        index: Their rows in the batch, increasing, shape ``(n,)``.
        total: Size of the batch.
    """

    index: Tensor
    total: int

    def __len__(self) -> int:
        return len(self.index)


_rows: ContextVar[Rows | None] = ContextVar("rows", default=None)


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

    This makes code that takes no generator, such as dropout, reproducible. Processes that share a
    batch get different seeds. The state of the global generators is restored afterwards.

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
    rows = _rows.get()
    first = int(rows.index[0]) if rows is not None and len(rows) else 0
    for each in generators:
        each.manual_seed(seed + first)
    try:
        yield
    finally:
        for each, state in zip(generators, before, strict=True):
            each.set_state(state)


@contextmanager
def drawing_for(rows: Rows) -> Iterator[None]:
    """Context in which :func:`draw` gives the numbers of these rows of a batch."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def draw(
    sampler: Callable[[tuple[int, ...], torch.Generator], Tensor],
    shape: tuple[int, ...],
    generator: torch.Generator,
) -> Tensor:
    """Random numbers for the images of a batch, the same ones however the batch is spread.

    Within :func:`drawing_for`, numbers are drawn for the whole batch, in blocks of :data:`BLOCK`
    images, of which a process draws the first one and its own.

    Args:
        sampler: Draws numbers of a shape, such as ``torch.randn``, with a generator.
        shape: Shape of the numbers; its first dimension counts the images here.
        generator: The same state in all processes; it advances alike in all of them.

    >>> sampler = lambda shape, generator: torch.rand(shape, generator=generator)
    >>> whole = draw(sampler, (5, 2), stream(0, "noise"))
    >>> with drawing_for(Rows(torch.tensor([3, 4]), total=5)):
    ...     part = draw(sampler, (2, 2), stream(0, "noise"))
    >>> bool((part == whole[3:]).all())
    True
    """
    rows = _rows.get()
    if rows is None or len(rows) == rows.total <= BLOCK:
        return sampler(shape, generator)
    seed = zlib.crc32(generator.get_state().cpu().numpy().tobytes())
    blocks = {0: sampler((min(BLOCK, rows.total), *shape[1:]), generator)}
    for block in torch.unique(rows.index // BLOCK).tolist():
        if block:
            number = min(BLOCK, rows.total - BLOCK * block)
            own = torch.Generator(generator.device).manual_seed(seed + block)
            blocks[block] = sampler((number, *shape[1:]), own)
    return torch.cat(
        [
            numbers[(rows.index[rows.index // BLOCK == block] % BLOCK).to(numbers.device)]
            for block, numbers in sorted(blocks.items())
        ]
    )


def uniform(
    shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """:func:`draw` from the uniform distribution on [0, 1), on the device of the generator."""

    def sampler(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype, device=generator.device)

    return draw(sampler, shape, generator)


def integers(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """:func:`draw` whole numbers from ``low`` to ``high - 1``."""

    def sampler(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randint(low, high, shape, generator=generator, device=generator.device)

    return draw(sampler, shape, generator)
