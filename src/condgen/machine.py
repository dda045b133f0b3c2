"""Settings of the process that pay on a CPU; for programs that own their process, never done at import."""

import ctypes
import os
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def prepare(threads: int | None = None) -> None:
    """Use ``threads`` threads (default: one per usable core) and keep freed memory instead of handing it back.

    A training step allocates and frees the same large blocks again and again; by default glibc maps and unmaps each of
    them, and the page faults cost a quarter of the step. Elsewhere than on glibc only the threads are set.
    """
    torch.set_num_threads(threads or usable_cores())
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 1 << 30)
            mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def multiplies_bfloat16() -> bool:
    """Whether this machine has units for bfloat16 products: AMX or AVX-512 BF16.

    Without them such products are right, but slower than those in float32.
    """
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
