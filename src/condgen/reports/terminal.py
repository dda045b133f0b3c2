"""Tables in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from condgen.audits.checks import FAIL, Check
from condgen.audits.records import Record
from condgen.reports.audited import Audited, in_order
from condgen.reports.console import print_rows, show
from condgen.reports.sections import section_of
from condgen.reports.sections.generic import scalars
from condgen.reports.tables import Table


class _SingleRecord:
    """A record as a model; its name may be empty."""

    def __init__(self, record: Record, name: str):
        self.name, self._record = name, record

    def class_name(self, label: int) -> str:
        return str(label)

    def audits_made(self) -> list[str]:
        return [self._record.audit]

    def has(self, audit: str) -> bool:
        return audit == self._record.audit

    def record(self, audit: str) -> Record:
        return self._record


def print_table(table: Table) -> None:
    """Print a table: text left-aligned, numbers right-aligned, empty columns left out."""
    rich = RichTable(
        title=escape(table.title),
        caption=escape(table.caption),
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    kept = [place for place in range(len(table.columns)) if any(row[place] for row in table.rows)]
    for place in kept:
        words = table.of_words[place]
        rich.add_column(
            escape(table.columns[place]), justify="left" if words else "right", no_wrap=place == 0
        )
    for row in table.rows:
        rich.add_row(*(escape(row[place]) for place in kept))
    show(rich)


def print_tables(models: Sequence[Audited]) -> None:
    """Print the tables of all audits of these models, in the order of the page."""
    for audit in in_order(audit for model in models for audit in model.audits_made()):
        for table in section_of(audit).tables([model for model in models if model.has(audit)]):
            print_table(table)


def print_record(record: Record, name: str = "") -> None:
    """Print the tables of the audit's section for one record; without tables, its numbers."""
    tables = section_of(record.audit).tables([_SingleRecord(record, name)])
    for table in tables:
        print_table(table)
    if not tables:
        print_rows(name or record.audit, list(scalars(record.summary).items()))


def print_checks(checks: Sequence[Check]) -> None:
    """Print a row for each check; a failed check comes with advice."""
    rich = RichTable(box=box.SIMPLE_HEAD)
    for column in ("check", "", "found", "what to do"):
        rich.add_column(column)
    for check in checks:
        advice = check.advice if check.outcome == FAIL else ""
        rich.add_row(*map(escape, (check.name, check.outcome, check.found, advice)))
    show(rich)
