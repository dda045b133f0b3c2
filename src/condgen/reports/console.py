"""Rows in the terminal; unlike :mod:`condgen.reports.terminal`, this module needs no torch."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

WIDTH = 160


def print_rows(title: str, rows: Sequence[tuple[str, ...]], columns: Sequence[str] = ()) -> None:
    """Print names and values, or any rows under column headings."""
    rich = RichTable(
        *map(escape, columns), title=escape(title), box=box.SIMPLE_HEAD, show_header=bool(columns)
    )
    for row in rows:
        rich.add_row(*map(escape, row))  # a name such as [b] is not markup
    show(rich)


def show(table: RichTable) -> None:
    """Print a table at the terminal's width with long words folded.

    Redirected output is wide enough for every table.
    """
    for column in table.columns:
        column.overflow = "fold"
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
