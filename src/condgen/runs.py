"""A run directory: the configuration, the metrics, the checkpoints and the records of one trained model."""

import importlib.metadata
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from filelock import FileLock, Timeout

from condgen.audits.records import Record
from condgen.config import Config, load_config
from condgen.errors import RunError
from condgen.files import written_whole
from condgen.training.checkpoints import epochs_done, weights_sha256

VERSIONS_OF = ("condgen", "torch", "numpy", "scipy", "scikit-learn", "scikit-image")


@dataclass(frozen=True)
class Run:
    """``config.toml``, ``metrics.jsonl``, ``checkpoint/`` and ``records/`` under one path."""

    path: Path
    config: Config

    @classmethod
    def create(cls, path: Path | str, config: Config) -> "Run":
        """Start a run in a new directory; writes the fully resolved configuration with versions.

        Raises:
            RunError: If something is there already.
        """
        path = Path(path)
        if path.exists():
            raise RunError(f"{path} exists already; choose another --run, remove it, or go on with --resume.")
        config = config.model_copy(update={"versions": installed_versions()})
        with written_whole(path) as work:
            work.mkdir()
            (work / "config.toml").write_text(tomli_w.dumps(config.model_dump(exclude_none=True)))
        return cls(path, config)

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Open what :meth:`create` made.

        Raises:
            RunError: If ``path`` is no run directory.
        """
        path = Path(path)
        if not (path / "config.toml").is_file():
            found = "has no config.toml" if path.exists() else "does not exist"
            raise RunError(f"{path} is not a run directory: it {found}. `condgen train PRESET --run {path}` makes one.")
        return cls(path, load_config(path / "config.toml"))

    @property
    def name(self) -> str:
        """What tables and figures call it: the name of its folder."""
        return self.path.resolve().name

    def class_name(self, label: int) -> str:
        """What its data calls a class; the number where the run has not noted it."""
        names = self.config.images.class_names if self.config.images else []
        return names[label] if names else str(label)

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

    @property
    def records(self) -> Path:
        return self.path / "records"

    def has(self, audit: str) -> bool:
        """Whether that audit has been made."""
        return (self.records / f"{audit}.json").is_file()

    def record(self, audit: str) -> Record:
        """The saved record of an audit."""
        return Record.load(self.records, audit)


def installed_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in VERSIONS_OF:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
