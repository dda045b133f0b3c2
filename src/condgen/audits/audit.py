"""An audit as a value: its settings, how it is made, and what it needs."""

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
        name: Of the audit and of its records.
        settings: What the table ``[audit.NAME]`` holds.
        make: The record of a subject with these settings.
        uses_detector: Whether the record depends on the detector.
        needs_samples: Whether the model must be one that can be sampled from.
        needs_snapshots: Whether the model must be a run whose training kept snapshots.
        at_threshold: The record for another threshold, from its arrays alone; ``None`` where that takes a new audit.
    """

    name: str
    settings: type[AuditSettings]
    make: Callable[[Subject, Any], Record]
    uses_detector: bool = False
    needs_samples: bool = False
    needs_snapshots: bool = False
    at_threshold: Callable[[Record, float], Record] | None = None
