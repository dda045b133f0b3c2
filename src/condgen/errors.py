"""Errors as sentences: what was given, what was expected, what to do."""

import difflib
import errno
from collections.abc import Iterable


class CondgenError(ValueError):
    """An error that you can fix; the command line prints it as one line and exits with status 2."""


class ImageError(CondgenError):
    """Images of the wrong shape, type or range."""


class DataError(CondgenError):
    """A data set that is unknown, unreadable, or different from its description."""


class ConfigError(CondgenError):
    """A preset or a setting that is unknown or does not fit."""


class RunError(CondgenError):
    """A run directory or a checkpoint that is missing, damaged, or of another model."""


class WriteError(CondgenError):
    """A file cannot be written: the disk is full, or the place is not writable."""


class TrainingError(CondgenError):
    """Training cannot continue; its saved files are unchanged."""


class ProcessLost(CondgenError):
    """A process of a distributed run has ended; its saved files are complete."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The hint that ends an error about a name: the closest known name, or all of them.

    >>> suggest("mnist-rewieght", ["mnist-base", "mnist-reweight"])
    "did you mean 'mnist-reweight'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}."


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, largest file


def disk_is_full(error: OSError) -> bool:
    """Return True if a file could not be written because the disk or a quota is full."""
    return error.errno in FULL


def out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that memory is exhausted.

    PyTorch has an error class for a GPU's memory, but none for the CPU's.
    """
    words = (
        "can't allocate memory",
        "not enough memory",
        "out of memory",
        "bad_alloc",
        "could not create a primitive",  # oneDNN, without memory for its workspace or its code
        "could not create a memory object",
    )
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def no_deterministic_version(error: BaseException) -> str:
    """The operation that PyTorch refused because it has no deterministic version; empty if none."""
    name, found, _ = str(error).partition(" does not have a deterministic implementation")
    return name.split()[-1] if found and name else ""


def as_size(size: float) -> str:
    """A number of bytes as text.

    >>> as_size(300 * 2**20), as_size(1.25 * 2**30), as_size(31 * 2**30)
    ('300 MiB', '1.2 GiB', '31 GiB')
    """
    if size < 2**30:
        return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"
    return f"{size / 2**30:.{1 if size < 10 * 2**30 else 0}f} GiB"
