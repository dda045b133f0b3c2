"""Opening a folder of either kind: a run, or the record folder of an external model."""

from pathlib import Path

from condgen.files import as_path
from condgen.runs.folders import RecordFolder
from condgen.runs.run import Run


def open_folder(path: Path | str) -> RecordFolder:
    """Open a run, or the record folder of an external model.

    Raises:
        RunError: If ``path`` is neither.
    """
    path = as_path(path)
    return RecordFolder.open(path) if (path / RecordFolder.page).is_file() else Run.open(path)


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder for :func:`open_folder`, damaged or not."""
    return any((path / kind.page).is_file() for kind in (RecordFolder, Run))
