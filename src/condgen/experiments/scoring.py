"""Scoring of image files with a run, without its training data: class, likelihood, acceptance."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from condgen import machine
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import Images, SubjectConfig
from condgen.data.catalogue import KNOWN
from condgen.data.folders import find_images
from condgen.data.images import Geometry, decode
from condgen.data.reading import read_image
from condgen.detectors import Detector, flagged, score
from condgen.errors import ConfigError, DataError, RunError
from condgen.experiments.failures import audit_failures
from condgen.files import as_path, atomic_write, check_writable
from condgen.runs import RecordFolder

COLUMNS = ("file", "class", "posterior", "bits_per_dim", "score", "accepted", "changed", "error")
AT_ONCE = 64  # images in memory
GRAY = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue

Pixels = NDArray[np.uint8]
Line = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """Numbers of files: scored, unreadable, and left out (by kind)."""

    scored: int
    unreadable: int
    left_out: Counter[str]
    detector: Detector


@dataclass(frozen=True)
class Reader:
    """Decodes files to images that fit a model, in the same way as its training images.

    Args:
        images: Description of the model's images.
        geometry: How training images were brought to one size.
    """

    images: Images
    geometry: Geometry

    @classmethod
    def of(cls, config: SubjectConfig, images: Images) -> "Reader":
        """A reader that decodes like the data set of ``config``.

        Images of another size are padded if the data set pads, resized if its images are square.
        """
        _, height, width = images.shape
        known = KNOWN.get(config.data.name)
        if config.data.size is None and known and known.pad:
            return cls(images, Geometry(pad=known.pad))
        return cls(images, Geometry(size=height if height == width else None))

    def read(self, path: Path) -> tuple[Pixels, str]:
        """Pixel values, shape ``(C, H, W)``, and the changes made to the image, as text.

        Raises:
            DataError: If the file cannot be read, or the image does not fit the model.
        """
        pixels, changes = decode(read_image(path), self.geometry)
        pixels, colors = _in_channels(pixels, self.images.shape[0])
        if pixels.shape != tuple(self.images.shape):
            found, expected = (
                "x".join(map(str, shape)) for shape in (pixels.shape, self.images.shape)
            )
            raise DataError(f"{path} is {found}, the model is for {expected}; resize or crop it.")
        levels = self.images.levels
        if levels < 256:
            pixels = np.round(pixels * ((levels - 1) / 255)).astype(np.uint8)
            colors = (*colors, f"rounded to {levels} levels")
        return pixels, "; ".join((*changes, *colors))


def score_files(
    folder: RecordFolder,
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    device: str = "cpu",
    quiet: bool = False,
) -> Scored:
    """Classify and score image files with the model and detector of ``folder``, one CSV line each.

    Memory does not grow with the number of images. An unreadable file gets a line with an error.

    Args:
        folder: A trained run or the folder of an external model, with a saved fitted detector.
        inputs: Image files, and folders that are searched recursively.
        out: The CSV file: file, class, posterior, bits_per_dim, score, accepted, changed, error.
        device: "cpu", "cuda", or "auto" for the CUDA device if there is one.
        quiet: Show no progress bar.

    Raises:
        ConfigError: If the run has no description of its images.
        DataError: If an input does not exist, or there is no image.
        RunError: If the weights or the detector cannot be read.
    """
    if not isinstance(folder, RecordFolder):
        raise RunError(
            f"the run is a {type(folder).__name__}, expected a RecordFolder; `Run.open(path)`"
            " returns one."
        )
    out = as_path(out)
    check_writable(out)
    images = folder.config.images
    if images is None:
        raise ConfigError(
            f"{folder.path} has no description of its images; audit it with its data, or train a"
            " new run."
        )
    classifier, detector = folder.classifier(machine.prepare_device(device)), folder.detector()
    files, left_out = _files(inputs)
    reader, names = (
        Reader.of(folder.config, images),
        images.class_names or [str(y) for y in range(images.classes)],
    )
    unreadable = 0
    with (
        audit_failures(classifier.density),
        atomic_write(out) as work,
        work.open("w", newline="", encoding="utf-8") as file,
        Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar,
    ):
        writer, task = (
            csv.DictWriter(file, COLUMNS, restval=""),
            bar.add_task("scoring", total=len(files)),
        )
        writer.writeheader()
        for start in range(0, len(files), AT_ONCE):
            for line in _lines(files[start : start + AT_ONCE], reader, classifier, detector, names):
                unreadable += bool(line.get("error"))
                writer.writerow(line)
            bar.update(task, advance=AT_ONCE)
    return Scored(len(files) - unreadable, unreadable, left_out, detector)


def _files(inputs: Sequence[Path | str]) -> tuple[list[Path], Counter[str]]:
    """The image files in order, and the numbers of other files that were left out of folders."""
    files: dict[Path, None] = {}
    left_out = Counter[str]()
    for path in map(as_path, inputs):
        if path.is_dir():
            found = find_images(path)
            files |= dict.fromkeys(found.images)
            left_out += found.others
        elif path.exists():
            files[path] = None
        else:
            raise DataError(f"{path} does not exist; give image files or folders with images.")
    if not files:
        raise DataError(
            f"there is no image in {', '.join(map(str, inputs))}; give image files or folders with"
            " images."
        )
    return list(files), left_out


def _lines(
    files: Sequence[Path],
    reader: Reader,
    classifier: GenerativeClassifier,
    detector: Detector,
    names: Sequence[str],
) -> Iterator[Line]:
    """The CSV lines of a batch of files, in order."""
    lines: list[Line] = [
        {"file": os.fsencode(path).decode(errors="backslashreplace")} for path in files
    ]
    readable, stored = [], []
    for line, path in zip(lines, files, strict=True):
        try:
            pixels, line["changed"] = reader.read(path)
        except DataError as error:
            line["error"] = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
            continue
        readable.append(line)
        stored.append(pixels)
    if stored:
        x = torch.from_numpy(np.stack(stored).astype(np.float32)) / (reader.images.levels - 1)
        _fill(readable, x, classifier, detector, names)
    yield from lines


def _fill(
    lines: Sequence[Line],
    x: Any,
    classifier: GenerativeClassifier,
    detector: Detector,
    names: Sequence[str],
) -> None:
    prediction = predict(classifier, x)
    found = zip(
        lines,
        prediction.label.tolist(),
        prediction.log_posterior.exp().amax(-1).tolist(),
        prediction.bits_per_dim.tolist(),
        score(detector, prediction).tolist(),
        (~flagged(detector, prediction)).tolist(),
        strict=True,
    )
    for line, label, posterior, bits, value, accepted in found:
        line |= {"class": names[label], "posterior": posterior, "bits_per_dim": bits}
        line |= {"score": value, "accepted": "yes" if accepted else "no"}


def _in_channels(pixels: Pixels, channels: int) -> tuple[Pixels, tuple[str, ...]]:
    """Convert gray to color, as in training, or color to gray."""
    if len(pixels) == channels:
        return pixels, ()
    if len(pixels) == 1:
        return np.repeat(pixels, channels, 0), ("gray was repeated in each color",)
    if channels != 1:
        return pixels, ()
    if (pixels == pixels[:1]).all():
        return pixels[:1], ("three equal colors were taken as gray",)
    gray = np.round(np.tensordot(GRAY, pixels, 1)).astype(np.uint8)
    return gray[None], ("color was converted to gray",)
