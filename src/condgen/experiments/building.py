"""Builds data, model and training step from a configuration; other layers get only these parts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from condgen.classifier import GenerativeClassifier
from condgen.config import Config, Images, SubjectConfig
from condgen.data.augmentation import Augmentation
from condgen.data.catalogue import located, open_dataset
from condgen.data.dataset import Splits
from condgen.errors import ConfigError, RunError
from condgen.runs import Run
from condgen.runs.restoring import build_classifier
from condgen.training.loader import steps_per_epoch
from condgen.training.steps import TrainingStep

Kind = TypeVar("Kind", bound=SubjectConfig)


@dataclass(frozen=True)
class Experiment:
    """The parts of an experiment, on one device.

    Args:
        classifier: The initialized classifier.
        step: The training step; it owns the optimizer.
        splits: The data.
        augmentation: Augmentation of training images.
    """

    classifier: GenerativeClassifier
    step: TrainingStep
    splits: Splits
    augmentation: Augmentation


def build(
    config: Config, splits: Splits, device: torch.device | None = None, start: Run | None = None
) -> Experiment:
    """Build the parts that ``config`` describes.

    Args:
        config: The configuration.
        splits: The data.
        device: Default: the CPU.
        start: A run whose weights the model starts with.

    Raises:
        ConfigError: If the settings do not fit the data, the device or each other.
        DataError: If there are fewer training images than a batch has.
        RunError: If the weights do not fit the model.
    """
    place = device or torch.device("cpu")
    config.model.on(place.type)  # refuses a device that cannot train the model
    classifier = build_classifier(config.model, images_of(splits), config.seed)
    if start:
        start.restored(images=images_of(splits), model=classifier)
    if config.training.compile:
        if place.type != "cuda":
            raise ConfigError(
                f"training.compile needs --device cuda, but the device is {place.type}; set"
                " training.compile=false. A compiled run may resume without compilation."
            )
        classifier.density.compile_for_training()
    classifier.to(place)
    step = config.objective.step(
        classifier, config.training, steps_per_epoch(splits.train, config.training)
    )
    return Experiment(
        classifier, step, splits, Augmentation(config.data.crop_padding, config.data.flip)
    )


def open_data(config: SubjectConfig, data_dir: Path | None = None) -> Splits:
    """Open the data set that ``config`` names."""
    return open_dataset(
        config.data.name, data_dir=data_dir, size=config.data.size, seed=config.data.split_seed
    )


def at_its_place(config: Kind) -> Kind:
    """``config`` with an absolute data path, so that the run can be read from any directory."""
    data = config.data.model_copy(update={"name": located(config.data.name)})
    return config.model_copy(update={"data": data})


def images_of(splits: Splits, *, hashed: bool = False) -> Images:
    """The description of the images that a run stores; with ``hashed`` also their sha256."""
    data = splits.train
    return Images(
        shape=list(data.event_shape),
        classes=data.num_classes,
        levels=data.pixel_levels,
        class_names=list(data.class_names),
        counts=data.class_counts(),
        notes=list(splits.notes),
        sha256={part: images.sha256() for part, images in splits.items()} if hashed else {},
    )


def check_images_of(config: SubjectConfig, splits: Splits, origin: Path) -> None:
    """Refuse other images than a run was trained on; its training images may be test images now.

    Raises:
        RunError: If the images differ; describes both.
    """
    before = config.images
    if before is None:
        return
    now = images_of(splits, hashed=bool(before.sha256))
    names = now.class_names
    now = now.model_copy(
        update={"class_names": before.class_names, "counts": before.counts, "notes": before.notes}
    )
    if before == now:
        _check_order(before.class_names, names, origin, splits)
        return
    was, found = (
        f"{'x'.join(map(str, images.shape))}, {images.classes} classes, {images.levels} levels"
        for images in (before, now)
    )
    differs = f"images of {was}, but {splits.name} now has {found}"
    if was == found:
        parts = [part for part, sha256 in now.sha256.items() if before.sha256.get(part) != sha256]
        differs = (
            f"other images than {splits.name} now has: the images of {' and '.join(parts)} differ"
        )
    raise RunError(
        f"{origin} was trained on {differs}; restore those images (--data-dir), or train a new run."
    )


def _check_order(before: list[str], now: list[str], origin: Path, splits: Splits) -> None:
    """Refuse a class label that belonged to another existing class; a renamed class is accepted."""
    for label, (was, name) in enumerate(zip(before, now, strict=False)):
        if was != name and name in before:
            raise RunError(
                f"{origin} was trained with '{was}' as class {label}, which is '{name}' in"
                f" {splits.name} now; number the classes as before."
            )
