"""Tables in the terminal."""

import hashlib
import sys
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from condgen.audits.records import Record
from condgen.data.dataset import Splits
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
    """The scalars of a record's summary."""
    rich = RichTable(title=record.audit, box=box.SIMPLE_HEAD, show_header=False)
    for name, value in record.summary.items():
        if not isinstance(value, list) or len(value) == 2:
            rich.add_row(name, _text(value))
    _print(rich)


def print_card(splits: Splits) -> None:
    """What a data set holds and where it comes from."""
    train = splits.train
    rich = RichTable(title=splits.name, box=box.SIMPLE_HEAD, show_header=False)
    rich.add_row("image shape", "x".join(map(str, train.event_shape)))
    rich.add_row("levels", str(train.pixel_levels))
    rich.add_row("classes", ", ".join(train.class_names))
    for name, part in splits.items():
        counts = np.bincount(part.labels, minlength=train.num_classes)
        rich.add_row(name, f"{len(part)} images; per class {', '.join(map(str, counts))}")
    rich.add_row("mean (train)", ", ".join(f"{value:.5f}" for value in train.images.mean((0, 2, 3)) / (train.pixel_levels - 1)))
    for name, part in splits.items():
        digest = hashlib.sha256(np.ascontiguousarray(part.images).tobytes() + part.labels.tobytes()).hexdigest()
        rich.add_row(f"sha256 ({name})", digest)
    rich.add_row("source", splits.source)
    rich.add_row("licence", splits.licence)
    for note in splits.notes:
        rich.add_row("note", note)
    _print(rich)


def print_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and values."""
    rich = RichTable(title=title, box=box.SIMPLE_HEAD, show_header=False)
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
