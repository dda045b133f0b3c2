"""What a report is made of: runs, and models of one's own with their records."""

from collections.abc import Sequence
from dataclasses import dataclass

from condgen.audits.records import Record
from condgen.config import AUDITS
from condgen.errors import CondgenError, RunError
from condgen.runs import Run

NOT_IN_NAMES = frozenset('/\\:*?"<>|$')  # of files on any system; a dollar sign would begin a formula in a figure


@dataclass(frozen=True)
class AuditedModel:
    """The records of a model that is no run of condgen; :func:`condgen.write_report` shows what they hold.

    Args:
        name: What tables and figures call it; part of the figures' file names.
        records: One of each audit that was made, in any order.
        class_names: As in its data set; without them classes are numbers.

    Raises:
        CondgenError: If the name cannot be part of a file name, there is no record, two are of one audit, or one is of an audit
            that reports do not know.

    Example:
        >>> from condgen import AuditedModel
        >>> from condgen.audits import Record
        >>> AuditedModel("mine", [Record("membership", {"auroc": 0.5}, {})]).has("interpolation")
        False
    """

    name: str
    records: Sequence[Record]
    class_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if (
            not isinstance(self.name, str)
            or not self.name.strip(". ")
            or not self.name.isprintable()
            or NOT_IN_NAMES & {*self.name}
        ):
            raise CondgenError(f"{self.name!r} cannot be part of a file name; name the model in letters, digits, - and _.")
        if not isinstance(self.records, Sequence) or not all(isinstance(record, Record) for record in self.records):
            raise CondgenError(f"records of {self.name} are expected as a list of what audits return.")
        audits = [record.audit for record in self.records]
        if not audits:
            raise CondgenError(f"{self.name} has no record; give at least one of {', '.join(AUDITS)}.")
        if unknown := sorted(set(audits) - set(AUDITS)):
            raise CondgenError(f"a report shows {', '.join(AUDITS)}; it has no section for {', '.join(unknown)}.")
        if twice := sorted({audit for audit in audits if audits.count(audit) > 1}):
            raise CondgenError(f"{self.name} has two records of {', '.join(twice)}; name two models, or leave one out.")

    def class_name(self, label: int) -> str:
        """The number where no names were given."""
        return str(self.class_names[label]) if label < len(self.class_names) else str(label)

    def has(self, audit: str) -> bool:
        """Whether a record of that audit was given."""
        return any(record.audit == audit for record in self.records)

    def record(self, audit: str) -> Record:
        """The record of an audit.

        Raises:
            RunError: If none was given.
        """
        for record in self.records:
            if record.audit == audit:
                return record
        raise RunError(f"{self.name} has no record of the {audit} audit.")


Audited = Run | AuditedModel
