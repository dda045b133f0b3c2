"""How the numbers of a page were made: data, model, training, weights and versions."""

from collections.abc import Sequence

from condgen.audits.records import Record
from condgen.reports.selection import Selection
from condgen.reports.tables import Table
from condgen.runs import RecordFolder, Run

COLUMNS = (
    "model",
    "data",
    "architecture",
    "objective",
    "epochs",
    "weights of",
    "seed",
    "versions",
)
UNKNOWN = "not noted"
ELSEWHERE = "trained elsewhere"


def origins_table(models: Sequence[Selection]) -> Table:
    """A row for each model, with what its folder and its records note."""
    rows = tuple(_row(model) for model in models)
    numbers = tuple(dict(zip(COLUMNS, row, strict=True)) for row in rows)
    return Table("origins", "How these numbers were made", "", COLUMNS, rows, numbers)


def _row(model: Selection) -> tuple[str, ...]:
    records = [model.record(audit) for audit in model.audits_made()]
    weights = next((said for record in records if (said := weights_of(record))), UNKNOWN)
    if not isinstance(model.source, RecordFolder):
        return (model.name, *[UNKNOWN] * 4, weights, _seed(records), _versions_of(records))
    config = model.source.config
    return (
        model.name,
        config.data.name,
        config.model.words,
        *_training(model.source),
        weights,
        str(config.seed),
        _versions(config.versions) or _versions_of(records),
    )


def _training(folder: RecordFolder) -> tuple[str, str]:
    """Objective and epochs."""
    if not isinstance(folder, Run):
        return ELSEWHERE, ELSEWHERE
    training, logged = folder.config.training, folder.epochs_logged
    if training.max_steps:
        return folder.config.objective.name, f"{logged} (at most {training.max_steps} steps)"
    part = f"{logged} of " if logged < training.epochs else ""
    return folder.config.objective.name, f"{part}{training.epochs}"


def weights_of(record: Record) -> str:
    """The epoch after which the weights were saved and the start of their sha256; "" if unknown."""
    weights, epoch = str(record.origin.get("weights") or ""), record.origin.get("epoch")
    if not weights:
        return ""
    return f"epoch {epoch} ({weights[:8]})" if epoch else weights[:8]


def _seed(records: Sequence[Record]) -> str:
    return next((str(r.origin["seed"]) for r in records if "seed" in r.origin), UNKNOWN)


def _versions_of(records: Sequence[Record]) -> str:
    """The versions that the first record with any notes."""
    found = (_versions(record.origin.get("versions") or {}) for record in records)
    return next(filter(None, found), UNKNOWN)


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("condgen", "torch") if name in versions)
