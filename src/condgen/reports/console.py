"""Rows in the terminal, apart from :mod:`condgen.reports.terminal` because this needs no torch."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

WIDTH = 160


def print_rows(title: str, rows: Sequence[tuple[str, ...]], columns: Sequence[str] = ()) -> None:
    """Names and values; or any rows, under the names of their columns."""
    rich = RichTable(
        *map(escape, columns), title=escape(title), box=box.SIMPLE_HEAD, show_header=bool(columns)
    )
    for row in rows:
        rich.add_row(*map(escape, row))  # a name such as [b] is no markup
    show(rich)


def show(table: RichTable) -> None:
    """At the terminal's width, long words folded; wide enough for every table where the output goes elsewhere."""
    for column in table.columns:
        column.overflow = "fold"
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
