"""Tables: text cells for the page, and the numbers behind them for programs."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condgen.files import as_json, atomic_write
from condgen.reports.audited import Audited

Summary = Mapping[str, Any]
MISSING = "–"
INTERVAL = "_ci"  # after the name of a number: its 95 % interval


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Args:
        name: Of its files.
        title: Above it in the terminal.
        caption: Below it.
        columns: Their heads.
        rows: Cells as text, one for each column.
        numbers: The same as numbers, for the files.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[dict[str, Any], ...]

    @property
    def of_words(self) -> tuple[bool, ...]:
        """Which columns hold words, which are aligned to the left, and not numbers."""
        return tuple(
            any(row[number][:1].isalpha() for row in self.rows)
            for number in range(len(self.columns))
        )

    def save(self, directory: Path, name: str = "") -> None:
        """Write ``<name>.csv``, one number or text per cell, and ``<name>.json``, which has the lists as well."""
        name, numbers = name or self.name, as_json(self.numbers)
        lines = [cells(line) for line in numbers]
        columns = list(dict.fromkeys(column for line in lines for column in line))
        with (
            atomic_write(directory / f"{name}.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(lines)
        with atomic_write(directory / f"{name}.json") as path:
            path.write_text(json.dumps(numbers, indent=1) + "\n")


def cells(numbers: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Numbers as the cells of one line: the ends of an interval apart, without lists of numbers, texts of a list together.

    >>> cells({"n": 2, "share": 0.5, "share_ci": [0.1, 0.9], "detector": {"name": "likelihood"}, "curve": [1, 2, 3]})
    {'n': 2, 'share': 0.5, 'share_low': 0.1, 'share_high': 0.9, 'detector.name': 'likelihood'}
    """
    line: dict[str, Any] = {}
    for key, value in numbers.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            line |= cells(value, f"{name}.")
        elif not isinstance(value, list):
            line[name] = "" if value is None else value
        elif key.endswith(INTERVAL) and len(value) == 2:
            stem = name.removesuffix(INTERVAL)
            line |= {f"{stem}_low": value[0], f"{stem}_high": value[1]}
        elif value and all(isinstance(item, str) for item in value):
            line[name] = "; ".join(value)
    return line


def summaries_of(models: Sequence[Audited], audit: str) -> dict[str, Summary]:
    """The summary of one audit for each model by name."""
    return {model.name: model.record(audit).summary for model in models}


def model_table(
    name: str,
    title: str,
    caption: str,
    summaries: Mapping[str, Summary],
    columns: Mapping[str, Callable[[Summary], str]],
) -> Table:
    """A row for each model, with a cell for each column."""
    rows = tuple((model, *(cell(s) for cell in columns.values())) for model, s in summaries.items())
    numbers = tuple({"model": model, **summary} for model, summary in summaries.items())
    return Table(name, title, caption, ("model", *columns), rows, numbers)


def percent(value: float, interval: Sequence[float]) -> str:
    """A share with its interval, in percent.

    >>> percent(0.5, (0.4, 0.6))
    '50.0 [40.0, 60.0]'
    """
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def number(value: float, interval: Sequence[float]) -> str:
    """A mean with its interval.

    >>> number(1.5, (1.0, 2.0))
    '1.500 [1.000, 2.000]'
    """
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
