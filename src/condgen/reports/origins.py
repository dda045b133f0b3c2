"""Origin of a page's numbers: data, model, training, weights, versions, differing settings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from condgen.audits.records import Record
from condgen.config import load_preset
from condgen.errors import CondgenError
from condgen.reports.selection import Selection
from condgen.reports.tables import MISSING, Table
from condgen.runs import RecordFolder, Run
from condgen.training.log import read_log

COLUMNS = (
    "model",
    "data",
    "architecture",
    "objective",
    "epochs",
    "weights of",
    "seed",
    "trained",
    "audited",
    "versions",
    "command",
)
UNKNOWN = "not recorded"
ELSEWHERE = "trained elsewhere"
CHOSEN = ("data", "model", "objective", "training", "detector")  # tables that --set can change


def origins_table(models: Sequence[Selection]) -> Table:
    """A row for each model, from its folder and its records."""
    rows = tuple(_row(model) for model in models)
    numbers = tuple(dict(zip(COLUMNS, row, strict=True)) for row in rows)
    return Table("origins", "How these numbers were made", "", COLUMNS, rows, numbers)


def differences_table(models: Sequence[Selection]) -> Table:
    """A row for each model, a column for each setting that differs; no rows if all agree."""
    settings = {model.name: _settings(model) for model in models}
    keys = dict.fromkeys(key for found in settings.values() for key in found)
    differ = [
        key
        for key in keys
        if any(found.get(key) != settings[models[0].name].get(key) for found in settings.values())
    ]
    rows = tuple(
        (name, *(found.get(key, MISSING) for key in differ)) for name, found in settings.items()
    )
    numbers = tuple(
        {"model": name, **{key: found.get(key) for key in differ}}
        for name, found in settings.items()
    )
    caption = f"{MISSING}: the model has no such setting, or did not record it."
    kept = slice(None) if differ else slice(0)
    return Table(
        "settings", "Settings that differ", caption, ("model", *differ), rows[kept], numbers[kept]
    )


def _settings(model: Selection) -> dict[str, str]:
    """All recorded settings as text: those of the folder and those of the records."""
    page: dict[str, Any] = {}
    if isinstance(model.source, RecordFolder):
        page = model.source.config.model_dump(mode="json", exclude={"preset", "images", "audit"})
    audits = {}
    for audit in model.audits_made():
        origin = model.record(audit).origin
        page |= {
            key: origin[key] for key in ("seed", "detector", "versions", "device") if key in origin
        }
        audits[audit] = origin.get("settings", {})
    return dict(_flat({**page, "audit": audits}))


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for inner, held in value.items():
            yield from _flat(held, f"{key}.{inner}" if key else str(inner))
    elif value is not None:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _row(model: Selection) -> tuple[str, ...]:
    records = [model.record(audit) for audit in model.audits_made()]
    weights = next(filter(None, map(weights_of, records)), UNKNOWN)
    audited = _dates(records)
    if not isinstance(model.source, RecordFolder):
        seed, versions = _seed(records), _versions_of(records)
        return (model.name, *[UNKNOWN] * 4, weights, seed, UNKNOWN, audited, versions, UNKNOWN)
    config = model.source.config
    return (
        model.name,
        config.data.name,
        config.model.words,
        *_training(model.source),
        weights,
        str(config.seed),
        _trained_on(model.source),
        audited,
        _versions(config.versions) or _versions_of(records),
        command(model.source) if isinstance(model.source, Run) else UNKNOWN,
    )


def data_table(models: Sequence[Selection]) -> Table:
    """A row for each data set: its images, and the start of the sha256 of each part."""
    found: dict[str, tuple[str, ...]] = {}
    for model in models:
        config = model.source.config if isinstance(model.source, RecordFolder) else None
        if config is None or config.images is None:
            continue
        images = config.images
        found.setdefault(
            config.data.name,
            (
                "x".join(map(str, images.shape)),
                str(images.levels),
                str(images.classes),
                str(sum(images.counts)) if images.counts else UNKNOWN,
                ", ".join(f"{part} {digest[:8]}" for part, digest in images.sha256.items()),
                " ".join(images.notes),
            ),
        )
    columns = ("data", "shape", "levels", "classes", "training images", "sha256", "notes")
    rows = tuple((name, *cells) for name, cells in found.items())
    return Table(
        "data",
        "Data",
        "Sha256: of each part's images and labels, the first 8 digits.",
        columns,
        rows,
        tuple(dict(zip(columns, row, strict=True)) for row in rows),
    )


def command(run: Run) -> str:
    """The command that trains a run again: its preset and every other setting.

    A preset's ``model.precision = "auto"`` is left to the machine.
    """
    config = run.config
    try:
        preset = dict(_flat(load_preset(config.preset).model_dump(mode="json", include={*CHOSEN})))
    except CondgenError:
        return f"condgen train {run.path / 'config.toml'}"
    settings = dict(_flat(config.model_dump(mode="json", include={*CHOSEN})))
    if preset.get("model.precision") == "auto":
        settings["model.precision"] = "auto"
    changed = [
        f"--set {key}={value}" for key, value in settings.items() if preset.get(key) != value
    ]
    seed = [f"--seed {config.seed}"] if config.seed else []
    return " ".join([f"condgen train {config.preset}", *seed, *changed])


def _trained_on(folder: RecordFolder) -> str:
    """The date of the last epoch in the log."""
    lines = read_log(folder.path)
    try:
        moment = datetime.fromtimestamp(float(lines[-1]["time"]), UTC)
    except (LookupError, ValueError, TypeError, OverflowError):
        return UNKNOWN
    return f"{moment:%Y-%m-%d}"


def _dates(records: Sequence[Record]) -> str:
    """The first and the last day on which an audit was made."""
    days = sorted({str(record.origin["date"]) for record in records if "date" in record.origin})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else UNKNOWN


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
    """The versions of the first record that has any."""
    found = (_versions(record.origin.get("versions") or {}) for record in records)
    return next(filter(None, found), UNKNOWN)


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(
        f"{name} {versions[name]}" for name in ("condgen", "torch") if name in versions
    )
