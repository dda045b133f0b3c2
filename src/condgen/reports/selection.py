"""Selection of the records of each model; all have the same weights and detector."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condgen.audits.records import Record
from condgen.errors import CondgenError, RunError
from condgen.registry import AUDITS
from condgen.reports.audited import Audited, in_order
from condgen.reports.detectors import DetectorUsed, detector_noted
from condgen.reports.tables import Table
from condgen.runs import RecordFolder, Run


@dataclass(frozen=True)
class Selection:
    """The records of one model that belong together, and why others are not shown.

    Args:
        source: The model.
        records: By audit, in the order of the page.
        left_out: By audit, the reason.
    """

    source: Audited
    records: Mapping[str, Record]
    left_out: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name in tables and figures."""
        return self.source.name

    def class_name(self, label: int) -> str:
        """The name of a class, or its number."""
        return self.source.class_name(label)

    def audits_made(self) -> list[str]:
        """The audits that are shown."""
        return list(self.records)

    def has(self, audit: str) -> bool:
        """Whether the audit is shown."""
        return audit in self.records

    def record(self, audit: str) -> Record:
        """The record of an audit that is shown."""
        return self.records[audit]


def select(model: Audited, threshold: float | None = None) -> Selection:
    """Select the records of a model that belong together, recomputed for ``threshold`` if given.

    A record that does not fit is an error if its audit is registered. Records of unregistered
    audits are left out instead, since such an audit cannot be rerun.

    Raises:
        RunError: If there is no record, one is damaged, or they are of different weights or
            detectors.
    """
    made = in_order(model.audits_made())
    if not made:
        raise RunError(f"{_place(model)} has no record; {_audit_first(model)}")
    records: dict[str, Record] = {}
    left_out: dict[str, str] = {}
    for audit in made:
        try:
            record = model.record(audit)
        except CondgenError as error:
            if audit in AUDITS.names():
                raise
            left_out[audit] = str(error)
            continue
        try:
            records[audit] = (
                record if threshold is None else _at_threshold(model, record, threshold)
            )
        except CondgenError as error:
            left_out[audit] = str(error)
    for reasons_of in (_other_weights, _other_detectors):
        left_out |= reasons_of(model, records)
        records = {audit: record for audit, record in records.items() if audit not in left_out}
    return Selection(model, records, left_out)


def not_run_table(selections: Sequence[Selection]) -> Table:
    """The audits of the registry without a record, and the records that are left out."""
    numbers = []
    for shown in selections:
        made = [name for name in AUDITS.names() if _can_be_made(name, shown.source)]
        gone = [a for a in made if not shown.has(a) and a not in shown.left_out]
        if gone:
            only = " ".join(f"--only {audit}" for audit in gone)
            folder = isinstance(shown.source, RecordFolder)
            why = f"no record; add it with: condgen audit RUN {only}" if folder else "no record"
            numbers.append({"model": shown.name, "audits": gone, "reason": why})
        for audit, reason in shown.left_out.items():
            numbers.append({"model": shown.name, "audits": [audit], "reason": reason})
    rows = tuple((str(n["model"]), ", ".join(n["audits"]), str(n["reason"])) for n in numbers)
    columns = ("model", "audits", "reason")
    return Table("not-run", "What was not run", "", columns, rows, tuple(numbers))


def _can_be_made(audit: str, source: Audited) -> bool:
    """Whether the model could have a record of an audit."""
    keeps = isinstance(source, Run) and source.config.training.snapshots > 0
    return keeps or not AUDITS.get(audit).needs_snapshots


