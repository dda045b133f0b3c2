"""What an audit is made of: a model on a data set, with a detector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import Splits
from condgen.detectors import Detector


@dataclass(frozen=True)
class Subject:
    """A classifier to audit; it comes from a run directory or from ``package.module:factory``.

    Args:
        name: What tables and figures call it.
        classifier: In evaluation mode.
        splits: ``test`` is audited; ``validation`` serves thresholds and starting points of attacks.
        detector: Fitted, with a threshold.
        seed: Of everything random in the audits.
        directory: Where long audits keep their parts; ``None`` keeps nothing on disk.
        origin: What the records note: weights, versions, seed; JSON.
        quiet: No progress bars.
        simple_densities: Mean bits/dim of log p(x) on the test images under simple densities, by name; empty where
            they are not known or the model is one of them.
        snapshots: The model as it was at steps of its training, each opened when it is called.
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
