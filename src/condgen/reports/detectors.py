"""The detector that a record was made with: its name, unit and threshold."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from condgen.audits.records import Record

BITS_PER_DIM = "bits/dim"


@dataclass(frozen=True)
class DetectorUsed:
    """The detector of a record.

    Args:
        name: Name of the score.
        unit: Unit of the score; may be empty.
        threshold: In ``unit``; scores above it are rejected.
    """

    name: str
    unit: str
    threshold: float

    @property
    def words(self) -> str:
        """The threshold with its unit.

        >>> DetectorUsed("typicality", "nats", 12.345).words
        '12.35 nats'
        """
        return f"{self.threshold:.2f} {self.unit}".rstrip()

    @property
    def axis(self) -> str:
        """The label of an axis of scores."""
        return f"{self.name} score" + (f", {self.unit}" if self.unit else "")

    def agrees(self, other: "DetectorUsed") -> bool:
        """Whether both are the same detector at the same threshold, up to rounding."""
        same_score = (self.name, self.unit) == (other.name, other.unit)
        return same_score and self.has_threshold(other.threshold)

    def has_threshold(self, threshold: float) -> bool:
        """Whether the threshold is this one, up to rounding."""
        return math.isclose(self.threshold, threshold, rel_tol=1e-4)


def detector_noted(summary: Mapping[str, Any]) -> DetectorUsed | None:
    """The detector of a summary, or ``None``; older ones have only the likelihood's threshold."""
    noted = summary.get("detector")
    noted = noted if isinstance(noted, Mapping) else {}
    threshold = noted.get("threshold", summary.get("threshold"))
    if not isinstance(threshold, (int, float)):
        return None
    name, unit = noted.get("name", "likelihood"), noted.get("unit", BITS_PER_DIM)
    return DetectorUsed(str(name), str(unit), float(threshold))


def detector_of(summary: Mapping[str, Any]) -> DetectorUsed:
    """The detector of a summary that must have one.

    Raises:
        KeyError: If the summary has no detector.
    """
    detector = detector_noted(summary)
    if detector is None:
        raise KeyError("threshold")
    return detector


def rejects_bits_per_dim(record: Record) -> bool:
    """Whether the detector's score is the array ``bits_per_dim``, so that both share an axis."""
    if detector_of(record.summary).unit != BITS_PER_DIM:
        return False
    score = record.arrays.get("score")
    return score is None or bool(np.allclose(score, record.arrays["bits_per_dim"], rtol=1e-4))


Cell = Callable[[Mapping[str, Any]], str]


def threshold_columns(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Cell]:
    """Table columns for the detector; values that all rows share go into the heading."""
    found = [detector_of(summary) for summary in summaries]
    kinds = {(detector.name, detector.unit) for detector in found}
    if len(kinds) > 1:
        return {
            "detector": lambda summary: detector_of(summary).name,
            "threshold": lambda summary: detector_of(summary).words,
        }
    name, unit = kinds.pop() if kinds else ("likelihood", "")
    head = "threshold" if name == "likelihood" else f"{name} threshold"
    head += f", {unit}" if unit else ""
    return {head: lambda summary: f"{detector_of(summary).threshold:.2f}"}
