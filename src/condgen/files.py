"""Atomic writes for files and directories, file locks, and checksums."""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from condgen.errors import CondgenError, RunError, WriteError, as_size, disk_is_full

# names of temporary folders: machine and process of the owner
WORK = re.compile(r"\.condgen-(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-\w+")
ASIDE = "replaced"  # within a temporary folder: the content that is being replaced
OLD = 24 * 3600  # seconds after which another machine's temporary folder counts as abandoned


@contextmanager
def atomic_write(
    path: Path, *, replace_directory: bool = False, size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` if the block ends without an error.

    The temporary path lies beside ``path`` and is for a file or a directory. A file replaces a
    file. A directory replaces a directory only with ``replace_directory``. Content is flushed to
    disk before it is renamed. What a killed writer left in the same folder is removed; content that
    it had moved aside is restored.

    Args:
        path: The file or directory.
        replace_directory: Whether ``path`` may be a directory already.
        size: Bytes that will be written, for the error message.

    Raises:
        WriteError: If the place is not writable or the disk is full; existing content stays.
        CondgenError: If something is in the way.
    """
    _check_free(path, replace_directory)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tidy(path.parent)
        work = Path(tempfile.mkdtemp(prefix=f".condgen-{_place()}-{os.getpid()}-", dir=path.parent))
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror}); choose another place."
        ) from error
    try:
        yield work / path.name
        _flush(work / path.name)
        _move(work / path.name, path, work / ASIDE / path.name, replace_directory)
        _flush_folder(path.parent)
    except OSError as error:
        _check_free(path, replace_directory)  # another writer may have been faster
        needed = f" {as_size(size)} are needed;" if size and disk_is_full(error) else ""
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error});{needed}"
            " free some space or choose another place."
        ) from error
    finally:
        _close(work)


def check_writable(path: Path, *, replace_directory: bool = False) -> None:
    """Check in advance that :func:`atomic_write` can write to ``path``; leaves nothing there.

    Raises:
        CondgenError: If the place is not writable, or something is in the way.
    """
    _check_free(path, replace_directory)
    try:
        folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        Path(tempfile.mkdtemp(prefix=f".condgen-{_place()}-{os.getpid()}-", dir=folder)).rmdir()
    except OSError as error:
        raise CondgenError(
            f"{path} cannot be written ({error.strerror}); choose another place."
        ) from error


def tidy(folder: Path) -> None:
    """Remove the temporary folders of killed writers; restore content that they had moved aside."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            owner = WORK.fullmatch(entry.name)
            if owner and entry.is_dir(follow_symlinks=False) and _is_abandoned(entry, owner):
                _close(Path(entry.path))


@contextmanager
def locked(path: Path, busy: str, *, wait: float = 0, again: bool = False) -> Iterator[None]:
    """Hold the lock file ``path`` within this context.

    Args:
        path: Created if missing, and left there.
        busy: Error message if another process holds the lock.
        wait: Seconds to wait for the lock.
        again: Whether this thread may hold the lock already.

    Raises:
        RunError: If another process holds the lock.
        CondgenError: If the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, is_singleton=again)
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise RunError(busy) from error
    except OSError as error:
        raise CondgenError(
            f"{path} cannot be written ({error.strerror}); choose another place."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Return True if a running process holds the lock file ``path``; changes nothing.

    Always false on Windows, which has no shared locks on whole files.
    """
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


def digest_of(value: Mapping[str, Any]) -> str:
    """The sha256 of a table, independent of the order of its keys.

    >>> digest_of({"a": 1, "b": [0.1]}) == digest_of({"b": [0.1], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def as_json(value: Any) -> Any:
    """Convert ``value`` to JSON types: NumPy numbers to Python's, non-finite numbers to null.

    >>> as_json({"a": (1.0, float("inf"))})
    {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_path(value: object) -> Path:
    """Convert an argument to a path.

    Raises:
        CondgenError: If it is not a path.
    """
    if not isinstance(value, (str, os.PathLike)) or "\0" in str(value) or not str(value):
        raise CondgenError(f"{value!r} is no path; give a string or a pathlib.Path.")
    return Path(value)


def _check_free(path: Path, replace_directory: bool) -> None:
    if path.is_dir() and not replace_directory:
        raise CondgenError(
            f"{path} cannot be written: a folder of that name is in the way; choose another name."
        )
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise CondgenError(
            f"{path} cannot be written: it is a device or a pipe; choose the name of a file."
        )


def _move(new: Path, path: Path, aside: Path, replace_directory: bool) -> None:
    """Put ``new`` at ``path``; after an interruption, :func:`_close` restores the old content."""
    if not new.exists():
        raise FileNotFoundError(2, "nothing was written", str(new))
    if path.is_dir() and replace_directory:
        aside.parent.mkdir()
        path.rename(aside)
    new.replace(path)  # fails if another writer has put a directory there


def _close(work: Path) -> None:
    """Remove a temporary folder, after restoring content of an interrupted replacement."""
    for aside in (work / ASIDE).glob("*"):
        place = work.parent / aside.name
        if not os.path.lexists(place):
            aside.rename(place)
    shutil.rmtree(work, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str], owner: re.Match[str]) -> bool:
    if owner["place"] != _place() or os.name != "posix":
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD
    return not is_running(int(owner["pid"]))


def is_running(pid: int) -> bool:
    """Return True if a process of this machine exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or not a process id
        return True
    with suppress(OSError):  # without /proc, such a process counts as running
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


@cache
def _place() -> str:
    """The scope of process ids: the machine, and on Linux the container."""
    try:
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        container = ""
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def _flush(path: Path) -> None:
    """Flush a file, or all files of a directory, to disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _flush(inner)
        _flush_folder(path)
    elif path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Flush the names in a folder to disk, if the system can."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
