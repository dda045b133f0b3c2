"""Likelihood, accuracy and paths between classes at snapshots of the training."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from condgen.audits.audit import Audit
from condgen.audits.classification import classification
from condgen.audits.interpolation import interpolation
from condgen.audits.records import Record
from condgen.audits.sharing import share_work
from condgen.audits.subject import Subject
from condgen.config import AuditSettings
from condgen.config.section import Positive
from condgen.data.dataset import ImageDataset
from condgen.detectors.base import summary_of
from condgen.errors import CondgenError
from condgen.randomness import numpy_stream
from condgen.registry import AUDITS

OF_CLASSIFICATION = ("accuracy", "bits_per_dim")
OF_PATHS = ("middle_minus_ends", "accepted_at_every_step")


class SnapshotsSettings(AuditSettings):
    """Numbers of ``test_images``, of ``paths`` between them, and of ``points`` on each path."""

    test_images: Positive = 1000
    paths: Annotated[int, Field(ge=2)] = 300
    points: Annotated[int, Field(ge=3)] = 21


def snapshots(subject: Subject, settings: SnapshotsSettings) -> Record:
    """Measure accuracy, bits/dim and paths between classes at each snapshot of a training.

    The detector is refitted at each snapshot. A snapshot has no paths if no two images of different
    classes are classified correctly and accepted.

    Returns:
        A record whose ``snapshots`` is a list with the numbers of each step and their intervals.
        Its ``detector`` is that of the trained model.

    References:
        Sec. 4.4 and Fig. 4.
    """
    data = _some(subject.splits.test, settings.test_images, subject.seed)

    def at(step: int) -> dict[str, Any]:
        return {"step": step, **_at(subject.snapshots[step](), data, settings)}

    found = share_work(at, list(subject.snapshots), "snapshots", quiet=subject.quiet)
    arrays = {
        key: np.array([line.get(key, np.nan) for line in found], np.float64)
        for key in ("step", *OF_CLASSIFICATION, *OF_PATHS)
    }
    summary = {
        "data": subject.splits.name,
        "n": len(data),
        "pairs": settings.paths,
        "detector": summary_of(subject.detector, subject.classifier.density),
        "simple_densities": dict(subject.simple_densities),
        "snapshots": found,
    }
    return Record("snapshots", summary, arrays)


def _at(subject: Subject, data: ImageDataset, settings: SnapshotsSettings) -> dict[str, Any]:
    """The numbers of one snapshot, each with its interval."""
    made = classification(
        subject.classifier, data, detector=subject.detector, noise_draws=1, seed=subject.seed
    )
    numbers = _of(made, OF_CLASSIFICATION)
    try:
        paths = interpolation(
            subject.classifier,
            data,
            detector=subject.detector,
            pairs=settings.paths,
            alphas=settings.points,
            seed=subject.seed,
            quiet=True,
        )
    except CondgenError as error:
        return {**numbers, "no_paths": str(error)}
    return {**numbers, **_of(paths, OF_PATHS)}


def _of(record: Record, keys: tuple[str, ...]) -> dict[str, Any]:
    return {name: record.summary[name] for key in keys for name in (key, f"{key}_ci")}


def _some(data: ImageDataset, number: int, seed: int) -> ImageDataset:
    order = numpy_stream(seed, "snapshots").permutation(len(data))
    return data.take(np.sort(order[:number]))


AUDIT = AUDITS.register("snapshots")(
    Audit("snapshots", SnapshotsSettings, snapshots, uses_detector=True, needs_snapshots=True)
)
