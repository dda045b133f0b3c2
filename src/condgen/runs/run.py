"""The folder of a run that condgen trains: checkpoints, snapshots and the log."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from condgen.classifier import GenerativeClassifier
from condgen.config import Config, Images, SubjectConfig
from condgen.files import locked
from condgen.runs.folders import RecordFolder
from condgen.runs.restoring import build_classifier
from condgen.training.checkpoints import (
    SNAPSHOTS,
    Checkpoint,
    epochs_done,
    load_weights,
    progress_of,
    weights_sha256,
)
from condgen.training.log import read_log

LOCK = ".training.lock"


@dataclass(frozen=True)
class Run(RecordFolder):
    """A training run: ``config.toml``, ``metrics.jsonl``, ``checkpoint/`` and ``records/``.

    Use it without its training data::

        run = Run.open("runs/mine")
        classifier, detector = run.classifier(), run.detector()
        prediction = classifier(x)  # x: stored values / (levels - 1), shape (N, C, H, W)
        prediction.label, prediction.bits_per_dim, flagged(detector, prediction)
    """

    config: Config

    page: ClassVar[str] = "config.toml"
    kind: ClassVar[type[SubjectConfig]] = Config
    advice: ClassVar[str] = "`condgen train PRESET --run {path}` makes one."

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.path / "checkpoint" / "best"

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the best weights; empty if there are none, as with published records."""
        return weights_sha256(self.best)

    @property
    def epochs_done(self) -> int:
        """The number of finished epochs."""
        return epochs_done(self.path / "checkpoint")

    @property
    def steps_done(self) -> int:
        """The number of steps taken until the newest checkpoint."""
        return progress_of(self.path / "checkpoint")[1]

    @property
    def epochs_logged(self) -> int:
        """The number of finished epochs in the log, which also exists without checkpoints."""
        return len(read_log(self.path))

    def training(self) -> AbstractContextManager[None]:
        """Lock the run while this process trains it, so that no other process overwrites it.

        Raises:
            RunError: If another process trains it.
        """
        busy = (
            f"{self.path} is being trained by another process; wait for it, or choose another"
            " --run."
        )
        # waits, because a process that only looks at the lock holds it for microseconds
        return locked(self.path / LOCK, busy, wait=0.2)

    def _load_weights(self, classifier: GenerativeClassifier) -> tuple[str, int | None]:
        checkpoint = Checkpoint.load(self.best)
        load_weights(classifier.density, checkpoint.weights, self.best)
        return checkpoint.weights_sha256, checkpoint.epoch

    def snapshots(self) -> dict[int, Path]:
        """Paths of the snapshots of the weights, by training step."""
        folder = self.path / "checkpoint" / SNAPSHOTS
        found = (
            sorted(path for path in folder.glob("*") if path.name.isdigit())
            if folder.is_dir()
            else []
        )
        return {int(path.name): path for path in found}

    def at_snapshot(
        self, path: Path, device: torch.device | str, images: Images
    ) -> GenerativeClassifier:
        """The model with the weights of a snapshot, in evaluation mode."""
        classifier = build_classifier(self.config.model, images, self.config.seed)
        load_weights(classifier.density, Checkpoint.load(path).weights, path)
        return classifier.to(torch.device(device)).eval()
