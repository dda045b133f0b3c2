"""A run from its beginning, or on from its newest checkpoint."""

from pathlib import Path
from typing import Any

from condgen import machine
from condgen.builders import build_classifier, build_objective, open_data
from condgen.config import Config
from condgen.data.augmentation import Augmentation
from condgen.errors import RunError
from condgen.experiments.images import check_images_of, images_of
from condgen.experiments.settings import at_its_place, check_device, resolved, with_precision
from condgen.runs import Run
from condgen.training.loop import check_batches, fit


def train(
    config: Config,
    path: Path,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    minutes: float | None = None,
    quiet: bool = False,
) -> Run:
    """Train a run from its beginning, or on from its newest checkpoint.

    Args:
        config: The experiment.
        path: Of the run directory.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto" for the CUDA device where there is one.
        resume: Go on.
        minutes: Stop between two epochs before this is over; ``run.epochs_done`` says how far it came.
        quiet: No progress bar.

    Raises:
        ConfigError: If the device cannot do what the configuration asks for.
        RunError: If ``path`` is taken, or with ``resume`` is another experiment's.
    """
    place, config = machine.prepare_device(device), at_its_place(config)
    run = reopen(path, config) if resume else None
    config = run.config if run else resolved(config, place.type)
    check_device(config, place.type)
    objective = build_objective(config)
    splits = open_data(config, data_dir)
    if run:
        check_images_of(run, splits)
    classifier = build_classifier(config, splits.train, place)
    check_batches(splits.train, config.training)
    run = run or Run.create(path, config.model_copy(update={"images": images_of(splits)}))
    with run.training():
        fit(
            classifier,
            objective,
            splits.train,
            splits.validation,
            settings=config.training,
            directory=run.path,
            augmentation=Augmentation(config.data.crop_padding, config.data.flip),
            seed=config.seed,
            resume=resume,
            minutes=minutes,
            quiet=quiet,
        )
    return run


def reopen(path: Path, config: Config) -> Run:
    """The run at ``path``, to go on with. A ``model.precision`` of "auto" asks for the one that the run began with.

    Raises:
        RunError: If it was started with other settings than ``config``.
    """
    run = Run.open(path)
    if config.model.precision == "auto":
        config = with_precision(config, run.config.model.precision)
    asked, started = (at_its_place(page).model_dump(exclude={"versions", "images"}) for page in (config, run.config))
    different = [section for section in asked if asked[section] != started[section]]
    if different:
        changes = ", ".join(_changes(different[0], started[different[0]], asked[different[0]]))
        raise RunError(
            f"{path} was started with another {' and '.join(different)} ({changes}); give the same settings or another --run."
        )
    return run


def _changes(name: str, before: Any, now: Any) -> list[str]:
    """What differs, setting by setting, as "training.epochs was 3, now 5"."""
    if not isinstance(before, dict):
        return [f"{name} was {before!r}, now {now!r}"]
    return [change for key in before if before[key] != now[key] for change in _changes(f"{name}.{key}", before[key], now[key])]
