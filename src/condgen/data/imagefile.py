"""A file of decoded images, written incrementally so that they need not fit into memory."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.data.splitting import digest_of


class ImageFile:
    """Writer of ``images.npy`` and of ``digests.npy``, which identifies equal images."""

    def __init__(self, directory: Path, shape: tuple[int, ...]):
        self.shape = shape
        self.directory = directory
        self._digests = np.zeros(shape[0], "S16")
        self._seen = np.zeros(256, bool)
        self._file = (directory / "images.npy").open("wb")
        header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        np.save(self.directory / "digests.npy", self._digests)

    @property
    def values(self) -> int:
        """Number of distinct pixel values, at most 256."""
        return int(self._seen.sum())

    def write(self, row: int, images: NDArray[np.uint8]) -> None:
        """Write images ``(N, C, H, W)`` from position ``row`` on."""
        self._file.seek(self._start + row * math.prod(self.shape[1:]))
        if not self._seen.all():
            self._seen |= np.bincount(images.ravel(), minlength=256) > 0
        for number, image in enumerate(images, row):
            pixels = image.tobytes()
            self._file.write(pixels)
            self._digests[number] = digest_of(pixels)


def write_labels(directory: Path, labels: NDArray[np.int64], about: dict[str, Any]) -> None:
    """Write the labels and the metadata of ``images.npy``."""
    np.save(directory / "labels.npy", labels)
    (directory / "about.json").write_text(json.dumps(about))
