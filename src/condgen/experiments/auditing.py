"""Audits of a run or an external model; each record stores the settings it was made with."""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from condgen import machine, processes
from condgen.audits.audit import Audit
from condgen.audits.records import Record, audit_lock
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier
from condgen.config import SubjectConfig, replaced
from condgen.config.older import upgraded
from condgen.data.dataset import Splits
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, ConfigError, RunError
from condgen.experiments.building import at_its_place, images_of, open_data
from condgen.experiments.failures import audit_failures
from condgen.experiments.subjects import subject_of
from condgen.files import as_path, check_writable
from condgen.registry import AUDITS
from condgen.runs import RecordFolder
from condgen.runs.restoring import build_classifier


def audit(
    folder: RecordFolder,
    only: Collection[str] | None = None,
    *,
    config: SubjectConfig | None = None,
    overrides: Collection[str] = (),
    model: ClassConditionalDensity | GenerativeClassifier | None = None,
    splits: Splits | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    deterministic: bool = False,
    quiet: bool = False,
    done: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Run audits on the test images and save their records in the folder.

    Args:
        folder: A trained run, or the folder of an external model.
        only: Names of audits. Default: all audits that the model supports.
        config: Its detector, audits and seed are used instead of the folder's.
        overrides: ``section.key=value`` of the sections ``detector`` and ``audit``.
        model: The model. Default: built from the folder's page.
        splits: The data. Default: the data that the folder's page names.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto" for the CUDA device if there is one.
        deterministic: As for :func:`condgen.machine.prepare_device`.
        quiet: Show no progress bars.
        done: Called with each record as soon as it is saved.

    Raises:
        ConfigError: If an audit is not known, or none of the audits reads a given setting.
        CondgenError: If an audit fails; raised after all other audits are done.
    """
    if not isinstance(folder, RecordFolder):
        raise RunError(
            f"the run to audit is a {type(folder).__name__}, expected a RecordFolder;"
            " `Run.open(path)` returns one."
        )
    requested = None if only is None else _ordered([only] if isinstance(only, str) else only)
    config = replaced(config or folder.config, overrides, ("detector", "audit"))
    _check_read(requested, overrides)
    place = machine.prepare_device(device, deterministic=deterministic)
    with processes.joined():
        first = processes.is_first()
        subject = subject_of(
            folder,
            config,
            model=model,
            splits=splits,
            data_dir=data_dir,
            device=place,
            quiet=quiet or not first,
        )
        return _all_made(subject, config, folder, requested, done if first else None)


def _all_made(
    subject: Subject,
    config: SubjectConfig,
    folder: RecordFolder,
    requested: Collection[str] | None,
    done: Callable[[Record], None] | None,
) -> list[Record]:
    """Run the audits; those that fail do not keep the others from running."""
    records: list[Record] = []
    failures = []
    for name in AUDITS.names() if requested is None else requested:
        if requested is None and _missing(subject, AUDITS.get(name)):
            continue
        try:
            records.append(_made(name, subject, config, folder))
        except CondgenError as error:
            failures.append(f"{name}: {error}")
            continue
        if done:
            done(records[-1])
    if failures:
        raise CondgenError(" ".join(failures))
    return records


def audit_model(
    config: SubjectConfig,
    path: Path | str,
    only: Collection[str] | None = None,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    deterministic: bool = False,
    quiet: bool = False,
    done: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Audit the model that your factory returns, into a folder for :func:`condgen.write_report`.

    Args:
        config: The configuration; its model is ``package.module:factory``.
        path: The folder. An existing folder must have the same model and data.
        only: Names of audits. Default: all audits that the model supports.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto".
        deterministic: As for :func:`condgen.machine.prepare_device`.
        quiet: Show no progress bars.
        done: Called with each record as soon as it is saved.

    Raises:
        ConfigError: If the factory cannot be called.
        RunError: If ``path`` is not such a folder.
    """
    path, config = as_path(path), at_its_place(config)
    check_writable(path, replace_directory=True)
    splits = open_data(config, data_dir)
    machine.prepare_device(device, deterministic=deterministic)
    with processes.joined():
        model = build_classifier(config.model, images_of(splits), config.seed)
        folder = processes.from_first(lambda: _folder(path, config, splits))
        return audit(
            folder,
            only,
            model=model,
            splits=splits,
            data_dir=data_dir,
            device=device,
            deterministic=deterministic,
            quiet=quiet,
            done=done,
        )


def _folder(path: Path, config: SubjectConfig, splits: Splits) -> RecordFolder:
    """Open the folder of an external model, or create it."""
    if not path.exists():
        return RecordFolder.create(
            path, config.model_copy(update={"images": images_of(splits, hashed=True)})
        )
    folder = RecordFolder.open(path)
    same = {"data", "model", "seed"}
    if folder.config.model_dump(include=same) != config.model_dump(include=same):
        raise RunError(
            f"{path} holds the audits of another model or data set; choose another --out."
        )
    return folder.with_config(
        folder.config.model_copy(update={"detector": config.detector, "audit": config.audit})
    )


def is_current(folder: RecordFolder, name: str, config: SubjectConfig) -> bool:
    """Whether the audit's record has these settings, detector and seed, and the current weights."""
    kind: Audit = AUDITS.get(name)
    if not folder.has(kind.name):
        return False
    try:
        origin = folder.record(kind.name).origin
    except RunError:
        return False
    wanted = _settings_of(kind, name, config) | {"seed": config.seed}
    weights = folder.weights_sha256 or origin.get("weights")
    return (
        bool(origin)
        and origin.get("weights") == weights
        and all(origin.get(key) == wanted[key] for key in wanted)
    )


def _made(name: str, subject: Subject, config: SubjectConfig, folder: RecordFolder) -> Record:
    """Run one audit and save its record."""
    kind: Audit = AUDITS.get(name)
    if missing := _missing(subject, kind):
        raise CondgenError(missing)
    with ExitStack() as held, audit_failures(subject.classifier.density):
        processes.from_first(lambda: held.enter_context(audit_lock(folder.records, kind.name)))
        start = time.monotonic()
        made = kind.make(
            replace(subject, directory=folder.records / kind.name), config.audit_settings(name)
        )
        origin = {
            **subject.origin,
            **_settings_of(kind, name, config),
            "seconds": round(time.monotonic() - start, 1),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
        }
        record = replace(made, origin=origin)
        processes.from_first(lambda: record.save(folder.records))
    return record


def _settings_of(kind: Audit, name: str, config: SubjectConfig) -> dict[str, Any]:
    """The settings that a record depends on, as JSON values."""
    settings = {"settings": config.audit_settings(name).model_dump(mode="json")}
    return settings | (
        {"detector": config.detector.model_dump(mode="json")} if kind.uses_detector else {}
    )


def _missing(subject: Subject, kind: Audit) -> str:
    """What the audit needs and the subject lacks, as a sentence; empty if nothing."""
    density = type(subject.classifier.density)
    if kind.needs_samples and density.sample is ClassConditionalDensity.sample:
        return f"{density.__name__} cannot be sampled from; give it a `sample` method."
    if kind.needs_snapshots and not subject.snapshots:
        return f"{subject.name} kept no snapshots; train it with training.snapshots=8."
    return ""


def _ordered(names: Collection[str]) -> list[str]:
    """The unique names: audits of condgen first, in their registry order, then the others.

    Raises:
        ConfigError: If an audit is not known.
    """
    for name in names:
        AUDITS.get(name)
    known = [name for name in AUDITS.names() if name in names]
    return [*known, *(name for name in dict.fromkeys(names) if name not in known)]


def _check_read(requested: Collection[str] | None, overrides: Collection[str]) -> None:
    """Refuse settings of an audit that is not requested."""
    for override in overrides:
        key, _, value = override.partition("=")
        section, _, rest = key.strip().partition(".")
        if section != "audit" or requested is None:
            continue
        first, _, inner = rest.partition(".")
        tables = upgraded({"audit": {first: {inner: value} if inner else value}})["audit"]
        for name in tables:
            if name not in requested:
                raise ConfigError(
                    f"{key.strip()} is a setting of the audit {name}, which is not requested;"
                    " request it, or remove the setting."
                )
