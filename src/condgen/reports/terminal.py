"""Tables in the terminal; importing this costs no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from condgen.audits.records import Record
    from condgen.reports.tables import Table
    from condgen.testing import Check

WIDTH = 120


def print_table(table: Table) -> None:
    """A table of the report, as text."""
    rich = RichTable(title=table.title, caption=table.caption, box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        rich.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in table.rows:
        rich.add_row(*row)
    _print(rich)


def print_record(record: Record) -> None:
    """The scalars and intervals of a record's summary."""
    shown = {name: value for name, value in record.summary.items() if not isinstance(value, list) or len(value) == 2}
    print_rows(record.audit, [(name, _text(value)) for name, value in shown.items()])


def print_rows(title: str, rows: Sequence[tuple[str, ...]], columns: Sequence[str] = ()) -> None:
    """Names and values; or any rows, under the names of their columns."""
    rich = RichTable(*columns, title=title, box=box.SIMPLE_HEAD, show_header=bool(columns))
    for row in rows:
        rich.add_row(*row)
    _print(rich)


def print_checks(checks: Sequence[Check]) -> None:
    """A line per check, with what to do where one failed."""
    rich = RichTable(box=box.SIMPLE_HEAD)
    for column in ("check", "", "found", "what to do"):
        rich.add_column(column)
    for check in checks:
        rich.add_row(check.name, "pass" if check.passed else "FAIL", check.found, "" if check.passed else check.advice)
    _print(rich)


def _print(table: RichTable) -> None:
    """At the terminal's width; wide enough for every table where the output goes elsewhere."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return " to ".join(_text(part) for part in value)
    return str(value)
