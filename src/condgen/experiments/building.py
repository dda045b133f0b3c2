"""A configuration becomes data, model and training step; below this line functions get parts, not the configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from condgen.classifier import GenerativeClassifier
from condgen.config import Config, Images, SubjectConfig
from condgen.data.augmentation import Augmentation
from condgen.data.catalogue import located, open_dataset
from condgen.data.dataset import Splits
from condgen.density import ClassConditionalDensity
from condgen.errors import ConfigError, RunError, TrainingError, out_of_memory
from condgen.runs.restoring import build_classifier
from condgen.training.loader import steps_per_epoch
from condgen.training.steps import TrainingStep

Kind = TypeVar("Kind", bound=SubjectConfig)


@dataclass(frozen=True)
class Experiment:
    """The parts of an experiment, on one device.

    Args:
        classifier: Freshly initialized.
        step: What training repeats; owns the optimizer.
        splits: The data.
        augmentation: Of training images.
    """

    classifier: GenerativeClassifier
    step: TrainingStep
    splits: Splits
    augmentation: Augmentation


def build(config: Config, splits: Splits, device: torch.device | None = None) -> Experiment:
    """The parts that ``config`` describes.

    Raises:
        ConfigError: If the settings do not fit the data, the device or each other.
        DataError: If there are fewer training images than a batch has.
    """
    place = device or torch.device("cpu")
    config.model.on(place.type)  # refuses a device that cannot train such a model
    classifier = build_classifier(config.model, images_of(splits), config.seed)
    if config.training.compile:
        if place.type != "cuda":
            raise ConfigError(
                f"training.compile needs --device cuda, but the device is {place.type}; set it to false before a run"
                " begins. A run begun with it continues only so; its audits run anywhere."
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
    """The data set that ``config`` names."""
    return open_dataset(
        config.data.name, data_dir=data_dir, size=config.data.size, seed=config.data.split_seed
    )


def at_its_place(config: Kind) -> Kind:
    """``config`` with its data where it is now, wherever the run is read from later."""
    data = config.data.model_copy(update={"name": located(config.data.name)})
    return config.model_copy(update={"data": data})


def images_of(splits: Splits, *, hashed: bool = False) -> Images:
    """What a run notes about its images; with ``hashed`` also their sha256."""
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
    """Refuse images that only have the name of those that a run was trained on; some may be test images now.

    Raises:
        RunError: Naming both.
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
        f"{'x'.join(map(str, it.shape))}, {it.classes} classes, {it.levels} levels"
        for it in (before, now)
    )
    differs = f"images of {was}, but {splits.name} now has {found}"
    if was == found:
        parts = [part for part, sha256 in now.sha256.items() if before.sha256.get(part) != sha256]
        differs = f"other images than {splits.name} now has: those for {' and '.join(parts)} differ"
    raise RunError(
        f"{origin} was trained on {differs}; restore those images (--data-dir), or train a new run."
    )


def _check_order(before: list[str], now: list[str], origin: Path, splits: Splits) -> None:
    """Refuse a number that stood for another of the same classes; a class may get another name."""
    for label, (was, name) in enumerate(zip(before, now, strict=False)):
        if was != name and name in before:
            raise RunError(
                f"{origin} was trained with '{was}' as class {label}, which is '{name}' in {splits.name} now; number the"
                " classes as before."
            )


@contextmanager
def enough_memory(density: ClassConditionalDensity) -> Iterator[None]:
    """Within this context, running out of memory is one sentence that says what needs less.

    Raises:
        TrainingError: If the machine or the GPU has not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        advice = [f"{density.memory_hint} needs less"] if density.memory_hint else []
        raise TrainingError(
            f"not enough memory; {', '.join(['a smaller training.batch_size or a larger training.accumulation', *advice])}."
        ) from error
