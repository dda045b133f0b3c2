"""Decoded images on disk: built once, checked when opened, memory-mapped."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from condgen import machine
from condgen.data.images import Encoded, Geometry, decode
from condgen.data.tables import ROWS_AT_ONCE, ImageTable
from condgen.errors import DataError
from condgen.files import written_whole
from condgen.randomness import numpy_stream

FORMAT = 1  # of the cache; a new number makes old ones be rebuilt
HASH_BLOCK = 1 << 22
DECODED_AT_ONCE = 64  # images in memory at a time: they may be photographs of many megapixels
CHECKED = ("images.npy", "labels.npy", "about.json")


@dataclass(frozen=True)
class Decoded:
    """Images ``(N, C, H, W)``, memory-mapped, their labels, and what else is to be remembered of them."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    about: dict[str, Any]


def cache_directory() -> Path:
    """``CONDGEN_CACHE``, or ``condgen`` under the user's cache folder."""
    if chosen := os.environ.get("CONDGEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "condgen"


def cached(key: str, build: Callable[[Path], None]) -> Decoded:
    """What ``build`` wrote under ``key``; builds it first if it is missing or damaged.

    Args:
        key: Identifies the content; any text.
        build: Writes ``images.npy``, ``labels.npy`` and ``about.json`` into the directory that it is given.
    """
    directory = cache_directory() / hashlib.sha256(f"{FORMAT}\0{key}".encode()).hexdigest()[:32]
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"):
            if not _is_whole(directory):
                with written_whole(directory, replace_directory=True) as work:
                    work.mkdir()
                    build(work)
                    (work / "sha256").write_text("\n".join(_digest(work / name) for name in CHECKED))
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"the cache {directory.parent} cannot be used ({reason}); set CONDGEN_CACHE.") from error
    images = np.load(directory / "images.npy", mmap_mode="r")
    return Decoded(images, np.load(directory / "labels.npy"), json.loads((directory / "about.json").read_text()))


def decoded(table: ImageTable, geometry: Geometry, name: str, seed: int = 0) -> Decoded:
    """All images of ``table`` at one size, in an order shuffled by ``seed``, from the cache or decoded in parallel.

    Raises:
        DataError: If an image is damaged, or the images differ in size and no size was asked for.
    """
    if len(table) == 0:
        raise DataError(f"{name} holds no image.")
    key = f"{table.fingerprint()}\0{geometry}\0{seed}"
    return cached(key, lambda directory: _decode_all(table, geometry, name, seed, directory))


class ImageFile:
    """``images.npy``, written a piece at a time, so that memory never holds all of it."""

    def __init__(self, directory: Path, shape: tuple[int, ...]):
        self.shape = shape
        self._file = (directory / "images.npy").open("wb")
        header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: int, images: NDArray[np.uint8]) -> None:
        """Put images in place, from ``row`` on."""
        self._file.seek(self._start + row * math.prod(self.shape[1:]))
        self._file.write(images.tobytes())


def write_labels(directory: Path, labels: NDArray[np.int64], about: dict[str, Any]) -> None:
    """What belongs beside ``images.npy``."""
    np.save(directory / "labels.npy", labels)
    (directory / "about.json").write_text(json.dumps(about))


class _Mixed(Exception):
    """The images are not all of the first one's shape."""


def _decode_all(table: ImageTable, geometry: Geometry, name: str, seed: int, directory: Path) -> None:
    order = numpy_stream(seed, "split").permutation(len(table))
    try:
        _decode_as(table, geometry, name, order, directory, channels=None)
    except _Mixed:
        shapes = Counter(image.shape for image, _, _ in _decode_rows(table, geometry))
        sizes = Counter({f"{height}x{width}": 0 for _, height, width in shapes})
        for (_, height, width), number in shapes.items():
            sizes[f"{height}x{width}"] += number
        if len(sizes) > 1:
            found = " and ".join(f"{size} ({number})" for size, number in sizes.most_common(4))
            raise DataError(
                f"{name} has images of {found}; set data.size=32 (`condgen show`: --size 32) to resize and crop."
            ) from None
        _decode_as(table, geometry, name, order, directory, channels=3)


def _decode_as(
    table: ImageTable, geometry: Geometry, name: str, order: NDArray[np.int64], directory: Path, channels: int | None
) -> None:
    """Each image to its place in ``order``, in colour if ``channels`` says so."""
    rows = _decode_rows(table, geometry)
    first = next(rows)
    shape = (channels or len(first[0]), *first[0].shape[1:])
    total = len(order)
    labels, modes = np.empty(total, np.int64), Counter[str]()
    with ImageFile(directory, (total, *shape)) as file, Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"decoding {name}", total=total)
        number = -1
        for number, (image, mode, row) in enumerate(chain([first], rows)):
            if number == total:
                raise DataError(f"{name} has more images than it says ({total}); fetch it again.")
            planes = np.broadcast_to(image, (channels, *image.shape[1:])) if channels and len(image) == 1 else image
            if planes.shape != shape:
                raise _Mixed
            file.write(order[number], planes)
            labels[order[number]] = row.label
            modes[mode] += 1
            if number % ROWS_AT_ONCE == 0:
                bar.update(task, completed=number)
    if number + 1 < total:
        raise DataError(f"{name} has {number + 1} images where it says {total}; fetch it again.")
    write_labels(directory, labels, {"modes": modes})


def _decode_rows(table: ImageTable, geometry: Geometry) -> Iterator[tuple[NDArray[np.uint8], str, Encoded]]:
    workers = machine.usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        for chunk in table.chunks():
            for start in range(0, len(chunk), DECODED_AT_ONCE):
                rows = chunk[start : start + DECODED_AT_ONCE]
                parts = [rows[first::workers] for first in range(workers)]
                results = list(pool.map(lambda part: [decode(image, geometry) for image in part], parts))
                for number, row in enumerate(rows):
                    yield *results[number % workers][number // workers], row


def _is_whole(directory: Path) -> bool:
    try:
        expected = (directory / "sha256").read_text().split()
        return expected == [_digest(directory / name) for name in CHECKED]
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
