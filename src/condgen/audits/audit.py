"""The description of an audit: its settings, its function and its requirements."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.config import AuditSettings


@dataclass(frozen=True)
class Audit:
    """One kind of evaluation; registered in :data:`condgen.registry.AUDITS`.

    Args:
        name: Name of the audit and of its records.
        settings: The class of the table ``[audit.NAME]``.
        make: Makes the record of a subject with these settings.
        uses_detector: Whether the record depends on the detector.
        needs_samples: Whether the model must support sampling.
        needs_snapshots: Whether the model must be a run whose training kept snapshots.
        at_threshold: Computes the record for another threshold from the arrays of a record;
            ``None`` if that needs a new audit.
    """

    name: str
    settings: type[AuditSettings]
    make: Callable[[Subject, Any], Record]
    uses_detector: bool = False
    needs_samples: bool = False
    needs_snapshots: bool = False
    at_threshold: Callable[[Record, float], Record] | None = None
