"""Data sources: embedded data, tables of encoded images, arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from condgen.data import arrays, cache
from condgen.data.building import build_splits, hold_out
from condgen.data.dataset import Splits
from condgen.data.digits import bg_digits, digits
from condgen.data.images import Geometry
from condgen.data.reading import ImageTable, fingerprint
from condgen.data.splitting import Arrangement, Digests, digest_of, repeated
from condgen.errors import DataError

FEW_VALUES = 32
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
            *repeated(hold_out({split: part.digests for split, part in found.items()})),
        )
        return build_splits(self.name, parts, names, self.source, self.license, notes)

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
        notes = (*read.notes, *repeated(hold_out(digests)))
        return build_splits(
            self.name, parts, (), str(self.path), "the user's own", notes, read.pixel_levels
        )
