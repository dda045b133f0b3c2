"""Errors as sentences: what was given, what was expected, what to do."""

import difflib
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


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory is exhausted.

    PyTorch has an error class for a GPU's memory, but none for the CPU's.
    """
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)
