"""Hold-out of validation and test images from the training images."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from condgen.randomness import numpy_stream

VALIDATION_SHARE, MOST_VALIDATION, TEST_SHARE = 0.1, 5000, 0.1
Digests = NDArray[np.bytes_]  # 16 bytes each


def digest_of(pixels: bytes) -> bytes:
    """Digest that identifies equal images."""
    return hashlib.blake2b(pixels, digest_size=16).digest()


def held_out(total: int, missing: Iterable[str]) -> dict[str, int]:
    """Number of held-out images of each missing part, in the order in which they are cut off.

    >>> held_out(100, ("validation", "test"))
    {'test': 10, 'validation': 9}
    """
    missing, held = tuple(missing), {}
    if "test" in missing:
        held["test"] = max(1, int(total * TEST_SHARE))
    if "validation" in missing:
        left = total - held.get("test", 0)
        held["validation"] = min(MOST_VALIDATION, max(1, int(left * VALIDATION_SHARE)))
    return held


def part_ranges(lengths: Mapping[str, int]) -> dict[str, tuple[str, slice]]:
    """Location of each of the three parts: the given part that contains it, and its range there.

    >>> part_ranges({"train": 100, "test": 20})["validation"]
    ('train', slice(90, 100, None))
    """
    ranges = {}
    end = lengths["train"]
    for part, number in held_out(end, {"validation", "test"} - lengths.keys()).items():
        ranges[part] = ("train", slice(max(0, end - number), end))
        end = max(0, end - number)
    given = {part: (part, slice(0, length)) for part, length in lengths.items() if part != "train"}
    return {"train": ("train", slice(0, end)), **given, **ranges}


@dataclass(frozen=True)
class Arrangement:
    """The order in which the images of one given part are stored; held-out images are at the end.

    Args:
        seed: Seed of the order.
        missing: Parts to hold out.
        by: "content" orders images by a hash of their content and holds out the same share of each
            class, so that an added image moves few others. "position" shuffles positions. The
            paper's data sets use it, because published records name their validation images.
    """

    seed: int
    missing: tuple[str, ...] = ()
    by: Literal["content", "position"] = "content"

    def key(self, content: bytes) -> bytes:
        """Sort key of one image, for :meth:`order`."""
        return hashlib.sha256(self.seed.to_bytes(8, "little") + content).digest()[:16]

    def order(self, labels: NDArray[np.int64], keys: Digests) -> NDArray[np.int64]:
        """The index of the image at each position."""
        if self.by == "position":
            return np.argsort(shuffled(len(labels), self.seed))
        return by_content(labels, keys, held_out(len(labels), self.missing))


def shuffled(number: int, seed: int) -> NDArray[np.int64]:
    """The shuffled position of each image, independent of its content."""
    return numpy_stream(seed, "split").permutation(number)


def by_content(
    labels: NDArray[np.int64], keys: Digests, held: Mapping[str, int]
) -> NDArray[np.int64]:
    """The index of the image at each position: training images first, held-out parts last.

    ``held`` lists the parts in the order in which they are cut from the end. The last image of a
    class is the last to be held out. An added image moves only a few others, at the boundaries.
    """
    order = np.argsort(keys, kind="stable")
    ranks = class_ranks(labels, order)
    last = np.zeros(len(labels), bool)
    for y in np.unique(labels):
        members = order[labels[order] == y]
        last[members[-1]] = True
    position = np.argsort(order)
    first_to_be_held = np.lexsort((position, ranks, last))
    parts, start = [], 0
    for number in held.values():
        parts.append(first_to_be_held[start : start + number])
        start += number
    parts.append(first_to_be_held[start:])
    return np.concatenate([part[np.argsort(position[part])] for part in reversed(parts)])


def class_ranks(labels: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rank of each image within its class in ``order``, scaled to between 0 and 1.

    Any range of images sorted by this rank has the same share of each class.
    """
    ranks = np.empty(len(labels))
    for y in np.unique(labels):
        members = order[labels[order] == y]
        ranks[members] = (np.arange(len(members)) + 0.5) / len(members)
    return ranks


def repeated(digests: Mapping[str, Digests]) -> tuple[str, ...]:
    """Notes on images that occur in two parts, which bias validation and test results."""
    notes = []
    for part, earlier in (("validation", ("train",)), ("test", ("train", "validation"))):
        for other in earlier:
            number = int(np.isin(digests[part], digests[other]).sum())
            if number:
                notes.append(
                    f"{number} of {len(digests[part])} {part} images are {other} images as well;"
                    " remove duplicates"
                )
    return tuple(notes)
