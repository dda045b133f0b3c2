"""The log of a training: a line of metrics for each epoch in ``metrics.jsonl``, and your loggers.

Each line has a checksum, and a ``format`` that tells it from a line of an older version, which has
neither. A single altered byte cannot remove both.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from condgen.errors import RunError, WriteError
from condgen.files import as_json, atomic_write, digest_of

LOG = "metrics.jsonl"
FORMAT = 2
DIGITS = 16  # of a line's sha256


class Logger(Protocol):
    """Receives the metrics of each epoch of a training.

    A resumed training logs only the epochs that it trains.
    """

    def log(self, metrics: dict[str, Any], step: int) -> None:
        """Take note of the metrics of an epoch.

        Args:
            metrics: ``epoch``, ``epochs``, ``device``, ``seconds``, ``images_per_second``, the mean
                of each training metric, and the metrics on validation images as ``validation_*``.
            step: Optimizer steps taken since the start of the training.
        """


class MetricsFile:
    """Appends the metrics of each epoch to ``metrics.jsonl``; a :class:`Logger`.

    Args:
        directory: Run directory.
        epochs: Epochs that are done: their lines are kept, all other lines are removed.

    Raises:
        RunError: If a line to keep was altered.
    """

    def __init__(self, directory: Path, epochs: int = 0):
        self.path = directory / LOG
        kept = [_decoded(line, number, self.path) for number, line in _lines(self.path)[:epochs]]
        with atomic_write(self.path) as work:
            work.write_text("".join(map(_encoded, kept)))

    def log(self, metrics: dict[str, Any], step: int) -> None:
        """Append a line and flush it to disk.

        Raises:
            WriteError: If it cannot be written.
        """
        line = _encoded({"time": round(time.time(), 1), "step": step, **metrics})
        try:
            with self.path.open("a") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(
                f"{self.path} cannot be written ({error.strerror}); free some space or choose"
                " another place."
            ) from error


def log_all(loggers: Sequence[Logger], metrics: dict[str, Any], step: int) -> None:
    """Give each logger a copy of the metrics."""
    for logger in loggers:
        logger.log(dict(metrics), step)


def read_log(directory: Path) -> list[dict[str, Any]]:
    """The metrics of each epoch in the log of a run; none if there is no log.

    A half-written last line, left by a process that was killed, is no part of the log.

    Raises:
        RunError: If a line was altered.
    """
    path = directory / LOG
    return [_decoded(line, number, path) for number, line in _lines(path)]


def _lines(path: Path) -> list[tuple[int, bytes]]:
    """The lines of the log with their numbers, without a half-written last one."""
    *lines, last = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    if last and not _is_half(last):
        lines.append(last)
    return list(enumerate(lines, 1))


def _is_half(line: bytes) -> bool:
    """Whether a line is the first part of a table: a whole one may have lost its line end only."""
    try:
        json.JSONDecoder().raw_decode(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return True
    return False


def _encoded(values: dict[str, Any]) -> str:
    line = as_json({"format": FORMAT, **values})
    return json.dumps({**line, "sha256": digest_of(line)[:DIGITS]}) + "\n"


def _decoded(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(line.decode())
        if not isinstance(values, dict):
            raise ValueError("not a table")
        found = values.pop("sha256", None)
        if (found is not None or "format" in values) and found != digest_of(values)[:DIGITS]:
            raise ValueError("sha256 differs")
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged (line {number}: {error}); restore it, or remove it to go on without"
            " the metrics of past epochs. The weights are not affected."
        ) from error
    if values.pop("format", FORMAT) != FORMAT:
        raise RunError(f"{path} is of a newer version of condgen; update condgen to read it.")
    return values
