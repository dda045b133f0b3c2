"""Folders with the records of one model: a run that condgen trained, or a model from elsewhere."""

import importlib.metadata
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import tomli_w
from filelock import FileLock, Timeout

from condgen.audits.records import Record, records_in
from condgen.config import Config, SubjectConfig, load_config
from condgen.errors import RunError
from condgen.files import written_whole
from condgen.training.checkpoints import epochs_done, weights_sha256

VERSIONS_OF = ("condgen", "torch", "numpy", "scipy", "scikit-learn", "scikit-image")


@dataclass(frozen=True)
class RecordFolder:
    """``subject.toml`` and ``records/``: the audits of a model that condgen did not train."""

    path: Path
    config: SubjectConfig

    page: ClassVar[str] = "subject.toml"
    kind: ClassVar[type[SubjectConfig]] = SubjectConfig
    advice: ClassVar[str] = "`condgen audit --model package.module:factory --data NAME --out {path}` makes one."

    @classmethod
    def create(cls, path: Path | str, config: SubjectConfig) -> Self:
        """Start a folder; writes the fully resolved configuration with versions.

        Raises:
            RunError: If something is there already.
        """
        path = Path(path)
        if path.exists():
            raise RunError(f"{path} exists already; choose another place, remove it, or continue with --resume.")
        config = config.model_copy(update={"versions": installed_versions()})
        with written_whole(path) as work:
            work.mkdir()
            (work / cls.page).write_text(_toml(config))
        return cls(path, config)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open what :meth:`create` made.

        Raises:
            RunError: If ``path`` is no such folder.
        """
        path = Path(path)
        if not (path / cls.page).is_file():
            found = f"has no {cls.page}" if path.exists() else "does not exist"
            raise RunError(f"{path} is not a run directory: it {found}. {cls.advice.format(path=path)}")
        return cls(path, load_config(path / cls.page, cls.kind))

    def with_config(self, config: SubjectConfig) -> Self:
        """The same folder with another page."""
        with written_whole(self.path / self.page) as work:
            work.write_text(_toml(config))
        return type(self)(self.path, config)

    @property
    def name(self) -> str:
        """What tables and figures call it: the name of its folder."""
        return self.path.resolve().name

    def class_name(self, label: int) -> str:
        """What its data calls a class; the number where the folder has not noted it."""
        names = self.config.images.class_names if self.config.images else []
        return names[label] if names else str(label)

    @property
    def weights_sha256(self) -> str:
        """Of the weights that records must be of; empty where only the records know."""
        return ""

    @property
    def records(self) -> Path:
        return self.path / "records"

    def audits_made(self) -> list[str]:
        """Audits with a record, those that the registry knows first and in its order."""
        return records_in(self.records)

    def has(self, audit: str) -> bool:
        """Whether that audit has been made."""
        return (self.records / f"{audit}.json").is_file()

    def record(self, audit: str) -> Record:
        """The saved record of an audit."""
        return Record.load(self.records, audit)


@dataclass(frozen=True)
class Run(RecordFolder):
    """``config.toml``, ``metrics.jsonl``, ``checkpoint/`` and ``records/``: a model that condgen trained."""

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

    @contextmanager
    def training(self) -> Iterator[None]:
        """While this process trains the run; two would write over each other.

        Raises:
            RunError: If another process does.
        """
        try:
            with FileLock(self.path / ".training.lock", timeout=0):
                yield
        except Timeout as error:
            raise RunError(f"{self.path} is being trained by another process; wait for it, or choose another --run.") from error


def open_folder(path: Path | str) -> RecordFolder:
    """A run, or the records of a model from elsewhere.

    Raises:
        RunError: If ``path`` is neither.
    """
    return RecordFolder.open(path) if (Path(path) / RecordFolder.page).is_file() else Run.open(path)


def installed_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in VERSIONS_OF:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _toml(config: SubjectConfig) -> str:
    return tomli_w.dumps(config.model_dump(exclude_none=True))
