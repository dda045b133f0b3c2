"""Data sources: embedded data, tables of encoded images, arrays, compositions of two data sets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from condgen.data import arrays, cache
from condgen.data.backgrounds import blurred, compose, gray
from condgen.data.dataset import MOST_UNNAMED, ImageDataset, Splits
from condgen.data.digits import bg_digits, digits
from condgen.data.imagefile import ImageFile, write_labels
from condgen.data.images import Geometry
from condgen.data.reading import ImageTable, fingerprint
from condgen.data.splitting import Arrangement, Digests, digest_of, held_out, part_ranges, repeated
from condgen.errors import DataError
from condgen.randomness import numpy_stream

FEW_VALUES = 32
COMPOSED_AT_ONCE = 2000
EMBEDDED: dict[str, Callable[[], Splits]] = {"digits": digits, "bg-digits": bg_digits}


def keeps_its_size(name: str) -> bool:
    """Whether a source holds arrays of pixels, which are not resized."""
    return name in EMBEDDED or name.startswith("npz:")


class Source(Protocol):
    """A source that opens as a data set; its fingerprint changes when its content changes."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def open(self) -> Splits: ...


@dataclass(frozen=True)
class Embedded:
    """A data set that is shipped with the library."""

    name: str

    @property
    def fingerprint(self) -> str:
        return self.name

    def open(self) -> Splits:
        return EMBEDDED[self.name]()


@dataclass(frozen=True)
class Tables:
    """Encoded images in one table per split, decoded through the cache."""

    name: str
    tables: dict[str, ImageTable]
    geometry: Geometry
    source: str
    license: str
    seed: int
    notes: tuple[str, ...] = ()
    arranged: Literal["content", "position"] = "content"

    @property
    def fingerprint(self) -> str:
        parts = [f"{split} {table.fingerprint()}" for split, table in self.tables.items()]
        return "\0".join([*parts, str(self.geometry), str(self.seed)])

    def open(self) -> Splits:
        found = {split: self._decoded(split) for split in self.tables}
        if len({part.images.shape[1] for part in found.values()}) > 1:
            found = {
                split: self._decoded(split, color=len(part.images[0]) == 1)
                for split, part in found.items()
            }
        names = self.tables["train"].class_names
        parts = {split: (part.images, part.labels) for split, part in found.items()}
        notes = (
            *self.notes,
            *(f"{split}: {note}" for split, table in self.tables.items() for note in table.notes),
            *(note for split, part in found.items() for note in _conversions(split, part)),
            *repeated(_hold_out({split: part.digests for split, part in found.items()})),
        )
        return _splits(self.name, parts, names, self.source, self.license, notes)

    def _decoded(self, split: str, *, color: bool = False) -> cache.Decoded:
        missing = (
            tuple(part for part in ("test", "validation") if part not in self.tables)
            if split == "train"
            else ()
        )
        arrangement = Arrangement(self.seed, missing, self.arranged)
        return cache.decoded(
            self.tables[split], self.geometry, f"{self.name} ({split})", arrangement, color=color
        )


def _conversions(split: str, part: cache.Decoded) -> list[str]:
    notes = [
        f"{number} {split} images {change}" for change, number in part.about["changes"].items()
    ]
    values = part.about["values"]
    return (
        [*notes, f"{split} images have {values} of 256 values"] if values <= FEW_VALUES else notes
    )


