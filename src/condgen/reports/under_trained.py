"""Marks for models that are no better than a simple density."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from condgen.audits.checks import UNDER_TRAINED
from condgen.reports.audited import Audited
from condgen.reports.tables import Table

MARK = "†"
NOTE = f" {MARK} Under-trained: no better than the best simple density."


def is_under_trained(model: Audited) -> bool:
    """Whether the check against simple densities failed."""
    return _outcome(model) is False


def beats_simple_densities(model: Audited) -> bool:
    """Whether the check against simple densities passed; older records do not have it."""
    return _outcome(model) is True


def _outcome(model: Audited) -> bool | None:
    """The outcome of the check against simple densities; ``None`` without one."""
    summaries = [model.record(audit).summary for audit in model.audits_made()]
    lists = [found for summary in summaries if isinstance(found := summary.get("checks"), list)]
    checks = [check for found in lists for check in found if isinstance(check, Mapping)]
    found = [c.get("passed") for c in checks if c.get("doubt") == UNDER_TRAINED]
    return False if False in found else True if True in found else None


def marked(table: Table, models: Sequence[Audited]) -> Table:
    """Mark the name of each under-trained model in a table; the numbers do not change."""
    under = {model.name for model in models if is_under_trained(model)}
    if not any(row[0] in under for row in table.rows):
        return table
    rows = tuple((f"{row[0]} {MARK}", *row[1:]) if row[0] in under else row for row in table.rows)
    return replace(table, rows=rows, caption=table.caption + NOTE)
