"""Report sections: one file per audit, found by name; other audits get a generic section.

The section of ``my-audit`` is ``SECTION`` in ``condgen.reports.sections.my_audit``, or the one
given to :func:`register`.
"""

import importlib
import importlib.util

from condgen.reports.sections.generic import generic_section
from condgen.reports.sections.section import Finding, Part, Section

__all__ = ["Finding", "Part", "Section", "register", "section_of"]

_REGISTERED: dict[str, Section] = {}


def register(section: Section) -> Section:
    """Use this section for the records of ``section.audit``; for audits outside of condgen."""
    _REGISTERED[section.audit] = section
    return section


def section_of(audit: str) -> Section:
    """The section of an audit; every audit has one.

    >>> section_of("an-audit-of-my-own").parts[0].title
    'An audit of my own'
    """
    if audit in _REGISTERED:
        return _REGISTERED[audit]
    stem = audit.replace("-", "_")
    module = f"{__name__}.{stem}"
    if stem.isidentifier() and importlib.util.find_spec(module):
        found = getattr(importlib.import_module(module), "SECTION", None)
        if isinstance(found, Section) and found.audit == audit:
            return found
    return generic_section(audit)
