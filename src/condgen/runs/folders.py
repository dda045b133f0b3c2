"""Folders with the records of one model: a run that condgen trained, or a model from elsewhere."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from condgen.audits.records import Record, file_of, records_in
from condgen.classifier import GenerativeClassifier
from condgen.config import Config, Images, SubjectConfig, load_config
from condgen.data.dataset import Splits
from condgen.density import ClassConditionalDensity
from condgen.detectors import Detector, build_detector
from condgen.errors import CondgenError, ConfigError, RunError
from condgen.files import as_path, atomic_write, check_writable, locked
from condgen.runs.pages import check_unaltered, installed_versions, page_of
from condgen.runs.restoring import build_classifier, keep_detector, kept_detector
from condgen.training.checkpoints import (
    SNAPSHOTS,
    Checkpoint,
    epochs_done,
    load_weights,
    weights_sha256,
)


@dataclass(frozen=True)
class Restored:
    """A model with the weights of its folder.

    Args:
        classifier: In evaluation mode.
        weights_sha256: Of the file that they were read from; empty for a model from elsewhere.
        epoch: After which they were saved.
    """

    classifier: GenerativeClassifier
    weights_sha256: str = ""
    epoch: int | None = None


@dataclass(frozen=True)
class RecordFolder:
    """``subject.toml`` and ``records/``: the audits of a model that condgen did not train."""

    path: Path
    config: SubjectConfig

    page: ClassVar[str] = "subject.toml"
    kind: ClassVar[type[SubjectConfig]] = SubjectConfig
    advice: ClassVar[str] = (
        "`condgen audit --model package.module:factory --data NAME --out {path}` makes one."
    )

    @classmethod
    def create(cls, path: Path | str, config: SubjectConfig) -> Self:
        """Start a folder; writes the fully resolved configuration with versions.

        Raises:
            RunError: If something is there already.
        """
        path = as_path(path)
        cls.check_free(path)
        config = config.model_copy(update={"versions": installed_versions()})
        try:
            with atomic_write(path) as work:
                work.mkdir()
                (work / cls.page).write_text(page_of(config))
        except CondgenError:
            cls.check_free(path)  # another process may have been faster
            raise
        return cls(path, config)

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Refuse a place where :meth:`create` would fail.

        Raises:
            RunError: If something is there already.
            CondgenError: If it cannot be written to.
        """
        if path.exists():
            raise RunError(
                f"{path} exists already; choose another place, remove it, or continue with --resume."
            )
        check_writable(path)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open what :meth:`create` made.

        Raises:
            RunError: If ``path`` is no such folder, or its page was altered.
        """
        path = as_path(path)
        if not (path / cls.page).is_file():
            found = f"has no {cls.page}" if path.exists() else "does not exist"
            raise RunError(
                f"{path} is not a run directory: it {found}. {cls.advice.format(path=path)}"
            )
        check_unaltered(path / cls.page)
        return cls(path, load_config(path / cls.page, cls.kind))

    def with_config(self, config: SubjectConfig) -> Self:
        """The same folder with another page."""
        with atomic_write(self.path / self.page) as work:
            work.write_text(page_of(config))
        return type(self)(self.path, config)

    @property
    def name(self) -> str:
        """What tables and figures call it: the name of its folder."""
        return os.fsencode(self.path.resolve().name).decode(errors="replace")

    def class_name(self, label: int) -> str:
        """What its data calls a class; the number where the folder has not noted it."""
        names = self.config.images.class_names if self.config.images else []
        return names[label] if names else str(label)

    @property
    def weights_sha256(self) -> str:
        """Of the weights that records must be of; empty where only the records know."""
        return ""

    def classifier(
        self,
        device: torch.device | str = "cpu",
        *,
        images: Images | None = None,
        model: ClassConditionalDensity | GenerativeClassifier | None = None,
    ) -> GenerativeClassifier:
        """The model, ready to use: in evaluation mode, and without its data.

        Args:
            device: Where to put it.
            images: What its images are like. Default: as the folder has noted.
            model: Instead of building it from the folder's page.

        Raises:
            ConfigError: If the folder has not noted what its images are like.
            RunError: If the weights cannot be read, or are of another architecture.
        """
        return self.restored(device, images=images, model=model).classifier

    def restored(
        self,
        device: torch.device | str = "cpu",
        *,
        images: Images | None = None,
        model: ClassConditionalDensity | GenerativeClassifier | None = None,
    ) -> "Restored":
        """The model and which weights it has; see :meth:`classifier`."""
        images = images or self.config.images
        if images is None:
            raise ConfigError(
                f"{self.path} has not noted what its images are like; open its data first."
            )
        made = (
            model
            if model is not None
            else build_classifier(self.config.model, images, self.config.seed)
        )
        classifier = made if isinstance(made, GenerativeClassifier) else GenerativeClassifier(made)
        weights, epoch = self._load_weights(classifier)
        return Restored(classifier.to(torch.device(device)).eval(), weights, epoch)

    def _load_weights(self, classifier: GenerativeClassifier) -> tuple[str, int | None]:
        """A model from elsewhere comes with its weights."""
        return "", None

    def detector(self) -> Detector:
        """The detector of the folder's page, fitted to its validation images, without its data.

        It is kept when training or an audit has fitted it.

        Raises:
            RunError: If none was kept for these settings and weights.
        """
        detector = kept_detector(
            self.path, self.config.detector, self._detector_made_with(self.weights_sha256)
        )
        if detector is None:
            raise RunError(
                f"{self.path} keeps no detector that was fitted with these settings and weights; run"
                f" `condgen audit {self.path}` with its data once."
            )
        return detector

    def fit_detector(self, model: "Restored", splits: Splits) -> Detector:
        """The detector of the folder's page, fitted now, and kept for :meth:`detector`."""
        detector = build_detector(self.config.detector, model.classifier, splits)
        keep_detector(self.path, detector, self._detector_made_with(model.weights_sha256))
        return detector

    def _detector_made_with(self, weights: str) -> dict[str, Any]:
        return {"settings": self.config.detector.model_dump(mode="json"), "weights": weights}

    @property
    def records(self) -> Path:
        return self.path / "records"

    def audits_made(self) -> list[str]:
        """Audits with a record, those that the registry knows first and in its order."""
        return records_in(self.records)

    def has(self, audit: str) -> bool:
        """Whether that audit has been made."""
        return (self.records / f"{file_of(self.records, audit)}.json").is_file()

    def record(self, audit: str) -> Record:
        """The saved record of an audit."""
        return Record.load(self.records, audit)


