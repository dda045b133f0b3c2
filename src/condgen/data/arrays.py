"""Images and labels in an .npz file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.data.reading import MOST_CLASSES, check_regular
from condgen.errors import DataError

MOST_BYTES = 1 << 34
SPLITS = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train"), ("images", "labels")),
    "validation": (
        ("val_images", "val_labels"),
        ("validation_images", "validation_labels"),
        ("x_val", "y_val"),
    ),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}

Arrays = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]


@dataclass(frozen=True)
class Read:
    """Content of an .npz file: arrays of each part, pixel levels, and notes on assumptions."""

    parts: Arrays
    pixel_levels: int
    notes: tuple[str, ...]


def read_npz(path: Path) -> Read:
    """Read images ``(N, C, H, W)`` and labels of each part in the file.

    Known names: ``images`` and ``labels``; or ``train_images``, ``val_images``, ``test_images``
    and ``train_labels``, ``val_labels``, ``test_labels``; or ``x_train``, ``y_train``, ``x_test``,
    ``y_test``. Images may be ``(N, H, W)``, ``(N, H, W, 1 or 3)`` or ``(N, 1 or 3, H, W)``, uint8.
    A number ``pixel_levels`` is the number of values that a pixel can take. If it is missing and
    all values are below 128, such as 0 and 1 or 0 to 16, it is the largest value plus 1.

    Raises:
        DataError: If the file is damaged, too large or not a regular file, or has no such arrays,
            two for one part, or images without labels.
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MOST_BYTES:
                raise DataError(
                    f"{path} unpacks to {size} bytes, more than {MOST_BYTES}; split it."
                )
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {}
            for split, pairs in SPLITS.items():
                there = [pair for pair in pairs if pair[0] in arrays.files]
                if len(there) > 1:
                    choice = " and ".join(images for images, _ in there)
                    raise DataError(
                        f"{path} has {choice} for the part '{split}'; leave one of them out."
                    )
                for images, labels in there:
                    if labels not in arrays.files:
                        raise DataError(
                            f"{path} has {images} but no {labels}; add one label per image, or"
                            f" leave {images} out."
                        )
                    found[split] = (
                        _images(arrays[images], f"{path}: {images}"),
                        _labels(arrays[labels], f"{path}: {labels}"),
                    )
            names = arrays.files
            stated = arrays["pixel_levels"] if "pixel_levels" in names else None
    except DataError:
        raise
    except Exception as error:  # on damaged bytes the readers may raise anything
        raise DataError(
            f"{path} is not a readable .npz file ({error or type(error).__name__})."
        ) from error
    if "train" not in found:
        raise DataError(
            f"{path} has arrays {names}; expected images and labels, or train_images and"
            " train_labels."
        )
    levels, notes = _levels(found, stated, str(path))
    return Read(found, levels, notes)


def _levels(parts: Arrays, stated: NDArray[Any] | None, name: str) -> tuple[int, tuple[str, ...]]:
    largest = max(int(images.max(initial=0)) for images, _ in parts.values())
    if stated is not None:
        if (
            stated.shape != ()
            or not np.issubdtype(stated.dtype, np.integer)
            or not max(1, largest) < stated <= 256
        ):
            raise DataError(
                f"{name}: pixel_levels is {stated}; expected a whole number above the largest"
                f" value {largest}, up to 256."
            )
        return int(stated), ()
    if largest == 0 or largest >= 128:
        return 256, ()
    levels = largest + 1
    return levels, (
        f"stored values run from 0 to {largest}, so {levels} levels were assumed;"
        " save pixel_levels if there are more",
    )


def _images(images: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise DataError(f"{name} is {images.dtype}, expected uint8; round to 0..255 and convert.")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(np.moveaxis(images, 3, 1))
    raise DataError(
        f"{name} has shape {images.shape}; expected (N, H, W) with 1 or 3 channels, first or last."
    )


def _labels(labels: NDArray[Any], name: str) -> NDArray[np.int64]:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise DataError(
            f"{name} is {labels.dtype} of shape {labels.shape}; expected a vector of integers."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        raise DataError(
            f"{name} runs from {labels.min()} to {labels.max()}; number the classes from 0 on."
        )
    return labels.astype(np.int64)
