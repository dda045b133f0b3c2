"""Whether the records of a run tell of one model and one detector; a page that mixed two would be true of neither."""

import math
import shlex
from collections.abc import Collection

from condgen.audits.records import Record
from condgen.config import AUDITS
from condgen.errors import RunError
from condgen.runs import Run


def check_records(run: Run) -> None:
    """Refuse records that do not belong together; those of before noted no weights, and are taken as they are.

    Raises:
        RunError: If some are of other weights than the run's best checkpoint, or of another threshold than the others.
    """
    records = {audit: run.record(audit) for audit in AUDITS if run.has(audit)}
    weights = {audit: record.origin["weights"] for audit, record in records.items() if record.origin}
    wanted = run.weights_sha256 or next(iter(weights.values()), "")
    if stale := [audit for audit, of in weights.items() if of != wanted]:
        epochs = ", ".join(f"{audit}: epoch {records[audit].origin['epoch']}" for audit in stale)
        raise RunError(f"{run.path} was trained on since it was audited ({epochs}); audit it again: {_again(run, stale)}")
    thresholds = {audit: record.summary["threshold"] for audit, record in records.items() if "threshold" in record.summary}
    if thresholds and not math.isclose(min(thresholds.values()), max(thresholds.values()), rel_tol=1e-4):
        each = ", ".join(f"{audit}: {threshold:.4g}" for audit, threshold in thresholds.items())
        raise RunError(
            f"the records of {run.path} are of detectors with different thresholds ({each} bits/dim); audit again with one:"
            f" {_again(run, thresholds)} --set detector.threshold=..."
        )


def _again(run: Run, audits: Collection[str]) -> str:
    return shlex.join(["condgen", "audit", str(run.path), *(word for audit in audits for word in ("--only", audit))])


def weights_of(record: Record) -> str:
    """Which weights the record is of: the epoch after which they were saved, and the beginning of their sha256."""
    return f"epoch {record.origin['epoch']} ({record.origin['weights'][:8]})" if record.origin else "not noted"
