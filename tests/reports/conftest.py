"""Records of each audit of one Gaussian per class, and a run folder that holds them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from condgen import DiagonalGaussian, GenerativeClassifier, Run, audits, load_preset, open_dataset
from condgen.audits import Record, Subject
from condgen.audits.snapshots import SnapshotsSettings, snapshots
from condgen.detectors import LikelihoodThreshold, Typicality
from condgen.detectors.base import Detector
from tests.conftest import TINY

MakeFolder = Callable[..., Run]


def made_with(detector: Detector, *, attacked: bool = True) -> dict[str, Record]:
    """Run each audit with this detector and return its record."""
    splits = open_dataset("digits")
    classifier = GenerativeClassifier(
        DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
    ).eval()
    x, _ = splits.test.batch(slice(20))
    detector.fit(classifier, splits.train, splits.validation)
    made = [
        audits.classification(
            classifier,
            splits.test,
            detector=detector,
            simple_densities={"uniform": 4.09, "Gaussian": 2.95},
        ),
        audits.label_likelihood(classifier, splits.test),
        audits.interpolation(classifier, splits.test, detector=detector, pairs=6, quiet=True),
        Record(
            "samples", {"per_class": 2}, {"images": x.numpy(), "label": np.repeat(range(10), 2)}
        ),
    ]
    subject = Subject("toy", classifier, splits, detector, quiet=True)
    moments = {10: lambda: subject, 20: lambda: subject}
    made.append(
        snapshots(
            replace(subject, snapshots=moments),
            SnapshotsSettings(test_images=200, paths=4, points=3),
        )
    )
    if attacked:
        starting_points = splits.validation
        kept = {
            "detector": detector,
            "starting_points": starting_points,
            "budget": "smoke",
            "images": 12,
        }
        made.append(audits.adversarial(classifier, splits.test, **kept, quiet=True))
    return {record.audit: record for record in made}


@pytest.fixture(scope="session")
def records() -> dict[str, Record]:
    """Records with the paper's detector at 5 bits/dim."""
    return made_with(LikelihoodThreshold(5.0))


@pytest.fixture(scope="session")
def typical() -> dict[str, Record]:
    """Records with a detector whose unit is nats."""
    return made_with(Typicality(60.0), attacked=False)


@pytest.fixture
def folder(records: dict[str, Record], tmp_path: Path) -> MakeFolder:
    """Make a run with some of the records; ``weights`` gives the weights of each audit."""

    def make(*made: str, name: str = "run", **weights: str) -> Run:
        run = Run.create(tmp_path / name, load_preset("digits-base", TINY))
        for audit in made or records:
            of = {"weights": weights[audit], "epoch": int(weights[audit][0])} if weights else {}
            replace(records[audit], origin=of).save(run.records)
        return run

    return make
