"""Reports: tables, figures and a page from saved records; no model is ever needed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condgen.reports.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """The page is imported when it is first asked for: what needs a table only need not wait for figures and torch."""
    if name != "write_report":
        raise AttributeError(f"module 'condgen.reports' has no attribute '{name}'")
    from condgen.reports.page import write_report

    return write_report
