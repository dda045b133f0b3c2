"""Tables in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from condgen.audits.checks import FAIL, Check
from condgen.audits.records import Record
from condgen.reports.console import print_rows, show
from condgen.reports.tables import Table, attacks_table, checks_table


def print_table(table: Table) -> None:
    """A table of the report, as text: words to the left, numbers to the right, and no column without content."""
    rich = RichTable(title=table.title, caption=table.caption, box=box.SIMPLE_HEAD, collapse_padding=True)
    kept = [number for number in range(len(table.columns)) if any(row[number] for row in table.rows)]
    for number in kept:
        words = table.of_words[number]
        rich.add_column(table.columns[number], justify="left" if words else "right", no_wrap=number == 0)
    for row in table.rows:
        rich.add_row(*(escape(row[number]) for number in kept))
    show(rich)


def print_record(record: Record) -> None:
    """The scalars and intervals of a record's summary; for attacks the table and the checks."""
    shown = {name: value for name, value in record.summary.items() if not isinstance(value, list) or len(value) == 2}
    print_rows(record.audit, [(name, _text(value)) for name, value in shown.items()])
    if record.audit == "adversarial":
        print_table(attacks_table({"": record.summary}))
        print_table(checks_table({"": record.summary}))


def print_checks(checks: Sequence[Check]) -> None:
    """A line per check, with what to do where one failed."""
    rich = RichTable(box=box.SIMPLE_HEAD)
    for column in ("check", "", "found", "what to do"):
        rich.add_column(column)
    for check in checks:
        rich.add_row(*map(escape, (check.name, check.outcome, check.found, check.advice if check.outcome == FAIL else "")))
    show(rich)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return " to ".join(_text(part) for part in value)
    return str(value)