@dataclass(frozen=True)
class Npz:
    """Arrays in an .npz file."""

    name: str
    path: Path
    seed: int

    @property
    def fingerprint(self) -> str:
        return f"{fingerprint([self.path])} {self.seed}"

    def open(self) -> Splits:
        read = arrays.read_npz(self.path)
        missing = tuple(part for part in ("test", "validation") if part not in read.parts)
        parts: arrays.Arrays = {}
        digests: dict[str, Digests] = {}
        for split, (images, labels) in read.parts.items():
            if labels.shape != images.shape[:1]:
                raise DataError(
                    f"{self.path}: {split} has {len(images)} images but {len(labels)} labels."
                )
            arrangement = Arrangement(self.seed, missing if split == "train" else ())
            keys = np.array([arrangement.key(image.tobytes()) for image in images], "S16")
            order = arrangement.order(labels, keys)
            parts[split] = images[order], labels[order]
            digests[split] = np.array(
                [digest_of(image.tobytes()) for image in parts[split][0]], "S16"
            )
        notes = (*read.notes, *repeated(_hold_out(digests)))
        return _splits(
            self.name, parts, (), str(self.path), "the user's own", notes, read.pixel_levels
        )


@dataclass(frozen=True)
class Composed:
    """A foreground over a background, part by part (train over train, and so on)."""

    name: str
    foreground: Source
    background: Source
    blur: float
    seed: int
    _opened: dict[str, Splits] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        foreground, background = self.foreground.fingerprint, self.background.fingerprint
        return f"{foreground}\0over\0{background}\0{self.blur}\0{self.seed}"

    def open(self) -> Splits:
        found = {
            split: cache.cached(f"{self.fingerprint}\0{split}", partial(self._build, split))
            for split in ("train", "validation", "test")
        }
        parts = {split: (part.images, part.labels) for split, part in found.items()}
        about = found["train"].about
        notes = (*about["notes"], *repeated({split: part.digests for split, part in found.items()}))
        return _splits(
            self.name, parts, about["class_names"], about["source"], about["license"], notes
        )

    def _size_advice(self, front: ImageDataset, back: ImageDataset) -> str:
        """Advice for images of different sizes: arrays and embedded images are not resized."""
        parts = ((self.foreground, front), (self.background, back))
        own = [part.event_shape[1:] for source, part in parts if keeps_its_size(source.name)]
        if len(own) == 2:
            return "both have a fixed size; resize one beforehand, or use image files."
        height, width = own[0] if own else (32, 32)
        if height != width:
            return f"image files are resized to squares; crop those of {height}x{width} beforehand."
        return f"set data.size={height} for both (`condgen show`: --size {height})."

    def _front(self) -> Splits:
        return self._opened.setdefault("front", self.foreground.open())

    def _back(self) -> Splits:
        return self._opened.setdefault("back", self.background.open())

    def _build(self, split: str, directory: Path) -> None:
        front, back = dict(self._front().items())[split], dict(self._back().items())[split]
        if front.event_shape[1:] != back.event_shape[1:]:
            raise DataError(
                f"{self.name}: the foreground has {front.event_shape[1:]} pixels, the background"
                f" {back.event_shape[1:]}; {self._size_advice(front, back)}"
            )
        order = numpy_stream(self.seed, "backgrounds", split).permutation(len(back))
        chosen = np.resize(order, len(front))  # each background once before any repeats
        with ImageFile(directory, (len(front), 1, *front.event_shape[1:])) as file:
            for start in range(0, len(front), COMPOSED_AT_ONCE):
                stop = min(start + COMPOSED_AT_ONCE, len(front))
                above = _gray_256(front.images[start:stop], front.pixel_levels)
                below = _gray_256(back.images[chosen[start:stop]], back.pixel_levels)
                file.write(start, compose(above, blurred(below, self.blur)))
        write_labels(
            directory,
            front.labels,
            {"class_names": front.class_names, **self._about(self._front(), self._back())},
        )

    def _about(self, front: Splits, back: Splits) -> dict[str, Any]:
        return {
            "source": f"{front.source}; backgrounds: {back.source}; blur {self.blur:g} pixels",
            "license": f"{front.license}; {back.license}",
            "notes": [
                f"{role}: {note}"
                for role, data in (("foreground", front), ("backgrounds", back))
                for note in _composition_notes(data)
            ],
        }


