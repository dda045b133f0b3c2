"""Memory that this process may still use."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

ROOT = Path("/")
# by controller in /proc/self/cgroup: folder, limit, usage, and pages given up on demand
CGROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),  # version 2
    "memory": (
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process may still allocate on a device; ``None`` if unknown.

    On the CPU the least of the machine's available memory, the limits of the process's cgroups
    (containers, SLURM) and RLIMIT_AS (``ulimit -v``).
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    found = [*_of_machine(ROOT), *_of_cgroups(ROOT), *_of_address_space(ROOT)]
    return max(0, min(found)) if found else None


def _of_machine(root: Path) -> Iterator[int]:
    if (found := _kib(root / "proc/meminfo", "MemAvailable")) is not None:
        yield found


def _of_cgroups(root: Path) -> Iterator[int]:
    """Bytes left under each limit of the process's cgroup and of its parents."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in CGROUPS.keys() & set(controllers.split(",")):
            place, limit, usage, inactive = CGROUPS[controller]
            inner = PurePosixPath(path).relative_to("/")
            for folder in (inner, *inner.parents):
                group = root / place / folder
                most, now = _read(group / limit).strip(), _read(group / usage).strip()
                if most.isdigit() and now.isdigit():
                    kept = re.search(rf"^{inactive} (\d+)$", _read(group / "memory.stat"), re.M)
                    yield int(most) - int(now) + int(kept[1] if kept else 0)


def _of_address_space(root: Path) -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _kib(root / "proc/self/status", "VmSize")
    if limit != resource.RLIM_INFINITY and used is not None:
        yield limit - used + _free_in_heap()


class _Heap(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]


def _free_in_heap() -> int:
    """Bytes of freed blocks that glibc keeps in the address space."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = _Heap
    return int(libc.mallinfo2().i)  # fordblks


def _kib(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _read(path), re.M)
    return int(found[1]) << 10 if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