def _at_threshold(model: Audited, record: Record, threshold: float) -> Record:
    """The record, recomputed for another threshold of its detector.

    Raises:
        CondgenError: If that needs a new audit.
    """
    audit, kind, detector = record.audit, _kind(record.audit), detector_noted(record.summary)
    if detector is None and not (kind and kind.uses_detector):
        return record
    if detector and detector.has_threshold(threshold):
        return record
    if kind and kind.at_threshold:
        try:
            moved: Record = kind.at_threshold(record, threshold)
        except KeyError as error:
            raise RunError(f"its record has no {error}, which another threshold needs.") from error
        return moved
    folder = isinstance(model, RecordFolder)
    command = (
        f": condgen audit RUN --only {audit} --set detector.threshold={threshold:g}"
        if folder
        else "."
    )
    made = f"made with the threshold {detector.words}" if detector else "its threshold is unknown"
    raise RunError(f"{made}; another one needs a new audit{command}")


def _kind(audit: str) -> Any:
    """The :class:`condgen.audits.audit.Audit` of that name; ``None`` if it is not known here."""
    try:
        return AUDITS.get(audit)
    except CondgenError:
        return None


def _other_weights(model: Audited, records: dict[str, Record]) -> dict[str, str]:
    """The reasons for unknown audits of other weights; older records have no weights.

    Raises:
        RunError: If a known audit is of other weights.
    """
    noted = {audit: r.origin["weights"] for audit, r in records.items() if r.origin.get("weights")}
    best = model.weights_sha256 if isinstance(model, RecordFolder) else ""
    wanted = best or next(iter(noted.values()), "")
    other = [audit for audit, weights in noted.items() if weights != wanted]
    if known := [audit for audit in other if audit in AUDITS.names()]:
        shown = known if best else [audit for audit in noted if audit in AUDITS.names()]
        each = ", ".join(f"{audit}: {_epoch(records[audit])}" for audit in shown)
        problem = (
            f"{_place(model)} was trained further since it was audited ({each})"
            if best
            else f"the records of {_place(model)} are of different weights ({each})"
        )
        raise RunError(f"{problem}; audit it again{_again(model, shown)}")
    return {audit: f"made with other weights ({_epoch(records[audit])})." for audit in other}


def _other_detectors(model: Audited, records: dict[str, Record]) -> dict[str, str]:
    """The reasons for unknown audits with another detector than the known ones.

    Raises:
        RunError: If known audits have different detectors.
    """
    noted = {a: d for a, r in records.items() if (d := detector_noted(r.summary))}
    if not noted:
        return {}
    wanted = next(iter(noted.values()))
    other = [audit for audit, detector in noted.items() if not detector.agrees(wanted)]
    if any(audit in AUDITS.names() for audit in other):
        known = {audit: detector for audit, detector in noted.items() if audit in AUDITS.names()}
        each = ", ".join(f"{audit}: {_detector(found)}" for audit, found in known.items())
        again = _again(model, known, " --set detector.threshold=...")
        raise RunError(
            f"the records of {_place(model)} were made with different detectors ({each});"
            f" audit again with one detector{again}"
        )
    return {audit: f"made with another detector ({_detector(noted[audit])})." for audit in other}


def _detector(detector: DetectorUsed) -> str:
    unit = f" {detector.unit}" if detector.unit else ""
    return f"{detector.name} {detector.threshold:.4g}{unit}"


def _epoch(record: Record) -> str:
    """The weights of a record: their epoch, else the start of their hash."""
    epoch = record.origin.get("epoch")
    return f"epoch {epoch}" if epoch else f"weights {record.origin['weights'][:8]}"


def _place(model: Audited) -> str:
    return str(model.path) if isinstance(model, RecordFolder) else model.name


def _audit_first(model: Audited) -> str:
    if isinstance(model, RecordFolder):
        return f"run `condgen audit {model.path}` first."
    return "give at least one."


def _again(model: Audited, audits: Collection[str], settings: str = "") -> str:
    """The command that repeats audits, as the end of a sentence."""
    if not isinstance(model, RecordFolder):
        return "."
    only = (word for audit in audits for word in ("--only", audit))
    return f": {shlex.join(['condgen', 'audit', str(model.path), *only])}{settings}"
