"""Reading of user files: regular files only, in chunks that fit into memory."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from condgen.data.images import Encoded
from condgen.errors import DataError

ROWS_AT_ONCE = 1000
BYTES_AT_ONCE = 1 << 26  # of encoded images
MOST_FILE_BYTES = 1 << 28  # of one encoded image: the size of the largest image without compression
MOST_IMAGES = 1 << 24
MOST_CLASSES = 1 << 31


class ImageTable(Protocol):
    """Encoded images with labels, read in order, a few at a time."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on omitted files and on assumptions."""
        ...

    def __len__(self) -> int: ...

    def fingerprint(self) -> str:
        """A text that changes when the files change, computed without reading them."""
        ...

    def chunks(self) -> Iterator[list[Encoded]]: ...


def given_path(text: str) -> Path:
    """The path that a user gave, with ``~`` expanded.

    Raises:
        DataError: If there is no such home directory, or the text is not a path.
    """
    try:
        if "\0" in text:
            raise RuntimeError("it contains a null character")
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"{text!r} is not a path ({error}); write the full path.") from error


def exists(path: Path) -> bool:
    """Whether ``path`` exists.

    Raises:
        DataError: If that cannot be determined.
    """
    try:
        return path.exists()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error


def is_regular(path: Path) -> bool:
    """Whether ``path`` is a regular file, not a pipe, a device or a broken link."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def check_regular(path: Path) -> None:
    """Refuse pipes, devices and directories; a missing file passes.

    Raises:
        DataError: If ``path`` is not a regular file.
    """
    if exists(path) and not is_regular(path):
        raise DataError(f"{path} is not a regular file; give the path of a regular file.")


def files_below(root: Path) -> Iterator[Path]:
    """All files below a folder, including linked folders; hidden files are skipped.

    Raises:
        DataError: If a folder cannot be listed.
    """
    seen = set[tuple[int, int]]()
    for folder, below, names in os.walk(root, followlinks=True, onerror=_cannot_be_listed):
        status = Path(folder).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:  # a link to a folder that was read already, or to a parent
            below.clear()
            continue
        seen.add(identity)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def _cannot_be_listed(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be read ({error.strerror}); make it readable or move it away."
    ) from error


def read_image(path: Path, label: int = 0) -> Encoded:
    """The content of one image file.

    Raises:
        DataError: If it cannot be read, is not a regular file or is too large for an image.
    """
    check_regular(path)
    try:
        check_size(path.stat().st_size, str(path))
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    check_size(len(content), str(path))
    return Encoded(content, label, str(path))


def check_size(number: int, where: str) -> None:
    """Refuse a file or row that is larger than an image can be."""
    if number > MOST_FILE_BYTES:
        raise DataError(
            f"{where} has more than {MOST_FILE_BYTES} bytes, too many for an image; remove it."
        )


def in_chunks(images: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    """Group images into chunks of bounded length and bounded total size."""
    chunk: list[Encoded] = []
    size = 0
    for image in images:
        if chunk and (len(chunk) == ROWS_AT_ONCE or size + len(image.content) > BYTES_AT_ONCE):
            yield chunk
            chunk, size = [], 0
        chunk.append(image)
        size += len(image.content)
    if chunk:
        yield chunk


def fingerprint(paths: Sequence[Path]) -> str:
    """Fingerprint of the files' paths, sizes and modification times."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}).") from error
        line = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))  # names need not be UTF-8
    return digest.hexdigest()
