"""Embedded real data: scikit-learn's handwritten digits, plain and over patches of photographs. Nothing is downloaded."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data as photographs
from skimage.color import rgb2gray
from sklearn.datasets import load_digits, load_sample_images

from condgen.data.backgrounds import compose
from condgen.data.dataset import ImageDataset, Splits
from condgen.data.splitting import class_ranks
from condgen.randomness import numpy_stream

SIZES = {"test": 360, "validation": 180}
TILE = 16  # pixels of a photograph that become one 8x8 patch

DIGITS_SOURCE = "UCI optical recognition of handwritten digits, test part, as shipped with scikit-learn"
DIGITS_LICENCE = "CC BY 4.0"
PHOTOGRAPHS_SOURCE = "; backgrounds: the photographs shipped with scikit-learn and scikit-image"
PHOTOGRAPHS_LICENCE = "; photographs CC BY 2.0 (china, flower) and public domain or CC0 (scikit-image)"


def digits() -> Splits:
    """1797 digits of 8x8 pixels with 17 levels; 1257 train, 180 validation, 360 test, stratified."""
    loaded = load_digits()
    images = loaded.images.astype(np.uint8)[:, None]
    parts = _stratified(loaded.target)
    train, validation, test = (
        ImageDataset(images[parts[part]], loaded.target[parts[part]], pixel_levels=17, name="digits")
        for part in ("train", "validation", "test")
    )
    return Splits(train, validation, test, DIGITS_SOURCE, DIGITS_LICENCE)


def bg_digits() -> Splits:
    """The same digits in the same splits, stretched to 256 levels, each over a patch of its own."""
    plain = digits()
    patches = background_patches()
    order = numpy_stream(0, "backgrounds").permutation(len(patches))
    composed, start = {}, 0
    for part, data in plain.items():
        stretched = (data.images.astype(np.uint16) * 255 // 16).astype(np.uint8)
        chosen = patches[order[start : start + len(data)]]
        composed[part] = ImageDataset(compose(stretched, chosen), data.labels, name="bg-digits")
        start += len(data)
    return Splits(
        composed["train"],
        composed["validation"],
        composed["test"],
        source=DIGITS_SOURCE + PHOTOGRAPHS_SOURCE,
        licence=DIGITS_LICENCE + PHOTOGRAPHS_LICENCE,
    )


def background_patches() -> NDArray[np.uint8]:
    """Different tiles of six photographs that do not overlap, in grey, halved to 8x8; shape ``(N, 1, 8, 8)``."""
    shipped = [photographs.astronaut(), photographs.chelsea(), photographs.coffee(), photographs.rocket()]
    tiles = np.concatenate([_tiles(photograph) for photograph in [*load_sample_images().images, *shipped]])
    return np.unique(tiles, axis=0)  # some sky looks alike


def _tiles(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = photograph.shape[0] // TILE, photograph.shape[1] // TILE
    grey = (rgb2gray(photograph[: rows * TILE, : columns * TILE]) * 255).round().astype(np.uint8)
    halved = np.asarray(Image.fromarray(grey).resize((columns * 8, rows * 8), Image.Resampling.BOX))
    return halved.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 1, 8, 8)


def _stratified(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Fixed split with the same share of each class in every part."""
    order = numpy_stream(0, "digits").permutation(len(labels))
    by_rank = np.argsort(class_ranks(labels, order), kind="stable")
    test, validation = SIZES["test"], SIZES["validation"]
    return {"test": by_rank[:test], "validation": by_rank[test : test + validation], "train": by_rank[test + validation :]}
