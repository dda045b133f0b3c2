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
INTERVAL = "_ci"  # suffix of the key of a 95 % interval


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Args:
        name: Stem of its files.
        title: Heading in the terminal.
        caption: Text below the table.
        columns: Headings of the columns.
        rows: Cells as text, one for each column.
        numbers: The same values as numbers, for the files.
        folded: Number of last rows that the page shows only on a click.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[dict[str, Any], ...]
    folded: int = 0

    @property
    def open_rows(self) -> tuple[tuple[str, ...], ...]:
        """The rows that the page shows at once."""
        return self.rows[: len(self.rows) - self.folded]

    @property
    def folded_rows(self) -> tuple[tuple[str, ...], ...]:
        """The rows that the page shows on a click."""
        return self.rows[len(self.rows) - self.folded :]

    @property
    def of_words(self) -> tuple[bool, ...]:
        """For each column, whether it holds text (left-aligned) and not numbers."""
        return tuple(
            any(row[number][:1].isalpha() for row in self.rows)
            for number in range(len(self.columns))
        )

    def save(self, directory: Path, name: str = "") -> None:
        """Write ``<name>.csv``, one value per cell, and ``<name>.json``, which includes lists."""
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
    """Flatten numbers to the cells of one row.

    Each end of an interval has its own cell. Lists of text are joined. Lists of numbers are left
    out.

    >>> numbers = {"n": 2, "share": 0.5, "share_ci": [0.1, 0.9], "curve": [1, 2, 3]}
    >>> cells({**numbers, "detector": {"name": "likelihood"}})
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
    """The summaries of one audit by model name."""
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
