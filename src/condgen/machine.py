"""Settings of the process and its devices; for programs that own their process, never done at import."""

import ctypes
import math
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import local
from typing import Any, TypeVar

import torch
from torch import Tensor

from condgen.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
LOAD = Path("/proc/loadavg")
PIECE = 16  # examples that stay together: a vector unit rounds a lone number differently from one of a full register
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MADV_HUGEPAGE = 14

Item = TypeVar("Item")
Result = TypeVar("Result")

_workers: ThreadPoolExecutor | None = None
_helpers = 0  # of the workers, beside the thread that hands out the work
_here = local()  # whether this thread is one of those that :func:`parallel_map` has work on


def prepare(threads: int | None = None) -> None:
    """Let :func:`parallel_map` use ``threads`` threads (default: :func:`free_cores`), and keep freed memory.

    Each operation by itself stays on one thread. Threads that share every small operation wait for each other after each
    of them, busily, so that two processes of two threads on two cores slow each other down by tens; :func:`parallel_map` hands
    out larger pieces, and its threads sleep when they wait.

    A training step allocates and frees the same large blocks again and again; by default glibc maps and unmaps each of
    them, and the page faults cost a quarter of the step; and each thread would have an arena of its own to warm up. What is
    kept lies in huge pages where the system grants them. Elsewhere than on glibc only the threads are set.
    """
    global _workers, _helpers
    threads = threads or free_cores()
    torch.set_num_threads(1)
    _helpers = threads - 1
    _workers = ThreadPoolExecutor(_helpers, "condgen") if _helpers else None
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
            libc.mallopt(M_ARENA_MAX, 1)
            _ask_for_huge_pages(libc, (1 << 30) - (1 << 20))


def _forget_threads() -> None:
    """Of the process that forked: they do not exist in its child, which would wait for them for ever."""
    global _workers, _helpers
    _workers, _helpers, _here.busy = None, 0, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _ask_for_huge_pages(libc: ctypes.CDLL, size: int) -> None:
    """For the next ``size`` bytes of the heap: nothing is touched here, and a system that refuses gives pages as usual.

    With pages of 4 KiB a twentieth of a training step goes into looking up where they are.
    """
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(size)
    if start is not None:
        first_page = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(first_page, start + size - first_page, MADV_HUGEPAGE)
        libc.free(start)


def parallel_map(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``work`` on each item, without recording a graph, on the threads that :func:`prepare` set, or on this one.

    Work that spreads its own parts keeps them on its thread.

    >>> parallel_map(lambda item: 2 * item, range(3))
    [0, 2, 4]
    """
    if _workers is None or not _helpers or len(items) < 2 or getattr(_here, "busy", False):
        with torch.no_grad():
            return list(map(work, items))
    inference = torch.is_inference_mode_enabled()
    lower, precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    results: list[Any] = [None] * len(items)
    left = iter(range(len(items)))  # each thread takes the next of them

    def take() -> None:
        _here.busy = True
        try:
            # these modes belong to a thread
            with (
                torch.inference_mode(inference),
                torch.no_grad(),
                torch.autocast("cpu", precision, lower),
            ):
                for number in left:
                    results[number] = work(items[number])
        finally:
            _here.busy = False

    others = [_workers.submit(take) for _ in range(min(_helpers, len(items) - 1))]
    try:
        take()
    finally:
        wait(others)
    for other in others:
        other.result()
    return results


def map_chunks(work: Callable[[Tensor], tuple[Tensor, ...]], batch: Tensor) -> tuple[Tensor, ...]:
    """``work``, which takes each example for itself, on a batch: on a CPU, a piece for each thread if no graph is recorded.

    So the small operations between the large ones are shared as well, at the price of one Python for all. Results are the same
    for any number of threads: pieces are multiples of :data:`PIECE`, and what is over goes with the last.

    >>> map_chunks(lambda batch: (2 * batch, batch.sum(1)), torch.ones(3, 4))[1]
    tensor([4., 4., 4.])
    """
    whole = len(batch) // PIECE
    pieces = min(_helpers + 1, whole)
    if torch.is_grad_enabled() or batch.device.type != "cpu" or pieces < 2:
        return work(batch)
    ends = [
        PIECE * (whole * number // pieces) for number in range(1, pieces)
    ]  # what is over goes with the last
    return tuple(
        torch.cat(parts)
        for parts in zip(*parallel_map(work, batch.tensor_split(ends)), strict=True)
    )


@contextmanager
def alone() -> Iterator[None]:
    """Let :func:`parallel_map` stay on this thread, for what looks at the operations of one thread only."""
    global _helpers
    usual, _helpers = _helpers, 0
    try:
        yield
    finally:
        _helpers = usual


def prepare_device(name: str = "auto") -> torch.device:
    """The device to compute on; "auto" is the CUDA device where there is one.

    Likelihoods are then the same on both to float32's rounding: cuDNN would otherwise drop 13 of the 23 bits (TF32).

    Raises:
        ConfigError: If "cuda" is asked for and not there, or the name is not known.
    """
    if name not in DEVICES:
        raise ConfigError(f"device {name!r} is not known; use one of {', '.join(DEVICES)}.")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError(
            f"device 'cuda' is not there (torch {torch.__version__}); use --device cpu, or a CUDA build of torch."
        )
    if name == "cpu" or not there:
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda", torch.cuda.current_device())


@cache
def multiplies_bfloat16(device: str = "cpu") -> bool:
    """Whether a type of device multiplies bfloat16 faster than float32: on tensor cores, with AMX or with AVX-512 BF16.

    A CPU's products are timed, for a few milliseconds: some with AVX-512 BF16 take twice as long for them as for float32.
    One without units for them gives the same numbers from products in float32, which take a little longer than float32 alone.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return False
    return _seconds_of_a_product(torch.bfloat16) < _seconds_of_a_product(torch.float32)


def _seconds_of_a_product(precision: torch.dtype, size: int = 256, times: int = 10) -> float:
    """The shortest of a few, which other load on the machine lengthens least."""
    left, right = torch.ones(2, size, size, dtype=precision)
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        torch.mm(left, right)
        taken.append(time.perf_counter() - start)
    return min(taken)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_cores() -> int:
    """Usable cores less those that others keep busy, at least one.

    A step is as slow as its slowest thread, and threads that wait for one another on a busy machine are slower than one
    alone. Of a machine of which this process may use a part, others are taken to keep as large a share of that part busy.
    """
    usable = usable_cores()
    return max(1, usable - round(busy_cores() * usable / (os.cpu_count() or 1)))


def busy_cores() -> float:
    """Cores busy with other processes: in the last minute and right now, whichever is less.

    What has just ended still counts in the last minute's average, and a moment's burst counts right now.
    """
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return min(average, running_now() - 1)  # one of them is this process


def running_now() -> float:
    """Threads that run or wait for a core; without Linux's table of them, no bound."""
    if not LOAD.exists():
        return math.inf
    return float(LOAD.read_text().split()[3].partition("/")[0])
