"""Marks for models that are no better than a simple density."""

from collections.abc import Sequence
from dataclasses import replace

from condgen.audits.checks import FAIL, UNDER_TRAINED, Check
from condgen.reports.audited import Audited
from condgen.reports.tables import Table

AUDIT = "classification"  # its record has the check
MARK = "†"
NOTE = f" {MARK} Under-trained: no better than the best simple density."


def is_under_trained(model: Audited) -> bool:
    """Whether the check "the model is better than simple densities" was run and failed."""
    checks = model.record(AUDIT).summary.get("checks", []) if model.has(AUDIT) else []
    return any(
        check["doubt"] == UNDER_TRAINED and Check(**check).outcome == FAIL for check in checks
    )


def marked(table: Table, models: Sequence[Audited]) -> Table:
    """Mark the name of each under-trained model in a table; the numbers do not change."""
    under = {model.name for model in models if is_under_trained(model)}
    if not any(row[0] in under for row in table.rows):
        return table
    rows = tuple((f"{row[0]} {MARK}", *row[1:]) if row[0] in under else row for row in table.rows)
    return replace(table, rows=rows, caption=table.caption + NOTE)
