"""Where records come from; a page that mixed two models or two detectors would be true of neither."""

import math
import shlex
from collections.abc import Collection, Sequence

from condgen.audits.records import Record
from condgen.config import AUDITS
from condgen.errors import RunError
from condgen.reports.audited import Audited
from condgen.reports.tables import Table
from condgen.runs import Run

NEEDED = tuple(audit for audit in AUDITS if audit != "adversarial")  # of a run; attacks take long, and may come later
COLUMNS = ("model", "data", "objective", "levels x blocks, width", "epochs", "weights of", "seed", "versions")


def check_records(audited: Audited) -> None:
    """Refuse records that do not belong together; those of before noted no weights, and are taken as they are.

    Raises:
        RunError: If a run lacks an audit, some are of other weights than the run's best checkpoint, or some are of another
            threshold than the others.
    """
    records = {audit: audited.record(audit) for audit in AUDITS if audited.has(audit)}
    if isinstance(audited, Run):
        _check_run(audited, records)
    thresholds = {audit: record.summary["threshold"] for audit, record in records.items() if "threshold" in record.summary}
    if thresholds and not math.isclose(min(thresholds.values()), max(thresholds.values()), rel_tol=1e-4):
        each = ", ".join(f"{audit}: {threshold:.4g}" for audit, threshold in thresholds.items())
        path = audited.path if isinstance(audited, Run) else audited.name
        again = f": {_again(audited, thresholds)} --set detector.threshold=..." if isinstance(audited, Run) else "."
        raise RunError(
            f"the records of {path} are of detectors with different thresholds ({each} bits/dim); audit again with one{again}"
        )


def _check_run(run: Run, records: dict[str, Record]) -> None:
    for audit in NEEDED:
        run.record(audit)
    weights = {audit: record.origin["weights"] for audit, record in records.items() if record.origin}
    wanted = run.weights_sha256 or next(iter(weights.values()), "")
    if stale := [audit for audit, of in weights.items() if of != wanted]:
        epochs = ", ".join(f"{audit}: epoch {records[audit].origin['epoch']}" for audit in stale)
        raise RunError(f"{run.path} was trained on since it was audited ({epochs}); audit it again: {_again(run, stale)}")


def _again(run: Run, audits: Collection[str]) -> str:
    return shlex.join(["condgen", "audit", str(run.path), *(word for audit in audits for word in ("--only", audit))])


def origins_table(models: Sequence[Audited]) -> Table:
    """How the numbers were made: the settings of runs; of other models the records know none."""
    rows = tuple(_row(model) for model in models)
    numbers = tuple(dict(zip(COLUMNS, row, strict=True)) for row in rows)
    return Table("origins", "How these numbers were made", "", COLUMNS, rows, numbers)


def _row(model: Audited) -> tuple[str, ...]:
    if not isinstance(model, Run):
        return (model.name, *("not noted" for _ in COLUMNS[1:]))
    config, logged = model.config, model.epochs_logged
    return (
        model.name,
        config.data.name,
        config.objective.name,
        f"{config.model.levels} x {config.model.blocks}, {config.model.width}",
        f"{f'{logged} of ' if logged < config.training.epochs else ''}{config.training.epochs}",
        weights_of(model.record("classification")),
        str(config.seed),
        f"condgen {config.versions['condgen']}, torch {config.versions['torch']}",
    )


def weights_of(record: Record) -> str:
    """Which weights the record is of: the epoch after which they were saved, and the beginning of their sha256."""
    return f"epoch {record.origin['epoch']} ({record.origin['weights'][:8]})" if record.origin else "not noted"
