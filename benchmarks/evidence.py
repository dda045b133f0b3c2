"""Metadata and storage of benchmark results."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from condgen.files import atomic_write
from condgen.runs import installed_versions

RESULTS = Path(__file__).parent / "results"


def commit() -> str:
    """Return the commit that is checked out, or "" outside a repository."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip()


def about(device: torch.device | None = None) -> dict[str, Any]:
    """Device, versions and commit."""
    on_gpu = device is not None and device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else cpu()
    return {"device": name, "versions": installed_versions(), "commit": commit()}


def cpu() -> str:
    """Name and number of cores of the CPU."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def keep(path: Path, results: dict[str, Any]) -> None:
    """Write ``results`` as JSON, atomically."""
    with atomic_write(path) as work:
        work.write_text(json.dumps(results, indent=1) + "\n")


def kept(path: Path) -> dict[str, Any]:
    """Read what :func:`keep` wrote; an empty dictionary if there is no file."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def matrix_limit(
    precision: torch.dtype,
    device: torch.device,
    size: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """GFLOP/s of a large matrix product: an upper limit for networks, timed by the same clock."""
    a, b = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = clock()
        (a @ b)[0, 0].item()  # waits for the device
        seconds.append(clock() - start)
    return 2 * size**3 / min(seconds[1:]) / 1e9


def printed_by(code: str) -> list[float]:
    """The numbers that a Python program prints, run in a process of its own."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    return [float(word) for word in done.stdout.split()]


def peak_bytes() -> int:
    """Peak memory of this process; ``ru_maxrss`` is inherited from its parent."""
    status = Path("/proc/self/status").read_text().splitlines()
    high = next(line for line in status if line.startswith("VmHWM"))
    return int(high.split()[1]) * 1024
