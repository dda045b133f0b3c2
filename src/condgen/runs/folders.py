"""Folders with the records of one model; a run has more, see :mod:`condgen.runs.run`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from condgen import processes
from condgen.audits.records import Record, file_of, records_in
from condgen.classifier import GenerativeClassifier
from condgen.config import Images, SubjectConfig, load_config
from condgen.data.dataset import Splits
from condgen.density import ClassConditionalDensity
from condgen.detectors import Detector, build_detector
from condgen.errors import CondgenError, ConfigError, RunError
from condgen.files import as_path, atomic_write, check_writable
from condgen.runs.pages import check_unaltered, installed_versions, page_of
from condgen.runs.restoring import build_classifier, keep_detector, kept_detector


@dataclass(frozen=True)
class Restored:
    """A model with the weights of its folder.

    Args:
        classifier: The classifier, in evaluation mode.
        weights_sha256: SHA-256 of the weights file; empty for an external model.
        epoch: The epoch after which the weights were saved.
    """

    classifier: GenerativeClassifier
    weights_sha256: str = ""
    epoch: int | None = None


@dataclass(frozen=True)
class RecordFolder:
    """``subject.toml`` and ``records/``: the audits of an external model."""

    path: Path
    config: SubjectConfig

    page: ClassVar[str] = "subject.toml"
    kind: ClassVar[type[SubjectConfig]] = SubjectConfig
    advice: ClassVar[str] = (
        "`condgen audit --model package.module:factory --data NAME --out {path}` makes one."
    )

    @classmethod
    def create(cls, path: Path | str, config: SubjectConfig) -> Self:
        """Create a folder; writes the fully resolved configuration with versions.

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
        """Refuse a path where :meth:`create` would fail.

        Raises:
            RunError: If something is there already.
            CondgenError: If the path is not writable.
        """
        taken = RunError(
            f"{path} exists already; choose another path, remove it, or continue with --resume."
        )
        if path.exists():
            raise taken
        try:
            check_writable(path)
        except CondgenError as error:
            if path.exists():  # another process was faster
                raise taken from error
            raise

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open an existing folder.

        Raises:
            RunError: If ``path`` is not such a folder, or its page was altered.
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
        """Replace the page of the folder."""
        with atomic_write(self.path / self.page) as work:
            work.write_text(page_of(config))
        return type(self)(self.path, config)

    @property
    def name(self) -> str:
        """The name in tables and figures: that of the directory."""
        return os.fsencode(self.path.resolve().name).decode(errors="replace")

    def class_name(self, label: int) -> str:
        """The name of a class; its number if the folder has no class names."""
        names = self.config.images.class_names if self.config.images else []
        return names[label] if names else str(label)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights that records must have; empty if only the records store it."""
        return ""

    def classifier(
        self,
        device: torch.device | str = "cpu",
        *,
        images: Images | None = None,
        model: ClassConditionalDensity | GenerativeClassifier | None = None,
    ) -> GenerativeClassifier:
        """The model in evaluation mode; needs no data.

        Args:
            device: Device of the model.
            images: Description of its images. Default: the one in the folder's page.
            model: The model. Default: built from the folder's page.

        Raises:
            ConfigError: If the folder has no description of its images.
            RunError: If the weights cannot be read, or have another architecture.
        """
        return self.restored(device, images=images, model=model).classifier

    def restored(
        self,
        device: torch.device | str = "cpu",
        *,
        images: Images | None = None,
        model: ClassConditionalDensity | GenerativeClassifier | None = None,
    ) -> "Restored":
        """The model and the origin of its weights; see :meth:`classifier`."""
        images = images or self.config.images
        if images is None:
            raise ConfigError(f"{self.path} has no description of its images; open its data first.")
        made = (
            model
            if model is not None
            else build_classifier(self.config.model, images, self.config.seed)
        )
        classifier = made if isinstance(made, GenerativeClassifier) else GenerativeClassifier(made)
        weights, epoch = self._load_weights(classifier)
        return Restored(classifier.to(torch.device(device)).eval(), weights, epoch)

    def _load_weights(self, classifier: GenerativeClassifier) -> tuple[str, int | None]:
        """Load nothing: the factory of an external model sets the weights."""
        return "", None

    def detector(self) -> Detector:
        """The fitted detector of the folder's page; needs no data.

        Training and audits save it.

        Raises:
            RunError: If no detector is saved for these settings and weights.
        """
        detector = kept_detector(
            self.path, self.config.detector, self._detector_made_with(self.weights_sha256)
        )
        if detector is None:
            raise RunError(
                f"{self.path} has no detector fitted with these settings and weights; run"
                f" `condgen audit {self.path}` with its data once."
            )
        return detector

    def fit_detector(self, model: "Restored", splits: Splits) -> Detector:
        """Fit the detector of the folder's page, and save it for :meth:`detector`."""
        detector = build_detector(self.config.detector, model.classifier, splits)
        if processes.is_first():
            keep_detector(self.path, detector, self._detector_made_with(model.weights_sha256))
        return detector

    def _detector_made_with(self, weights: str) -> dict[str, Any]:
        return {"settings": self.config.detector.model_dump(mode="json"), "weights": weights}

    @property
    def records(self) -> Path:
        return self.path / "records"

    def audits_made(self) -> list[str]:
        """Names of audits with a record: registered ones first, in registry order."""
        return records_in(self.records)

    def has(self, audit: str) -> bool:
        """Whether there is a record of the audit."""
        return (self.records / f"{file_of(self.records, audit)}.json").is_file()

    def record(self, audit: str) -> Record:
        """The saved record of an audit."""
        return Record.load(self.records, audit)
