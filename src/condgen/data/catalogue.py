"""Data sets by name."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from condgen.data.composed import Composed
from condgen.data.dataset import Splits
from condgen.data.folders import tables_in
from condgen.data.hub import hub_files
from condgen.data.images import Geometry
from condgen.data.parts import HOW_TO_NAME, part_of
from condgen.data.reading import (
    ImageTable,
    check_regular,
    exists,
    files_below,
    given_path,
    is_regular,
)
from condgen.data.sources import EMBEDDED, Embedded, Npz, Source, Tables, keeps_its_size
from condgen.data.tables import ParquetTable
from condgen.errors import DataError, suggest

PREFIXES = ("hub:", "folder:", "parquet:", "npz:", "bg:")
MOST_SIZE = 8192


@dataclass(frozen=True)
class Known:
    """A data set of the paper: its repository on the Hub, source, license and padding."""

    repository: str
    source: str
    license: str
    pad: int | None = None


KNOWN = {
    "mnist": Known(
        "ylecun/mnist", "LeCun, Cortes, Burges: the MNIST database", "CC BY-SA 3.0", pad=32
    ),
    "cifar10": Known(
        "uoft-cs/cifar10",
        "Krizhevsky: Learning multiple layers of features from tiny images",
        "not stated",
    ),
}
BACKGROUND_MNIST = {f"bg-mnist-{blur}": f"bg:mnist/cifar10/{blur}" for blur in (0, 1, 5)}


def dataset_names() -> list[str]:
    """Names of data sets that need no path, sorted."""
    return sorted([*EMBEDDED, *KNOWN, *BACKGROUND_MNIST])


def open_dataset(
    name: str, *, data_dir: Path | str | None = None, size: int | None = None, seed: int = 0
) -> Splits:
    """Open a data set with its train, validation and test parts.

    Args:
        name: ``digits``, ``bg-digits``, ``mnist``, ``cifar10``, ``bg-mnist-0``, ``-1`` or ``-5``;
            ``hub:OWNER/NAME[@REVISION]``; ``folder:PATH``, ``parquet:PATH`` or ``npz:PATH``;
            ``bg:FOREGROUND/BACKGROUND/BLUR``.
        data_dir: A folder that holds ``mnist/`` and ``cifar10/`` as parquet files. Default:
            ``CONDGEN_DATA``, else the Hub.
        size: Resize and center-crop to this height and width.
        seed: Seed of the validation split and of the choice of backgrounds, from 0 to 2**32 - 1.

    Raises:
        DataError: If the name is not known (the message suggests the nearest), the data cannot be
            read, or ``size`` or ``seed`` is not such a number.

    Examples:
        >>> [len(part) for _, part in open_dataset("digits").items()]
        [1257, 180, 360]
    """
    _check_request(name, data_dir, size, seed)
    return find_source(
        name, data_dir=None if data_dir is None else given_path(str(data_dir)), size=size, seed=seed
    ).open()


def _check_request(name: object, data_dir: object, size: object, seed: object) -> None:
    if not isinstance(name, str) or not _is_utf8(name):
        raise DataError(
            f"{name!r} is not the name of a data set; expected text, in UTF-8, such as 'digits'."
        )
    if data_dir is not None and not isinstance(data_dir, str | os.PathLike):
        raise DataError(f"data_dir is {data_dir!r}, expected the path of a folder.")
    if size is not None and not _is_whole(size, 1, MOST_SIZE):
        raise DataError(f"size is {size!r}, expected a whole number from 1 to {MOST_SIZE}.")
    if not _is_whole(seed, 0, 2**32 - 1):
        raise DataError(f"seed is {seed!r}, expected a whole number from 0 to {2**32 - 1}.")


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_source(
    name: str, *, data_dir: Path | None = None, size: int | None = None, seed: int = 0
) -> Source:
    """The source that :func:`open_dataset` opens."""
    if data_dir is None and os.environ.get("CONDGEN_DATA"):
        data_dir = given_path(os.environ["CONDGEN_DATA"])
    prefix, colon, rest = name.partition(":")
    geometry = Geometry(size=size)
    if size is not None and keeps_its_size(name):
        raise DataError(f"{name} has a fixed size; leave out the size, now {size}.")
    if name in EMBEDDED:
        return Embedded(name)
    if name in KNOWN:
        known = KNOWN[name]
        tables, notes = _known_files(name, known, data_dir)
        padded = Geometry(size=size, pad=known.pad if size is None else None)
        return Tables(
            name, tables, padded, known.source, known.license, seed, notes, arranged="position"
        )
    if name in BACKGROUND_MNIST:
        source = find_source(BACKGROUND_MNIST[name], data_dir=data_dir, size=size, seed=seed)
        return replace(source, name=name) if isinstance(source, Composed) else source
    if not colon or f"{prefix}:" not in PREFIXES:
        raise DataError(
            f"data set '{name}' is not known; {suggest(name, [*dataset_names(), *PREFIXES])}"
        )
    if prefix == "hub":
        repository, _, revision = rest.partition("@")
        tables, notes = _by_split(
            {file.name: file.path for file in hub_files(repository, revision or None)}, name
        )
        return Tables(
            name, tables, geometry, f"Hugging Face Hub, {rest}", "see the Hub", seed, notes
        )
    if prefix == "bg":
        return _composed(name, rest, data_dir, size, seed)
    path = given_path(rest)
    if not exists(path):
        raise DataError(
            f"{name}: {path} does not exist; correct the path (of a run: data.name in its"
            " config.toml)."
        )
    match prefix:
        case "folder":
            tables, notes = tables_in(path)
            return Tables(name, tables, geometry, str(path), "the user's own", seed, notes)
        case "parquet":
            tables, notes = _by_split(_parquet_files(path), name)
            return Tables(name, tables, geometry, str(path), "the user's own", seed, notes)
        case _:
            return Npz(name, path, seed)


def _parquet_files(path: Path) -> dict[str, Path]:
    if path.is_dir():
        found = (
            file for file in files_below(path) if file.suffix == ".parquet" and is_regular(file)
        )
        return {str(file.relative_to(path)): file for file in found}
    check_regular(path)
    return {path.name: path}


def located(name: str) -> str:
    """``name`` with absolute paths, independent of the working directory.

    >>> located("mnist"), located("bg:mnist/folder:/photos/1")
    ('mnist', 'bg:mnist/folder:/photos/1')
    """
    prefix, _, rest = name.partition(":")
    pair, _, blur = rest.rpartition("/")
    if prefix == "bg" and (names := _pair(pair)):
        return f"bg:{'/'.join(map(located, names))}/{blur}"
    return (
        f"{prefix}:{given_path(rest).absolute()}"
        if prefix in ("folder", "parquet", "npz") and rest
        else name
    )


Found = tuple[dict[str, ImageTable], tuple[str, ...]]


def _known_files(name: str, known: Known, data_dir: Path | None) -> Found:
    if data_dir is None:
        return _by_split({file.name: file.path for file in hub_files(known.repository)}, name)
    folder = data_dir / name
    if not folder.is_dir():
        raise DataError(
            f"{data_dir} has no folder '{name}'; put the parquet files of {known.repository} there."
        )
    return _by_split({path.name: path for path in folder.glob("*.parquet")}, str(folder))


def _by_split(files: dict[str, Path], name: str) -> Found:
    """Group parquet files by the part in their names or in the names of their folders; and notes.

    Files without a part in their name are left out if others have one, else all are ``train``.
    """
    groups: dict[str, list[str]] = {}
    for file in sorted(files):
        part = next(filter(None, map(part_of, reversed(Path(file).parts))), "")
        groups.setdefault(part, []).append(file)
    if list(groups) == [""]:
        groups = {"train": groups[""]}
    if "train" not in groups:
        raise DataError(
            f"{name} has no training file among {sorted(files)}; {HOW_TO_NAME}, such as"
            " train-00000.parquet."
        )
    folders = {str(Path(file).parent) for file in groups["train"]}
    if len(folders) > 1:
        raise DataError(
            f"{name} has several configurations ({', '.join(sorted(folders))}); download one and"
            " use parquet:PATH."
        )
    train = ParquetTable(tuple(files[file] for file in groups["train"]))
    others = {
        part: ParquetTable(tuple(files[file] for file in groups[part]), train)
        for part in groups.keys() - {"train", ""}
    }
    left = groups.get("", [])
    notes = (
        (f"files were left out, as their names contain no part: {', '.join(left)}",) if left else ()
    )
    return {"train": train, **dict(sorted(others.items()))}, notes


def _composed(name: str, rest: str, data_dir: Path | None, size: int | None, seed: int) -> Composed:
    pair, _, blur = rest.rpartition("/")
    names = _pair(pair)
    try:
        bandwidth = float(blur)
    except ValueError:
        bandwidth = -1.0
    if names is None or not 0 <= bandwidth <= 1000:
        raise DataError(
            f"'{name}' is not of the form bg:FOREGROUND/BACKGROUND/BLUR, such as"
            " bg:mnist/cifar10/1."
        )
    if size is not None and all(map(keeps_its_size, names)):
        raise DataError(f"{name}: both have a fixed size; leave out the size, now {size}.")
    front, back = (
        find_source(part, data_dir=data_dir, size=None if keeps_its_size(part) else size, seed=seed)
        for part in names
    )
    return Composed(name, front, back, bandwidth, seed)


def _pair(text: str) -> tuple[str, str] | None:
    """Split at the first slash that has the name of a data set on each side."""
    parts = text.split("/")
    for cut in range(1, len(parts)):
        pair = "/".join(parts[:cut]), "/".join(parts[cut:])
        if all(part in dataset_names() or part.startswith(PREFIXES) for part in pair):
            return pair
    return None
