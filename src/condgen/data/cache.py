"""Cache of decoded images on disk: built once, verified when opened, memory-mapped."""

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from condgen import machine
from condgen.data.imagefile import ImageFile, write_labels
from condgen.data.images import MOST_PIXELS, Changes, Geometry, Opened, decode_opened, open_image
from condgen.data.reading import MOST_IMAGES, ROWS_AT_ONCE, ImageTable, given_path
from condgen.data.splitting import Arrangement, Digests, shuffled
from condgen.errors import DataError
from condgen.files import atomic_write

FORMAT = 3  # of the cache; a new number invalidates old entries
HASH_BLOCK = 1 << 22
DECODED_AT_ONCE = 64  # images in memory at a time, fewer if they are large
CHECKED = ("images.npy", "labels.npy", "digests.npy", "about.json")
GRAY_IN_COLOR = "are gray and were given three equal channels, each of which counts in bits/dim"
GRAY_AS_COLOR = (
    "have three equal channels, each of which counts in bits/dim; convert them to gray to count one"
)


@dataclass(frozen=True)
class Decoded:
    """Images ``(N, C, H, W)``, memory-mapped, their labels, digests and metadata."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    digests: Digests
    about: dict[str, Any]


def cache_directory() -> Path:
    """``CONDGEN_CACHE``, or ``condgen`` in the user's cache folder."""
    if chosen := os.environ.get("CONDGEN_CACHE"):
        return given_path(chosen)
    return given_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "condgen"


def cached(key: str, build: Callable[[Path], None]) -> Decoded:
    """Return the cache entry ``key``; ``build`` writes it if it is missing or damaged.

    Args:
        key: Identifies the content; any text.
        build: Writes the files of an :class:`ImageFile` into a directory.
    """
    directory = (
        cache_directory()
        / hashlib.sha256(f"{FORMAT}\0{key}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"):
            if not _is_intact(directory):
                with atomic_write(directory, replace_directory=True) as work:
                    work.mkdir()
                    build(work)
                    (work / "sha256").write_text(
                        "\n".join(_digest(work / name) for name in CHECKED)
                    )
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"the cache {directory.parent} cannot be used ({reason}); set CONDGEN_CACHE."
        ) from error
    images = np.load(directory / "images.npy", mmap_mode="r")
    labels, digests = np.load(directory / "labels.npy"), np.load(directory / "digests.npy")
    return Decoded(images, labels, digests, json.loads((directory / "about.json").read_text()))


def decoded(
    table: ImageTable,
    geometry: Geometry,
    name: str,
    arrangement: Arrangement,
    *,
    color: bool = False,
) -> Decoded:
    """All images of ``table`` at one size, from the cache or decoded in parallel.

    Args:
        table: The images of one part.
        geometry: Their target size.
        name: Name in messages.
        arrangement: Their order.
        color: Give gray images three channels. They always get them if another image has three.

    Raises:
        DataError: If an image is damaged, or the images differ in size and no size is set.
    """
    number = len(table)
    if not 0 < number <= MOST_IMAGES:
        raise DataError(
            f"{name} holds {number or 'no'} image{'s' if number else ''};"
            f" expected 1 to {MOST_IMAGES}."
        )
    key = f"{table.fingerprint()}\0{geometry}\0{arrangement}\0{color}"
    return cached(
        key, lambda directory: _decode_all(table, geometry, name, arrangement, color, directory)
    )


class _MixedShapes(Exception):
    """An image differs in shape from the first."""


def _decode_all(
    table: ImageTable,
    geometry: Geometry,
    name: str,
    arrangement: Arrangement,
    color: bool,
    directory: Path,
) -> None:
    places = _places(table, name, arrangement)
    try:
        _decode_as(table, geometry, name, places, directory, channels=3 if color else None)
    except _MixedShapes:
        sizes = Counter(
            f"{image.shape[1]}x{image.shape[2]}" for image, _, _ in _decode_rows(table, geometry)
        )
        if len(sizes) > 1:
            found = " and ".join(f"{size} ({number})" for size, number in sizes.most_common(4))
            raise DataError(
                f"{name} has images of {found}; set data.size=32 (`condgen show`: --size 32) to"
                " resize and crop."
            ) from None
        _decode_as(table, geometry, name, places, directory, channels=3)


