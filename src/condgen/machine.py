"""Threads, memory and device; for programs that own their process, never done at import."""

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

from condgen import torchrun
from condgen.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
LOAD = Path("/proc/loadavg")
PIECE = 16  # chunk sizes are multiples of it: partly filled vector registers round differently
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MADV_HUGEPAGE = 14

Item = TypeVar("Item")
Result = TypeVar("Result")

_workers: ThreadPoolExecutor | None = None
_helpers = 0  # number of worker threads, without the calling thread
_thread = local()  # whether parallel_map uses this thread


def prepare(threads: int | None = None) -> None:
    """Set the threads of :func:`parallel_map` (default: see below), and keep freed memory.

    The default is :func:`free_cores`; if ``torchrun`` started several processes here, each gets an
    equal part of the usable cores.

    Each single operation stays on one thread. Threads that share every small operation wait for
    each other after each of them, and they wait actively. Two processes of two threads on two cores
    slow each other down more than tenfold. :func:`parallel_map` hands out larger pieces, and its
    threads sleep while they wait.

    A training step allocates and frees the same large blocks repeatedly. By default glibc maps and
    unmaps each of them, and the page faults cost a quarter of the step. Each thread would also have
    its own memory arena to warm up. Kept memory lies in huge pages if the system grants them.
    Without glibc only the threads are set.
    """
    global _workers, _helpers
    shares = torchrun.started_here()
    threads = threads or (free_cores() if shares == 1 else max(1, usable_cores() // shares))
    torch.set_num_threads(1)
    _helpers = threads - 1
    # without the initializer, the first operation of a thread is split and rounds differently
    _workers = (
        ThreadPoolExecutor(_helpers, "condgen", torch.set_num_threads, (1,)) if _helpers else None
    )
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
            libc.mallopt(M_ARENA_MAX, 1)
            _ask_for_huge_pages(libc, (1 << 30) - (1 << 20))


def _forget_threads() -> None:
    """Reset a forked process: it has no worker threads and would wait for them forever."""
    global _workers, _helpers
    _workers, _helpers, _thread.busy = None, 0, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _ask_for_huge_pages(libc: ctypes.CDLL, size: int) -> None:
    """Request huge pages for the next ``size`` bytes of the heap, without touching them.

    A system that refuses gives normal pages. With pages of 4 KiB, address translation takes a
    twentieth of a training step.
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
    """Apply ``work`` to each item, without recording a graph.

    Uses the threads set by :func:`prepare`, or only this one. Nested calls stay on their thread.

    >>> parallel_map(lambda item: 2 * item, range(3))
    [0, 2, 4]
    """
    if _workers is None or not _helpers or len(items) < 2 or getattr(_thread, "busy", False):
        with torch.no_grad():
            return list(map(work, items))
    inference = torch.is_inference_mode_enabled()
    autocast, precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    results: list[Any] = [None] * len(items)
    left = iter(range(len(items)))  # each thread takes the next index

    def take() -> None:
        _thread.busy = True
        try:
            # these modes are per thread
            with (
                torch.inference_mode(inference),
                torch.no_grad(),
                torch.autocast("cpu", precision, autocast),
            ):
                for number in left:
                    results[number] = work(items[number])
        finally:
            _thread.busy = False

    others = [_workers.submit(take) for _ in range(min(_helpers, len(items) - 1))]
    try:
        take()
    finally:
        wait(others)
    for other in others:
        other.result()
    return results


def map_chunks(work: Callable[[Tensor], tuple[Tensor, ...]], batch: Tensor) -> tuple[Tensor, ...]:
    """Apply ``work`` to a batch; on a CPU without a recorded graph, to one chunk per thread.

    ``work`` must treat each example independently. The small operations between the large ones then
    run in parallel too, but the threads share the GIL. Results are the same for any number of
    threads: chunks are multiples of :data:`PIECE`, and the last one takes the remainder.

    >>> map_chunks(lambda batch: (2 * batch, batch.sum(1)), torch.ones(3, 4))[1]
    tensor([4., 4., 4.])
    """
    whole = len(batch) // PIECE
    pieces = min(_helpers + 1, whole)
    if torch.is_grad_enabled() or batch.device.type != "cpu" or pieces < 2:
        return work(batch)
    ends = [PIECE * (whole * number // pieces) for number in range(1, pieces)]
    return tuple(
        torch.cat(parts)
        for parts in zip(*parallel_map(work, batch.tensor_split(ends)), strict=True)
    )


@contextmanager
def alone() -> Iterator[None]:
    """Keep :func:`parallel_map` on this thread, for tools that see the operations of one thread."""
    global _helpers
    usual, _helpers = _helpers, 0
    try:
        yield
    finally:
        _helpers = usual


def prepare_device(name: str = "auto", *, deterministic: bool = False) -> torch.device:
    """Return the device to compute on; "auto" is the CUDA device if there is one.

    Each process that ``torchrun`` starts on a machine gets a CUDA device of its own.

    Likelihoods are then equal on both up to float32 rounding: TF32, with which cuDNN drops 13 of
    the 23 bits, is disabled.

    Args:
        name: One of :data:`DEVICES`.
        deterministic: Use only operations whose results do not vary between two calls, for the rest
            of this process; see ``docs/determinism.md``.

    Raises:
        ConfigError: If "cuda" is requested and not available, or the name is not known.
    """
    if name not in DEVICES:
        raise ConfigError(f"device {name!r} is not known; use one of {', '.join(DEVICES)}.")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(
            f"device 'cuda' is not available (torch {torch.__version__});"
            " use --device cpu, or a CUDA build of torch."
        )
    if deterministic:
        # cuBLAS reads it when it is first used in a process
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if name == "cpu" or not available:
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = torch.are_deterministic_algorithms_enabled()
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.deterministic
    if torchrun.started_here() > 1:
        torch.cuda.set_device(torchrun.number_here())
    return torch.device("cuda", torch.cuda.current_device())


@cache
def multiplies_bfloat16(device: str = "cpu") -> bool:
    """Whether a type of device multiplies bfloat16 faster than float32.

    Units that do so are tensor cores, AMX and AVX-512 BF16. A CPU's products are timed for a few
    milliseconds: with AVX-512 BF16, some CPUs take twice as long for them as for float32. A CPU
    without such units gets the same numbers from float32 products, slightly slower than float32
    alone.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return False
    return _seconds_of_a_product(torch.bfloat16) < _seconds_of_a_product(torch.float32)


def _seconds_of_a_product(precision: torch.dtype, size: int = 256, times: int = 10) -> float:
    """Shortest time of a few matrix products, which is least affected by other load."""
    left, right = torch.ones(2, size, size, dtype=precision)
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        torch.mm(left, right)
        taken.append(time.perf_counter() - start)
    return min(taken)


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_cores() -> int:
    """Usable cores minus those that other processes keep busy, at least one.

    A step is as slow as its slowest thread. On a busy machine, threads that wait for each other are
    slower than a single thread. If this process may use a part of the machine, the load is assumed
    to be spread evenly over all cores.
    """
    usable = usable_cores()
    return max(1, usable - round(busy_cores() * usable / (os.cpu_count() or 1)))


def busy_cores() -> float:
    """Cores busy with other processes: the smaller of last minute's average and the current load.

    The average still counts processes that have just ended; the current load counts short bursts.
    """
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return min(average, running_now() - 1)  # one of them is this process


def running_now() -> float:
    """Threads that run or wait for a core; infinite without Linux's ``/proc/loadavg``."""
    if not LOAD.exists():
        return math.inf
    return float(LOAD.read_text().split()[3].partition("/")[0])
