"""Files and directories that are either there whole or not there at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from condgen.errors import CondgenError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, for a file or a directory; renamed to it when the block ends without an error.

    Raises:
        CondgenError: If the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise CondgenError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
    try:
        yield work / path.name
        if path.is_dir():
            path.rename(work / "replaced")
        (work / path.name).replace(path)
    except OSError as error:
        raise CondgenError(f"{path} cannot be written ({error.strerror}); free some space or choose another place.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