def _gray_256(images: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Gray images, stretched from ``levels`` to 256 levels."""
    return (gray(images).astype(np.uint16) * 255 // (levels - 1)).astype(np.uint8)


def _composition_notes(data: Splits) -> tuple[str, ...]:
    """Notes of one of the two data sets, with the conversions that composing makes."""
    color = ("color images were made gray",) if data.train.event_shape[0] == 3 else ()
    levels = data.train.pixel_levels
    return (
        *data.notes,
        *color,
        *((f"{levels} levels were stretched to 256",) if levels < 256 else ()),
    )


Part = TypeVar("Part", bound=NDArray[Any])


def _hold_out(given: dict[str, Part]) -> dict[str, Part]:
    """All three parts: missing ones are held out of the training part."""
    ranges = part_ranges({split: len(part) for split, part in given.items()})
    return {split: cast(Part, given[source][where]) for split, (source, where) in ranges.items()}


def _check_enough(name: str, parts: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> None:
    """Refuse to hold out the last training image of a class."""
    labels = parts["train"][1]
    held = held_out(len(labels), {"validation", "test"} - parts.keys())
    classes = len(np.unique(labels))
    if held and len(labels) and sum(held.values()) > len(labels) - classes:
        raise DataError(
            f"{name} has {len(labels)} images of {classes} classes for training, too few to hold"
            f" {sum(held.values())} out for {' and '.join(held)}; add images."
        )


def _splits(
    name: str,
    parts: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]],
    class_names: Sequence[str],
    source: str,
    license: str,
    notes: tuple[str, ...],
    pixel_levels: int = 256,
) -> Splits:
    """Build the splits; missing parts are held out of the training images, which are in order."""
    _check_enough(name, parts)
    all_images = _hold_out({split: images for split, (images, _) in parts.items()})
    all_labels = _hold_out({split: labels for split, (_, labels) in parts.items()})
    parts = {
        split: (all_images[split], all_labels[split]) for split in ("train", "validation", "test")
    }
    for split, (images, _) in parts.items():
        if not len(images):
            raise DataError(
                f"{name}: the {split} part has no images; add some, or remove the part to hold"
                " images out of the training part."
            )
    shapes = {split: images.shape[1:] for split, (images, _) in parts.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"{name}: the splits differ in shape ({shapes}); give them one shape: set data.size=32"
            " (`condgen show`: --size 32) for image files, resize arrays before saving."
        )
    if len(np.unique(parts["train"][1])) < 2:
        number = len(parts["train"][1])
        raise DataError(
            f"{name}: all {number} training images are of one class; a classifier needs at least"
            " two; add images."
        )
    most = max(int(labels.max(initial=0)) for _, labels in parts.values())
    if not class_names and most > max(MOST_UNNAMED, len(parts["train"][1])):
        raise DataError(f"{name}: label {most} without class names; number the classes from 0 on.")
    absent = np.setdiff1d(np.arange(1 + most), parts["train"][1])
    if not class_names and len(absent):
        raise DataError(
            f"{name}: of the classes 0 to {most}, {len(absent)} have no training image, the first"
            f" is {absent[0]}; number the classes from 0 on, or name them."
        )
    untrained = np.setdiff1d(
        np.concatenate([labels for _, labels in parts.values()]), parts["train"][1]
    )
    if len(untrained):
        raise DataError(
            f"{name}: class '{class_names[untrained[0]]}' has images, but none for training;"
            " add some, or leave the class out."
        )
    known = tuple(class_names) or tuple(map(str, range(1 + most)))
    made = {
        split: ImageDataset(images, labels, known, pixel_levels, name)
        for split, (images, labels) in parts.items()
    }
    absent_somewhere = tuple(
        f"no {split} image is of {', '.join(known[y] for y in missing)}"
        for split in ("validation", "test")
        if len(missing := np.setdiff1d(parts["train"][1], parts[split][1]))
    )
    return Splits(
        made["train"],
        made["validation"],
        made["test"],
        source,
        license,
        (*notes, *absent_somewhere),
    )