def _places(table: ImageTable, name: str, arrangement: Arrangement) -> NDArray[np.int64]:
    """The position of each image in the stored order."""
    if arrangement.by == "position":
        return shuffled(len(table), arrangement.seed)
    labels, keys = array("q"), bytearray()
    for chunk in table.chunks():
        labels.extend(row.label for row in chunk)
        keys += b"".join(arrangement.key(row.content) for row in chunk)
        _check_number(len(labels), len(table), name, at_end=False)
    _check_number(len(labels), len(table), name)
    return np.argsort(arrangement.order(np.array(labels), np.frombuffer(keys, "S16")))


def _check_number(number: int, expected: int, name: str, *, at_end: bool = True) -> None:
    if number > expected:
        raise DataError(
            f"{name} has more images than its metadata says ({expected}); download it again."
        )
    if at_end and number < expected:
        raise DataError(
            f"{name} has {number} images, its metadata says {expected}; download it again."
        )


def _decode_as(
    table: ImageTable,
    geometry: Geometry,
    name: str,
    places: NDArray[np.int64],
    directory: Path,
    channels: int | None,
) -> None:
    """Decode each image to its position, with ``channels`` channels if given."""
    rows = _decode_rows(table, geometry)
    first = next(rows)
    shape = (channels or len(first[0]), *first[0].shape[1:])
    total = len(places)
    labels, changes, equal, number = np.empty(total, np.int64), Counter[str](), True, 0
    with (
        ImageFile(directory, (total, *shape)) as file,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task(f"decoding {escape(name)}", total=total)
        for image, changed, label in chain([first], rows):
            number += 1
            _check_number(number, total, name, at_end=False)
            widened = channels is not None and len(image) == 1
            planes = np.broadcast_to(image, (shape[0], *image.shape[1:])) if widened else image
            if planes.shape != shape:
                raise _MixedShapes
            file.write(places[number - 1], planes[None])
            labels[places[number - 1]] = label
            changes.update((*changed, GRAY_IN_COLOR) if widened else changed)
            equal = equal and shape[0] == 3 and not widened and bool((image == image[:1]).all())
            if number % ROWS_AT_ONCE == 0:
                bar.update(task, completed=number)
    _check_number(number, total, name)
    if equal and not any("of mode" in change for change in changes):
        changes[GRAY_AS_COLOR] = total
    write_labels(directory, labels, {"changes": changes, "values": file.values})


def _decode_rows(
    table: ImageTable, geometry: Geometry
) -> Iterator[tuple[NDArray[np.uint8], Changes, int]]:
    """Decode group by group in threads, reading the headers of the next group meanwhile.

    The images of a group are yielded before the next group is decoded, which bounds memory.
    """
    workers = machine.usable_cores()
    with ThreadPoolExecutor(workers) as pool:

        def begin(group: list[Opened]) -> list[Future[list[tuple[NDArray[np.uint8], Changes]]]]:
            parts = [group[first::workers] for first in range(workers)]
            return [
                pool.submit(lambda part: [decode_opened(image, geometry) for image in part], part)
                for part in parts
            ]

        groups = _groups(table)
        group = next(groups, [])
        while group:
            futures = begin(group)
            following = next(groups, [])
            results = [future.result() for future in futures]
            for number, opened in enumerate(group):
                yield *results[number % workers][number // workers], opened.label
            group = following


def _groups(table: ImageTable) -> Iterator[list[Opened]]:
    """Groups to decode at once: together they have at most the pixels of the largest image."""
    group: list[Opened] = []
    pixels = 0
    for row in chain.from_iterable(table.chunks()):
        opened = open_image(row)
        if group and (len(group) == DECODED_AT_ONCE or pixels + opened.pixels > MOST_PIXELS):
            yield group
            group, pixels = [], 0
        group.append(opened)
        pixels += opened.pixels
    if group:
        yield group


def _is_intact(directory: Path) -> bool:
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
