"""The subjects of a report: record folders (including runs) and your own models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from condgen.audits.records import Record
from condgen.errors import CondgenError, RunError
from condgen.registry import AUDITS

NOT_IN_FILE_NAMES = frozenset('/\\:*?"<>|$')  # on some system; "$" starts a formula in figures


@runtime_checkable
class Audited(Protocol):
    """A model with records: :class:`condgen.runs.RecordFolder` or :class:`AuditedModel`."""

    @property
    def name(self) -> str:
        """The name in tables and figures."""
        ...

    def class_name(self, label: int) -> str:
        """The name of a class, or its number."""
        ...

    def audits_made(self) -> list[str]:
        """The audits that have a record."""
        ...

    def has(self, audit: str) -> bool:
        """Whether that audit has a record."""
        ...

    def record(self, audit: str) -> Record:
        """The record of an audit."""
        ...


@dataclass(frozen=True)
class AuditedModel:
    """The records of a model that is not a condgen run, for :func:`condgen.write_report`.

    Args:
        name: The name in tables and figures; part of the figures' file names.
        records: At most one record of each audit, in any order.
        class_names: In the order of the labels. Default: numbers.

    Raises:
        CondgenError: If the name cannot be part of a file name, there is no record, or two records
            are of the same audit.

    Examples:
        >>> from condgen import AuditedModel
        >>> from condgen.audits import Record
        >>> AuditedModel("mine", [Record("label-noise", {"share": 0.1}, {})]).audits_made()
        ['label-noise']
    """

    name: str
    records: Sequence[Record]
    class_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        given = self.records
        is_list = isinstance(given, Sequence)
        if not is_list or not all(isinstance(record, Record) for record in given):
            raise CondgenError(
                f"the records of {self.name} are {type(given).__name__}, expected a list of"
                " records; give what the audits returned."
            )
        audits = [record.audit for record in given]
        if not audits:
            known = ", ".join(AUDITS.names())
            raise CondgenError(f"{self.name} has no record; give at least one of {known}.")
        if twice := sorted({audit for audit in audits if audits.count(audit) > 1}):
            raise CondgenError(
                f"{self.name} has two records of {', '.join(twice)}; leave one out, or give two"
                " models with different names."
            )

    def class_name(self, label: int) -> str:
        """The name of a class, or its number if no names were given."""
        return str(self.class_names[label]) if label < len(self.class_names) else str(label)

    def audits_made(self) -> list[str]:
        """The audits that have a record, those of the registry first."""
        return in_order(record.audit for record in self.records)

    def has(self, audit: str) -> bool:
        """Whether that audit has a record."""
        return any(record.audit == audit for record in self.records)

    def record(self, audit: str) -> Record:
        """The record of an audit.

        Raises:
            RunError: If there is none.
        """
        for record in self.records:
            if record.audit == audit:
                return record
        raise RunError(f"{self.name} has no record of the {audit} audit.")


def in_order(audits: Iterable[str]) -> list[str]:
    """Each audit once: registered ones in the registry's order, then all others as given."""
    found = list(dict.fromkeys(audits))
    known = AUDITS.names()
    return [*(name for name in known if name in found), *(x for x in found if x not in known)]


def _check_name(name: object) -> None:
    usable = isinstance(name, str) and name.strip(". ") and name.isprintable()
    if not usable or NOT_IN_FILE_NAMES & {*str(name)}:
        raise CondgenError(
            f"{name!r} cannot be part of a file name; name the model in letters, digits, - and _."
        )
