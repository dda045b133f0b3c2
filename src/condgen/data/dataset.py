"""Labelled images as quantized values, with their number of levels."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from condgen.density import ClassConditionalDensity
from condgen.errors import DataError

MOST_UNNAMED = 1000  # classes without images and without names
Index = slice | NDArray[np.int64]


@dataclass(frozen=True)
class ImageDataset:
    """Images with their labels.

    Args:
        images: Values in ``[0, pixel_levels)``, uint8, shape ``(N, C, H, W)``; may be a memory map.
        labels: Class of each image, integers, shape ``(N,)``.
        class_names: One per class. Default: the numbers.
        pixel_levels: Number of values that a pixel can take.
        name: Name in tables and reports.

    Raises:
        DataError: If the images are not such an array, or the labels do not fit the images.

    Examples:
        >>> data = ImageDataset(np.zeros((4, 1, 8, 8), np.uint8), [0, 1, 0, 1])
        >>> x, label = data.batch(slice(0, 2))
        >>> x.shape, label
        (torch.Size([2, 1, 8, 8]), tensor([0, 1]))
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...] = field(default=())
    pixel_levels: int = 256
    name: str = "images"

    def __init__(
        self,
        images: ArrayLike,
        labels: ArrayLike,
        class_names: tuple[str, ...] = (),
        pixel_levels: int = 256,
        name: str = "images",
    ):
        images = _as_array(images, f"{name}: images")
        labels = np.asarray(_as_array(labels, f"{name}: labels"))
        _check(images, labels, pixel_levels, name)
        class_names = _checked_names(class_names, name)
        # int(): labels may be of any integer type
        smallest, largest = (int(labels.min()), int(labels.max())) if labels.size else (0, -1)
        if not class_names and largest > max(len(labels), MOST_UNNAMED):
            raise DataError(
                f"{name}: label {largest} without class names; number the classes from 0 on,"
                " or name them."
            )
        class_names = class_names or tuple(str(y) for y in range(largest + 1))
        if labels.size and not 0 <= smallest <= largest < len(class_names):
            raise DataError(
                f"{name}: labels run from {smallest} to {largest}, but there are"
                f" {len(class_names)} classes; number the classes from 0 on."
            )
        for key, value in {
            "images": images,
            "labels": labels.astype(np.int64),
            "class_names": class_names,
            "pixel_levels": pixel_levels,
            "name": name,
        }.items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def class_counts(self) -> list[int]:
        """Number of images of each class."""
        return [int(count) for count in np.bincount(self.labels, minlength=self.num_classes)]

    def sha256(self) -> str:
        """SHA-256 of the pixel values followed by the labels, hexadecimal."""
        found = hashlib.sha256(np.ascontiguousarray(self.images).data)
        found.update(np.ascontiguousarray(self.labels).data)
        return found.hexdigest()

    def take(self, index: Index) -> "ImageDataset":
        """The subset at ``index``."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def batch(self, index: Index) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], float32, and labels, int64."""
        x = torch.from_numpy(np.array(self.images[index], dtype=np.float32))
        return x.div_(self.pixel_levels - 1), torch.from_numpy(self.labels[index])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all images in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set.

    ``validation`` is for thresholds and model selection, ``test`` for the final results only.
    """

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset
    source: str
    license: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that number their classes differently or differ in pixel levels.

        Raises:
            DataError: Names both parts.
        """
        for name, part in self.items()[1:]:
            for label, (ours, theirs) in enumerate(
                zip(self.train.class_names, part.class_names, strict=False)
            ):
                if ours != theirs:
                    raise DataError(
                        f"{self.name}: class {label} is '{ours}' in train and '{theirs}' in {name};"
                        " number the classes of all parts alike."
                    )
            if part.pixel_levels != self.train.pixel_levels:
                raise DataError(
                    f"{self.name}: pixel_levels is {self.train.pixel_levels} in train and"
                    f" {part.pixel_levels} in {name}; set the same value for all parts."
                )

    @property
    def name(self) -> str:
        return self.train.name

    def items(self) -> tuple[tuple[str, ImageDataset], ...]:
        return ("train", self.train), ("validation", self.validation), ("test", self.test)

    def rows(self) -> list[tuple[str, str]]:
        """Summary of the data set: pairs of a name and a value, as text."""
        mean = self.train.images.mean((0, 2, 3)) / (self.train.pixel_levels - 1)
        return [
            ("image shape", "x".join(map(str, self.train.event_shape))),
            ("levels", str(self.train.pixel_levels)),
            ("classes", ", ".join(self.train.class_names)),
            *(
                (name, f"{len(part)} images; per class {', '.join(map(str, part.class_counts()))}")
                for name, part in self.items()
            ),
            ("mean (train)", ", ".join(f"{value:.5f}" for value in mean)),
            *((f"sha256 ({name})", part.sha256()) for name, part in self.items()),
            ("source", self.source),
            ("license", self.license),
            *(("note", note) for note in self.notes),
        ]


