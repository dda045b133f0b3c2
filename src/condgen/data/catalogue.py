"""Data sets by name."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from condgen.data.dataset import Splits
from condgen.data.hub import hub_files
from condgen.data.images import Geometry
from condgen.data.sources import EMBEDDED, Composed, Embedded, Npz, Source, Tables, keeps_its_size
from condgen.data.tables import FolderTable, ImageTable, ParquetTable
from condgen.errors import DataError, nearest

PREFIXES = ("hub:", "folder:", "parquet:", "npz:", "bg:")
SPLIT_IN_NAME = re.compile(r"(?:^|[_.-])(train|validation|valid|val|dev|test)(?=[_.-]|$)", re.IGNORECASE)
SPLIT_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}


@dataclass(frozen=True)
class Known:
    """A data set of the paper: where the Hub has it, and what is known about it."""

    repository: str
    source: str
    licence: str
    pad: int | None = None


KNOWN = {
    "mnist": Known("ylecun/mnist", "LeCun, Cortes, Burges: the MNIST database", "CC BY-SA 3.0", pad=32),
    "cifar10": Known("uoft-cs/cifar10", "Krizhevsky: Learning multiple layers of features from tiny images", "not stated"),
}
BACKGROUND_MNIST = {f"bg-mnist-{blur}": f"bg:mnist/cifar10/{blur}" for blur in (0, 1, 5)}


def dataset_names() -> list[str]:
    """Names that need nothing but themselves."""
    return sorted([*EMBEDDED, *KNOWN, *BACKGROUND_MNIST])


def open_dataset(name: str, *, data_dir: Path | str | None = None, size: int | None = None, seed: int = 0) -> Splits:
    """A data set with its train, validation and test parts.

    Args:
        name: ``digits``, ``bg-digits``, ``mnist``, ``cifar10``, ``bg-mnist-0``, ``-1`` or ``-5``;
            ``hub:OWNER/NAME[@REVISION]``; ``folder:PATH``, ``parquet:PATH`` or ``npz:PATH``; ``bg:FOREGROUND/BACKGROUND/BLUR``.
        data_dir: A folder that holds ``mnist/`` and ``cifar10/`` as parquet files. Default: ``CONDGEN_DATA``, else the Hub.
        size: Resize and centre-crop to this height and width.
        seed: Of the validation split and of the choice of backgrounds.

    Raises:
        DataError: If the name is not known (the nearest is named), or the data cannot be read.

    Examples:
        >>> [len(part) for _, part in open_dataset("digits").items()]
        [1257, 180, 360]
    """
    return find_source(name, data_dir=None if data_dir is None else Path(data_dir), size=size, seed=seed).open()


def find_source(name: str, *, data_dir: Path | None = None, size: int | None = None, seed: int = 0) -> Source:
    """What :func:`open_dataset` opens."""
    if data_dir is None and os.environ.get("CONDGEN_DATA"):
        data_dir = Path(os.environ["CONDGEN_DATA"])
    prefix, colon, rest = name.partition(":")
    geometry = Geometry(size=size)
    if size is not None and keeps_its_size(name):
        raise DataError(f"{name} has a size of its own; leave out the size, now {size}.")
    if name in EMBEDDED:
        return Embedded(name)
    if name in KNOWN:
        known = KNOWN[name]
        files = _known_files(name, known, data_dir)
        padded = Geometry(size=size, pad=known.pad if size is None else None)
        return Tables(name, files, padded, known.source, known.licence, seed)
    if name in BACKGROUND_MNIST:
        source = find_source(BACKGROUND_MNIST[name], data_dir=data_dir, size=size, seed=seed)
        return replace(source, name=name) if isinstance(source, Composed) else source
    if not colon or f"{prefix}:" not in PREFIXES:
        raise DataError(f"data set '{name}' is not known; {nearest(name, [*dataset_names(), *PREFIXES])}")
    if prefix == "hub":
        repository, _, revision = rest.partition("@")
        files = _by_split({file.name: file.path for file in hub_files(repository, revision or None)}, name)
        return Tables(name, files, geometry, f"Hugging Face Hub, {rest}", "see the Hub", seed)
    if prefix == "bg":
        return _composed(name, rest, data_dir, size, seed)
    path = Path(rest).expanduser()
    if not path.exists():
        raise DataError(
            f"{name}: {path} does not exist; if it has moved, say where it is now, for a run in its config.toml at data.name."
        )
    match prefix:
        case "folder":
            return Tables(name, _folders(path), geometry, str(path), "the user's own", seed)
        case "parquet":
            found = {path.name: path} if path.is_file() else {str(p.relative_to(path)): p for p in path.rglob("*.parquet")}
            return Tables(name, _by_split(found, name), geometry, str(path), "the user's own", seed)
        case _:
            return Npz(name, path, seed)


def located(name: str) -> str:
    """``name`` with absolute paths, so that it means the same wherever it is read.

    >>> located("mnist"), located("bg:mnist/folder:/photos/1")
    ('mnist', 'bg:mnist/folder:/photos/1')
    """
    prefix, _, rest = name.partition(":")
    pair, _, blur = rest.rpartition("/")
    if prefix == "bg" and (names := _pair(pair)):
        return f"bg:{'/'.join(map(located, names))}/{blur}"
    return f"{prefix}:{Path(rest).expanduser().absolute()}" if prefix in ("folder", "parquet", "npz") and rest else name


def _known_files(name: str, known: Known, data_dir: Path | None) -> dict[str, ImageTable]:
    if data_dir is None:
        return _by_split({file.name: file.path for file in hub_files(known.repository)}, name)
    folder = data_dir / name
    if not folder.is_dir():
        raise DataError(f"{data_dir} has no folder '{name}'; put the parquet files of {known.repository} there.")
    return _by_split({path.name: path for path in folder.glob("*.parquet")}, str(folder))


def _by_split(files: dict[str, Path], name: str) -> dict[str, ImageTable]:
    """Group parquet files by the split that their names tell, or the names of their folders.

    Files that tell none are left out where others do, and are all ``train`` where none does.
    """
    groups: dict[str, list[str]] = {}
    for file in sorted(files):
        split = next(filter(None, map(_split_of, reversed(Path(file).parts))), "")
        groups.setdefault(split, []).append(file)
    if list(groups) == [""]:
        groups = {"train": groups[""]}
    if "train" not in groups:
        raise DataError(f"{name} has no training file among {sorted(files)}; expected names like train-00000.parquet.")
    folders = {str(Path(file).parent) for file in groups["train"]}
    if len(folders) > 1:
        raise DataError(f"{name} has several configurations ({', '.join(sorted(folders))}); download one and use parquet:PATH.")
    return {split: ParquetTable(tuple(files[file] for file in group)) for split, group in groups.items() if split}


def _split_of(part: str) -> str:
    """The split that a file's or folder's name tells, or nothing."""
    match = SPLIT_IN_NAME.search(part)
    found = match.group(1).lower() if match else ""
    return SPLIT_NAMES.get(found, found)


def _folders(path: Path) -> dict[str, ImageTable]:
    """One table per folder that is named as a split; without such folders, ``path`` itself is ``train``."""
    if not path.is_dir():
        raise DataError(f"{path} is a file, expected a folder with one sub-folder per class.")
    found = {SPLIT_NAMES.get(entry.name.lower(), entry.name.lower()): entry for entry in path.iterdir() if entry.is_dir()}
    if "train" not in found:
        return {"train": FolderTable.scan(path)}
    train = FolderTable.scan(found["train"])
    others = {split: found[split] for split in ("validation", "test") if split in found}
    return {"train": train, **{split: FolderTable.scan(folder, train.class_names) for split, folder in others.items()}}


def _composed(name: str, rest: str, data_dir: Path | None, size: int | None, seed: int) -> Composed:
    pair, _, blur = rest.rpartition("/")
    names = _pair(pair)
    try:
        bandwidth = float(blur)
    except ValueError:
        bandwidth = -1.0
    if names is None or not 0 <= bandwidth <= 1000:
        raise DataError(f"'{name}' is not of the form bg:FOREGROUND/BACKGROUND/BLUR, such as bg:mnist/cifar10/1.")
    if size is not None and all(map(keeps_its_size, names)):
        raise DataError(f"{name}: both have a size of their own; leave out the size, now {size}.")
    front, back = (
        find_source(part, data_dir=data_dir, size=None if keeps_its_size(part) else size, seed=seed) for part in names
    )
    return Composed(name, front, back, bandwidth, seed)


def _pair(text: str) -> tuple[str, str] | None:
    """The first slash that leaves a name on each side."""
    parts = text.split("/")
    for cut in range(1, len(parts)):
        pair = "/".join(parts[:cut]), "/".join(parts[cut:])
        if all(part in dataset_names() or part.startswith(PREFIXES) for part in pair):
            return pair
    return None
