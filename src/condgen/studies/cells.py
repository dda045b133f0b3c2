"""Numbers in the tables of a study: as text and for JSON."""

from collections.abc import Mapping

from condgen.reports.tables import MISSING
from condgen.studies.metrics import Value


def cell(value: Value | None, head: str, sign: str = "") -> str:
    """Format a number with its interval, as percent if the heading ends in %.

    >>> cell(Value(0.975, (0.97, 0.98)), "accuracy %")
    '97.5 [97.0, 98.0]'
    """
    if value is None:
        return MISSING
    shares = head.endswith("%")
    factor = 100 if shares else 1
    digits = (2 if sign else 1) if shares else 3 if abs(value.value) < 100 else 1
    words = f"{factor * value.value:{sign}.{digits}f}"
    if value.interval is None:
        return words
    low, high = (f"{factor * end:{sign}.{digits}f}" for end in value.interval)
    return f"{words} [{low}, {high}]"


def json_of(found: Mapping[str, Value | None]) -> dict[str, object]:
    """Each number and its interval by name."""
    numbers: dict[str, object] = {}
    for head, value in found.items():
        numbers |= {head: value and value.value, f"{head}_ci": value and value.interval}
    return numbers