def check_fits(data: ImageDataset, density: ClassConditionalDensity) -> None:
    """Refuse data that does not match a model.

    Raises:
        DataError: If the image shape or the pixel levels differ, or the data has more classes. The
            message names both values and what to use.
    """
    if data.event_shape != density.event_shape:
        theirs, ours = (
            "x".join(map(str, shape)) for shape in (data.event_shape, density.event_shape)
        )
        raise DataError(
            f"{data.name} has images of {theirs}, the model is for {ours}; use images of {ours},"
            f" or a model for {theirs}."
        )
    if data.num_classes > density.num_classes:
        raise DataError(
            f"{data.name} has {data.num_classes} classes, the model has {density.num_classes};"
            f" leave out all but {density.num_classes}, or use a model for {data.num_classes}."
        )
    if data.pixel_levels != density.pixel_levels:
        raise DataError(
            f"{data.name} has {data.pixel_levels} levels per pixel, the model's pixel_levels is"
            f" {density.pixel_levels}, so bits/dim would be wrong; set it to {data.pixel_levels},"
            f" or use images of {density.pixel_levels} levels."
        )


def _as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asanyarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} are not an array ({error}).") from error


def _checked_names(names: Iterable[str], name: str) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise DataError(
            f"{name}: class_names is {names!r}, expected one name for each class,"
            " such as ('cat', 'dog')."
        )
    names = tuple(names)
    for number, each in enumerate(names):
        if not isinstance(each, str):
            raise DataError(f"{name}: class name {each!r} is not text; write str({each!r}).")
        if each in names[:number]:
            raise DataError(
                f"{name}: two classes have the name '{each}'; give each a different name."
            )
    return names


def _check(
    images: NDArray[np.generic], labels: NDArray[np.generic], pixel_levels: int, name: str
) -> None:
    if images.dtype != np.uint8:
        raise DataError(
            f"{name}: images are {images.dtype}, expected uint8: values from 0 to pixel_levels - 1."
        )
    if images.ndim != 4:
        advice = "; images[:, None] gives them a channel" if images.ndim == 3 else ""
        raise DataError(f"{name}: images have shape {images.shape}, expected (N, C, H, W){advice}.")
    if 0 in images.shape[1:]:
        raise DataError(f"{name}: images of shape {images.shape[1:]} have no pixels.")
    if not np.issubdtype(labels.dtype, np.integer) and labels.size:
        raise DataError(f"{name}: labels are {labels.dtype}, expected integers.")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{name}: {len(images)} images but labels of shape {labels.shape};"
            " expected one label per image."
        )
    if (
        isinstance(pixel_levels, bool)
        or not isinstance(pixel_levels, int | np.integer)
        or not 2 <= pixel_levels <= 256
    ):
        raise DataError(f"{name}: pixel_levels is {pixel_levels}, expected 2 to 256.")
    if pixel_levels < 256 and images.size and images.max() >= pixel_levels:
        raise DataError(
            f"{name}: a stored value is {images.max()}, expected below pixel_levels ="
            f" {pixel_levels}."
        )
