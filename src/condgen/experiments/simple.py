"""Baselines: the likelihood of the test images under simple densities."""

import hashlib
import json
import math
from contextlib import suppress
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from condgen.classifier import GenerativeClassifier, predict
from condgen.data.cache import cache_directory
from condgen.data.dataset import Splits
from condgen.errors import CondgenError, ConfigError
from condgen.files import atomic_write
from condgen.models.simple import Gaussian, IndependentPixels, SimpleDensity, Uniform

FORMAT = 1  # version of the cache; a new number invalidates old entries
AT_ONCE = 500  # images
KINDS: dict[str, tuple[type[SimpleDensity], bool]] = {
    "uniform": (Uniform, False),
    "independent pixels": (IndependentPixels, False),
    "independent pixels per class": (IndependentPixels, True),
    "Gaussian": (Gaussian, False),
    "Gaussian per class": (Gaussian, True),
}


def simple_densities(splits: Splits, *, quiet: bool = False) -> dict[str, float]:
    """Mean bits/dim of log p(x) on the test images, for each simple density.

    The densities are fitted to the training images. The first call takes seconds; later calls read
    the cache. Classes are equally probable. A density is left out if it is too large for the
    images, or a class has no training images.

    Args:
        splits: The data set.
        quiet: Show no progress bar.

    Examples:
        >>> from condgen import open_dataset
        >>> found = simple_densities(open_dataset("digits"), quiet=True)
        >>> f"{found['uniform']:.3f} {found['independent pixels']:.2f}"
        '4.087 2.42'
    """
    path = cache_directory() / f"simple-densities-{_key(splits)}.json"
    with suppress(OSError, ValueError):
        cached = json.loads(path.read_text())
        if isinstance(cached, dict) and cached.keys() <= KINDS.keys():
            return {name: float(value) for name, value in cached.items()}
    found = {}
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("fitting simple densities", total=len(KINDS))
        for name, (kind, per_class) in KINDS.items():
            with suppress(ConfigError):
                found[name] = _bits_per_dim(kind, per_class, splits)
            bar.advance(task)
    _keep(path, found)
    return found


def _bits_per_dim(kind: type[SimpleDensity], per_class: bool, splits: Splits) -> float:
    train = splits.train
    density = kind(train.event_shape, train.num_classes, train.pixel_levels, per_class)
    for x, label in train.batches(AT_ONCE):
        density.observe(x, label)
    density.solve()
    classifier = GenerativeClassifier(density)
    total = sum(
        predict(classifier, x).bits_per_dim.double().sum() for x, _ in splits.test.batches(AT_ONCE)
    )
    mean = float(total) / max(1, len(splits.test))
    if not math.isfinite(mean):
        raise ConfigError(f"{kind.__name__} gives some images probability zero.")
    return mean


def _key(splits: Splits) -> str:
    parts = [
        FORMAT,
        torch.__version__,
        splits.train.sha256(),
        splits.test.sha256(),
        splits.train.pixel_levels,
    ]
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]


def _keep(path: Path, found: dict[str, float]) -> None:
    """Write the cache; a failure is ignored, because the values can be computed again."""
    with suppress(CondgenError), atomic_write(path) as work:
        work.write_text(json.dumps(found))
