"""Files and directories that are either there whole or not there at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from condgen.errors import CondgenError


@contextmanager
def written_whole(path: Path, *, replace_directory: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path``, for a file or a directory; renamed to it when the block ends without an error.

    A file replaces a file. A directory replaces a directory only where the caller owns it and says so.

    Raises:
        CondgenError: If the place cannot be written to, or a directory is in the way; what was there stays.
    """
    if path.is_dir() and not replace_directory:
        raise CondgenError(f"{path} cannot be written: a folder of that name is in the way; choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise CondgenError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
    try:
        yield work / path.name
        _move(work / path.name, path, work / "replaced")
    except OSError as error:
        raise CondgenError(
            f"{path} cannot be written ({error.strerror or error}); free some space or choose another place."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move(new: Path, path: Path, aside: Path) -> None:
    """Put ``new`` at ``path``; if that fails, what was there is there again."""
    if not path.is_dir():
        new.replace(path)
        return
    if not new.exists():
        raise FileNotFoundError(2, "nothing was written", str(new))
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
