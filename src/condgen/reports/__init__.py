"""Reports: tables, figures and a page, computed from saved records; no model is needed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condgen.reports.layout import PageSection
    from condgen.reports.page import write_report

__all__ = ["PageSection", "write_report"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that code that needs only a table does not load matplotlib."""
    if name == "write_report":
        from condgen.reports.page import write_report

        return write_report
    if name == "PageSection":
        from condgen.reports.layout import PageSection

        return PageSection
    raise AttributeError(f"module 'condgen.reports' has no attribute '{name}'")
