"""What ``torchrun`` tells a process by environment variables; imports no PyTorch."""

import os


def started() -> int:
    """Number of processes that ``torchrun`` started, on all machines; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def number() -> int:
    """Number of this process, from 0; 0 without ``torchrun``."""
    return int(os.environ["RANK"]) if started() > 1 else 0


def started_here() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if started() > 1 else 1


def number_here() -> int:
    """Number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if started() > 1 else 0
