"""Reports: tables, figures and a page from saved records; no model is ever needed."""

from condgen.reports.page import write_report

__all__ = ["write_report"]
