"""Numbers in the tables of a study: as text and for JSON."""

from collections.abc import Mapping, Sequence

from condgen.reports.tables import MISSING
from condgen.studies.metrics import Value


def cell(value: Value | None, head: str, sign: str = "") -> str:
    """Format a number with its interval, as percent if the heading ends in %.

    >>> cell(Value(0.975, (0.97, 0.98)), "accuracy %")
    '97.5 [97.0, 98.0]'
    """
    if value is None:
        return MISSING
    shown = scaled(value, head)
    digits = (2 if sign else 1) if head.endswith("%") else 3 if abs(value.value) < 100 else 1
    words = f"{shown.value:{sign}.{digits}f}"
    if shown.interval is None:
        return words
    low, high = (f"{end:{sign}.{digits}f}" for end in shown.interval)
    return f"{words} [{low}, {high}]"


def scaled(value: Value, head: str) -> Value:
    """The number in percent if the heading ends in %."""
    if not head.endswith("%"):
        return value
    interval = value.interval and (100 * value.interval[0], 100 * value.interval[1])
    return Value(100 * value.value, interval, value.n)


def error_bars(values: Sequence[Value]) -> list[list[float]]:
    """Lengths below and above each number, for Matplotlib."""
    ends = [(each.value, each.interval or (each.value, each.value)) for each in values]
    return [
        [max(0.0, value - low) for value, (low, _) in ends],
        [max(0.0, high - value) for value, (_, high) in ends],
    ]


def json_of(found: Mapping[str, Value | None]) -> dict[str, object]:
    """Each number and its interval by name."""
    numbers: dict[str, object] = {}
    for head, value in found.items():
        numbers |= {head: value and value.value, f"{head}_ci": value and value.interval}
    return numbers
