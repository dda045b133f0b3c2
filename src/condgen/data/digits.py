"""Embedded data, no download: scikit-learn's digits, plain and over patches of photographs."""

import numpy as np
from numpy.typing import NDArray
from skimage import data as photographs
from skimage.color import rgb2gray
from sklearn.datasets import load_digits, load_sample_images

from condgen.data.backgrounds import compose
from condgen.data.dataset import ImageDataset, Splits
from condgen.data.splitting import class_ranks
from condgen.randomness import numpy_stream

SIZES = {"test": 360, "validation": 180}
SIDE = 8  # pixels of a digit and of a patch
LEVELS = 17  # of a digit's pixels
BACKGROUNDS = 12  # over which each training digit is shown

DIGITS_SOURCE = (
    "UCI optical recognition of handwritten digits, test part, as shipped with scikit-learn"
)
DIGITS_LICENSE = "CC BY 4.0"
PHOTOGRAPHS_SOURCE = "; backgrounds: the photographs shipped with scikit-learn and scikit-image"
PHOTOGRAPHS_LICENSE = (
    "; photographs CC BY 2.0 (china, flower) and public domain or CC0 (scikit-image)"
)


def digits() -> Splits:
    """Open 1797 digits, 8x8 pixels, 17 levels: 1257 train, 180 validation, 360 test, stratified."""
    loaded = load_digits()
    images = loaded.images.astype(np.uint8)[:, None]
    parts = _stratified(loaded.target)
    train, validation, test = (
        ImageDataset(
            images[parts[part]], loaded.target[parts[part]], pixel_levels=LEVELS, name="digits"
        )
        for part in ("train", "validation", "test")
    )
    return Splits(train, validation, test, DIGITS_SOURCE, DIGITS_LICENSE)


def bg_digits() -> Splits:
    """Open the same digits in the same splits, over patches of photographs with 17 levels.

    Each training digit occurs 12 times, each time over a different patch: one epoch of these images
    is 12 epochs with fresh backgrounds. No patch is used twice.
    """
    patches = background_patches()
    order = numpy_stream(0, "backgrounds").permutation(len(patches))
    composed, start = {}, 0
    for part, data in digits().items():
        times = BACKGROUNDS if part == "train" else 1
        images, labels = np.tile(data.images, (times, 1, 1, 1)), np.tile(data.labels, times)
        chosen = patches[order[start : start + len(images)]]
        composed[part] = ImageDataset(
            compose(images, chosen), labels, pixel_levels=LEVELS, name="bg-digits"
        )
        start += len(images)
    return Splits(
        composed["train"],
        composed["validation"],
        composed["test"],
        source=DIGITS_SOURCE + PHOTOGRAPHS_SOURCE,
        license=DIGITS_LICENSE + PHOTOGRAPHS_LICENSE,
    )


def background_patches() -> NDArray[np.uint8]:
    """Distinct non-overlapping gray patches of six photographs, at full resolution, in 17 levels.

    Returns:
        Pixel values, shape ``(N, 1, 8, 8)``.
    """
    shipped = [
        photographs.astronaut(),
        photographs.chelsea(),
        photographs.coffee(),
        photographs.rocket(),
    ]
    patches = np.concatenate(
        [_patches(photograph) for photograph in [*load_sample_images().images, *shipped]]
    )
    return np.unique(patches, axis=0)  # some patches of sky are equal


def _patches(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = photograph.shape[0] // SIDE, photograph.shape[1] // SIDE
    gray = rgb2gray(photograph[: rows * SIDE, : columns * SIDE])
    quantized = (gray * (LEVELS - 1)).round().astype(np.uint8)
    patches: NDArray[np.uint8] = (
        quantized.reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2).reshape(-1, 1, SIDE, SIDE)
    )
    return patches


def _stratified(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Fixed split, stratified by class."""
    order = numpy_stream(0, "digits").permutation(len(labels))
    by_rank = np.argsort(class_ranks(labels, order), kind="stable")
    test, validation = SIZES["test"], SIZES["validation"]
    return {
        "test": by_rank[:test],
        "validation": by_rank[test : test + validation],
        "train": by_rank[test + validation :],
    }