@dataclass(frozen=True)
class Run(RecordFolder):
    """``config.toml``, ``metrics.jsonl``, ``checkpoint/`` and ``records/``: a model that condgen trained.

    It is used without its training data::

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
        """Of the best checkpoint; empty where it is not kept, as beside published records."""
        return weights_sha256(self.best)

    @property
    def epochs_done(self) -> int:
        """Finished epochs."""
        return epochs_done(self.path / "checkpoint")

    @property
    def epochs_logged(self) -> int:
        """Finished epochs as the log has them, which is kept where checkpoints are not."""
        log = self.path / "metrics.jsonl"
        return len(log.read_text(errors="replace").splitlines()) if log.exists() else 0

    def training(self) -> AbstractContextManager[None]:
        """While this process trains the run; two would write over each other.

        Raises:
            RunError: If another process does.
        """
        busy = f"{self.path} is being trained by another process; wait for it, or choose another --run."
        return locked(self.path / ".training.lock", busy)

    def _load_weights(self, classifier: GenerativeClassifier) -> tuple[str, int | None]:
        checkpoint = Checkpoint.load(self.best)
        load_weights(classifier.density, checkpoint.weights, self.best)
        return checkpoint.weights_sha256, checkpoint.epoch

    def snapshots(self) -> dict[int, Path]:
        """The weights that training kept, by step."""
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


def open_folder(path: Path | str) -> RecordFolder:
    """A run, or the records of a model from elsewhere.

    Raises:
        RunError: If ``path`` is neither.
    """
    path = as_path(path)
    return RecordFolder.open(path) if (path / RecordFolder.page).is_file() else Run.open(path)


def is_folder(path: Path) -> bool:
    """Whether ``path`` is what :func:`open_folder` opens, damaged or not."""
    return any((path / kind.page).is_file() for kind in (RecordFolder, Run))
