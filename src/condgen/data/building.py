"""The splits of a data set, built from its parts; images that cannot be used are refused."""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from condgen.data.dataset import MOST_UNNAMED, ImageDataset, Splits
from condgen.data.splitting import held_out, part_ranges
from condgen.errors import DataError

Part = TypeVar("Part", bound=NDArray[Any])


def hold_out(given: dict[str, Part]) -> dict[str, Part]:
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


def build_splits(
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
    all_images = hold_out({split: images for split, (images, _) in parts.items()})
    all_labels = hold_out({split: labels for split, (_, labels) in parts.items()})
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
