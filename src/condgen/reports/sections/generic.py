"""The default section of an audit: a table of the summary's numbers."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from condgen.reports.audited import Audited
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import MISSING, Table, summaries_of

INTERVAL = "_ci"  # suffix of the key of a 95 % interval


def generic_section(audit: str) -> Section:
    """The section of any audit."""
    part = Part(
        title_of(audit),
        table=partial(generic_table, audit),
        words=partial(_without_numbers, audit),
    )
    return Section(audit, (part,))


def title_of(audit: str) -> str:
    """The name of an audit as a heading.

    >>> title_of("label-noise"), title_of("mine.audits:AUDIT")
    ('Label noise', 'mine.audits:AUDIT')
    """
    if ":" in audit:
        return audit
    words = audit.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def generic_table(audit: str, models: Sequence[Audited]) -> Table:
    """A row for each number of the summaries, a column for each model."""
    summaries = summaries_of(models, audit)
    cells = {name: scalars(summary) for name, summary in summaries.items()}
    names = dict.fromkeys(name for found in cells.values() for name in found)
    rows = tuple((name, *(found.get(name, MISSING) for found in cells.values())) for name in names)
    numbers = tuple({"model": model, **summary} for model, summary in summaries.items())
    has_interval = any(name.endswith(INTERVAL) for s in summaries.values() for name in s)
    caption = "Brackets: 95 % intervals." if has_interval else ""
    return Table(_file_name(audit), title_of(audit), caption, ("", *summaries), rows, numbers)


def scalars(summary: Mapping[str, Any]) -> dict[str, str]:
    """The numbers, words and flags of a summary as text, with their intervals; lists are left out.

    >>> scalars({"n": 7, "mean_gap": 1.5, "mean_gap_ci": [1.0, 2.0], "curve": [1, 2, 3]})
    {'n': '7', 'mean gap': '1.5 [1, 2]'}
    """
    shown: dict[str, str] = {}
    for name, value in summary.items():
        head = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            inner = scalars(value)
            shown |= {f"{head}: {key}": text for key, text in inner.items()}
        elif not isinstance(value, (list, tuple)):
            shown[head] = _text(value) + _interval(summary.get(f"{name}{INTERVAL}"))
    return shown


def _without_numbers(audit: str, model: Audited) -> str:
    """A sentence for a model whose summary the table cannot show."""
    record = model.record(audit)
    if scalars(record.summary):
        return ""
    arrays = ", ".join(sorted(record.arrays)) or "nothing"
    return f"The record of {model.name} has no scalars; it holds {arrays}."


def _interval(bounds: object) -> str:
    """The interval after a number; empty if there is none."""
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        return ""
    return f" [{_text(bounds[0])}, {_text(bounds[1])}]"


def _text(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return str(value)


def _file_name(audit: str) -> str:
    """The name with "-" for all but letters, digits, - and _."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in audit)
