"""The input of an audit: a model, a data set and a detector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import Splits
from condgen.detectors import Detector


@dataclass(frozen=True)
class Subject:
    """A classifier to audit, from a run directory or from ``package.module:factory``.

    Args:
        name: Name in tables and figures.
        classifier: The classifier, in evaluation mode.
        splits: ``test`` is audited; ``validation`` is used for thresholds and starting points of
            attacks.
        detector: A fitted detector with a threshold.
        seed: Seed of everything random in the audits.
        directory: Folder for the shards of long audits; ``None`` keeps nothing on disk.
        origin: Weights, versions and seed for the records; JSON.
        quiet: Show no progress bars.
        simple_densities: Mean bits/dim of log p(x) on the test images under simple densities, by
            name; empty if unknown or if the model is one of them.
        snapshots: The model at steps of its training, by step; a call opens it.
    """

    name: str
    classifier: GenerativeClassifier
    splits: Splits
    detector: Detector
    seed: int = 0
    directory: Path | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    quiet: bool = False
    simple_densities: Mapping[str, float] = field(default_factory=dict)
    snapshots: Mapping[int, Callable[[], "Subject"]] = field(default_factory=dict)
