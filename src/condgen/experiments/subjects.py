"""Audit subjects: the model of a run, or an external model."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from condgen import machine
from condgen.audits.fingerprints import fingerprint
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier
from condgen.config import SubjectConfig
from condgen.data.dataset import Splits, check_fits
from condgen.density import ClassConditionalDensity
from condgen.detectors import build_detector
from condgen.experiments.building import check_images_of, images_of, open_data
from condgen.experiments.simple import simple_densities
from condgen.models.simple import SimpleDensity
from condgen.runs import RecordFolder, Restored, Run, installed_versions


def subject_of(
    folder: RecordFolder,
    config: SubjectConfig | None = None,
    *,
    model: ClassConditionalDensity | GenerativeClassifier | None = None,
    splits: Splits | None = None,
    data_dir: Path | None = None,
    device: str | torch.device = "cpu",
    quiet: bool = False,
) -> Subject:
    """Build the subject that the audits of ``folder`` use.

    Args:
        folder: A run, or the folder of an external model.
        config: Its detector, audits and seed are used instead of the folder's.
        model: The model, which gets the weights of a run. Default: built from the folder's page.
        splits: The data. Default: the data that the folder's page names.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", "auto" for the CUDA device if there is one, or a device.
        quiet: Show no progress bars.

    Raises:
        CondgenError: If the model, its weights or the data cannot be read, or do not match.
    """
    config = config or folder.config
    place = machine.prepare_device(device) if isinstance(device, str) else device
    splits = splits or open_data(folder.config, data_dir)
    check_images_of(folder.config, splits, folder.path)
    restored = folder.restored(place, images=images_of(splits), model=model)
    classifier = restored.classifier
    check_fits(splits.test, classifier.density)
    same_detector = config.detector == folder.config.detector
    subject = Subject(
        name=folder.name,
        classifier=classifier,
        splits=splits,
        detector=folder.fit_detector(restored, splits)
        if same_detector
        else build_detector(config.detector, classifier, splits),
        seed=config.seed,
        origin=_origin(config, restored),
        quiet=quiet,
        simple_densities={}
        if isinstance(classifier.density, SimpleDensity)
        else simple_densities(splits, quiet=quiet),
    )
    if not isinstance(folder, Run):
        return subject
    opened = {
        step: partial(_at_snapshot, subject, folder, config, path, place)
        for step, path in folder.snapshots().items()
    }
    return replace(subject, snapshots=opened)


def _at_snapshot(
    subject: Subject, run: Run, config: SubjectConfig, path: Path, device: torch.device
) -> Subject:
    """The subject with the weights of a snapshot, and a detector fitted to it."""
    classifier = run.at_snapshot(path, device, images_of(subject.splits))
    return replace(
        subject,
        classifier=classifier,
        detector=build_detector(config.detector, classifier, subject.splits),
    )


def _origin(config: SubjectConfig, model: Restored) -> dict[str, Any]:
    """Provenance of the records, without the settings of each audit."""
    return {
        "weights": model.weights_sha256 or fingerprint(model.classifier),
        "epoch": model.epoch,
        "device": model.classifier.device.type,
        "seed": config.seed,
        "versions": installed_versions(),
    }
