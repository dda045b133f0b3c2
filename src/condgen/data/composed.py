"""A data set composed of two: a foreground over a background."""

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.data import cache
from condgen.data.backgrounds import blurred, compose, gray
from condgen.data.building import build_splits
from condgen.data.dataset import ImageDataset, Splits
from condgen.data.imagefile import ImageFile, write_labels
from condgen.data.sources import Source, keeps_its_size
from condgen.data.splitting import repeated
from condgen.errors import DataError
from condgen.randomness import numpy_stream

COMPOSED_AT_ONCE = 2000


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
        return build_splits(
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
