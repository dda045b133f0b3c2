"""Folders of image files: one sub-folder per class, with or without a folder for each part."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from condgen.data.images import FORMAT_NAMES, Encoded
from condgen.data.parts import HOW_TO_NAME, part_of
from condgen.data.reading import (
    ImageTable,
    files_below,
    fingerprint,
    in_chunks,
    is_regular,
    read_image,
)
from condgen.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp")


@dataclass(frozen=True)
class Found:
    """Image files, sorted by path, and the number of other files of each kind."""

    images: tuple[Path, ...] = ()
    others: Counter[str] = field(default_factory=Counter)


def find_images(root: Path) -> Found:
    """All images below a folder, including linked folders; hidden files are skipped.

    Raises:
        DataError: If a folder cannot be listed.
    """
    found = _images_and_others(list(files_below(root)))
    return Found(tuple(sorted(found.images)), found.others)


def _images_and_others(files: Sequence[Path]) -> Found:
    images, others = [], Counter[str]()
    for path in files:
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in SUFFIXES:
            others[path.suffix.lower() or "without suffix"] += 1
        elif not is_regular(path):
            others["not regular"] += 1
        else:
            images.append(path)
    return Found(tuple(images), others)


@dataclass(frozen=True)
class FolderTable:
    """Image files in one sub-folder per class.

    Args:
        root: Holds the sub-folders.
        class_names: Names of the sub-folders, in the order of the labels.
        files: ``(path, label)`` of each image, in order.
        notes: What was left out.
    """

    root: Path
    class_names: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def scan(cls, root: Path, class_names: Sequence[str] | None = None) -> "FolderTable":
        """List the images below ``root``, sorted by name.

        Args:
            root: Holds the sub-folders.
            class_names: Classes of the training part; some may be absent here. Default: the names
                of the sub-folders.

        Raises:
            DataError: If there are fewer than two classes, a training class is empty, or a class is
                not in ``class_names``.
        """
        found = [path.name for path in _folders_in(root)]
        if class_names is None:
            _check_classes(root, found)
        elif unknown := sorted(set(found) - set(class_names)):
            different = sorted(set(found) ^ set(class_names))
            raise DataError(
                f"{root} does not have the same class folders as the training part:"
                f" {', '.join(different)}. Add training images of {', '.join(unknown)}, or remove"
                " that folder."
            )
        names = tuple(class_names or found)
        files: list[tuple[Path, int]] = []
        beside = _images_and_others([path for path in _entries(root) if not path.is_dir()])
        others = beside.others + Counter(
            {"image files beside the class folders": len(beside.images)}
        )
        for label, name in enumerate(names):
            here = find_images(root / name) if name in found else Found()
            others += here.others
            if not here.images and class_names is None:
                raise DataError(
                    f"class folder {root / name} holds no {FORMAT_NAMES} image; add images or"
                    " remove it."
                )
            files += [(path, label) for path in here.images]
        return cls(root, names, tuple(files), _left_out(others))

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        """Fingerprint of the files and their classes."""
        labels = " ".join(str(label) for _, label in self.files)
        return f"{fingerprint([path for path, _ in self.files])} {labels}"

    def chunks(self) -> Iterator[list[Encoded]]:
        return in_chunks(read_image(path, label) for path, label in self.files)


def _left_out(others: Counter[str]) -> tuple[str, ...]:
    kinds = [f"{number} {kind}" for kind, number in sorted(others.items()) if number]
    return (f"files were left out: {', '.join(kinds)}",) if kinds else ()


def _check_classes(root: Path, found: Sequence[str]) -> None:
    if len(found) < 2:
        raise DataError(
            f"{root} has {len(found)} class folders ({', '.join(found)}); expected at least two."
        )
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"class folder {os.fsencode(name)!r} in {root} has a name that is not UTF-8;"
                " rename it."
            ) from error


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}); make it readable or move it away."
        ) from error


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


@dataclass(frozen=True)
class _Candidate:
    """A folder that may be a class or a part."""

    path: Path
    folders: tuple[str, ...]
    has_images: bool  # directly in the folder

    @classmethod
    def of(cls, path: Path) -> "_Candidate":
        files = [
            entry
            for entry in _entries(path)
            if entry.suffix.lower() in SUFFIXES and not entry.is_dir()
        ]
        return cls(path, tuple(folder.name for folder in _folders_in(path)), bool(files))

    @property
    def part(self) -> str:
        """The part that the name stands for, or "" without class folders: a class may be "train".

        Raises:
            DataError: If there are images beside the folders: it may be a part or a class.
        """
        part = part_of(self.path.name) if self.folders else ""
        if part and self.has_images:
            raise DataError(
                f"{self.path} has images beside its folders ({', '.join(self.folders)}): if it is a"
                " part, move these images into class folders; if it is a class, move all images out"
                " of the folders."
            )
        return part


def tables_in(root: Path) -> tuple[dict[str, ImageTable], tuple[str, ...]]:
    """One table for each part, and notes. Without folders named as parts, all images are ``train``.

    Raises:
        DataError: If folders may be classes or parts, or one part has two folders.
    """
    if not root.is_dir():
        raise DataError(f"{root} is a file, expected a folder with one sub-folder per class.")
    candidates = [_Candidate.of(path) for path in _folders_in(root)]
    parts: dict[str, _Candidate] = {}
    for candidate in candidates:
        if not candidate.part:
            continue
        if candidate.part in parts:
            raise DataError(
                f"{root} has two folders for the part '{candidate.part}':"
                f" {parts[candidate.part].path.name} and {candidate.path.name}; merge them, or move"
                " one away."
            )
        parts[candidate.part] = candidate
    if not parts:
        _check_no_parts(root, candidates)
        return {"train": FolderTable.scan(root)}, ()
    notes = _notes_on_others(
        root, parts, [candidate for candidate in candidates if not candidate.part]
    )
    train = FolderTable.scan(parts["train"].path)
    others = {part: parts[part].path for part in ("validation", "test") if part in parts}
    return {
        "train": train,
        **{part: FolderTable.scan(path, train.class_names) for part, path in others.items()},
    }, notes


def _check_no_parts(root: Path, candidates: Sequence[_Candidate]) -> None:
    """Refuse folders that look like parts under other names, or classes that contain parts."""
    inner = {candidate.folders for candidate in candidates}
    looks_alike = (
        len(candidates) > 1
        and len(inner) == 1
        and not any(candidate.has_images for candidate in candidates)
    )
    folders = next(iter(inner), ())
    if looks_alike and len(folders) > 1:
        names = ", ".join(candidate.path.name for candidate in candidates)
        raise DataError(
            f"{root}: each of the folders {names} holds the folders {', '.join(folders)}. If these"
            f" are the classes, {HOW_TO_NAME}, and put the class folders into them; if {names} are"
            " the classes, put their images directly into them."
        )
    for candidate in candidates:
        if len({part_of(name) for name in candidate.folders} - {""}) > 1:
            raise DataError(
                f"{candidate.path} holds parts ({', '.join(candidate.folders)}) inside a class; put"
                f" the classes inside the parts, such as train/{candidate.path.name}."
            )


def _notes_on_others(
    root: Path, parts: dict[str, _Candidate], others: Sequence[_Candidate]
) -> tuple[str, ...]:
    """Notes on left-out folders; refuses them beside a single part or without a training part."""
    with_images = {other: len(find_images(other.path).images) for other in others}
    unlabeled = {
        other: number
        for other, number in with_images.items()
        if number and part_of(other.path.name)
    }
    unknown = {
        other: number for other, number in with_images.items() if number and other not in unlabeled
    }
    named = ", ".join(part.path.name for part in parts.values())
    if "train" not in parts or (unknown and len(parts) == 1):
        beside = (
            f" and beside them folders with images"
            f" ({', '.join(other.path.name for other in unknown)})"
            if unknown
            else ""
        )
        missing = "" if "train" in parts else " and none for 'train'"
        raise DataError(
            f"{root} has folders named as parts ({named}){beside}{missing}; {HOW_TO_NAME} and move"
            f" the others away. If {named} is a class, put its images directly into it."
        )
    return tuple(
        f"folder '{other.path.name}' was left out: its name is not that of a part ({number} images)"
        for other, number in unknown.items()
    ) + tuple(
        f"folder '{other.path.name}' was left out: it has no class folders ({number} images)"
        for other, number in unlabeled.items()
    )
