"""From a configuration to a trained, audited run: where models, data, training and audits meet."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from condgen import audits, machine
from condgen.audits.checks import Check
from condgen.audits.records import Record
from condgen.builders import build_classifier, build_density, build_detector, build_objective, open_data
from condgen.classifier import GenerativeClassifier
from condgen.config import AUDITS, Config, Images, replaced
from condgen.data.augmentation import Augmentation
from condgen.data.catalogue import located
from condgen.data.dataset import Splits
from condgen.detectors import Detector
from condgen.errors import CondgenError, ConfigError, RunError
from condgen.models import card
from condgen.models.card import Card
from condgen.randomness import stream
from condgen.runs import Run, installed_versions
from condgen.testing import check_density
from condgen.training.checkpoints import Checkpoint, load_weights
from condgen.training.loop import check_batches, fit

READ_BY = {
    f"audit.{key}": name
    for name, keys in {
        "classification": ["noise_draws"],
        "interpolation": ["pairs", "alphas"],
        "samples": ["samples"],
        "adversarial": ["budget", "attacked", "epsilon", "targeted"],
    }.items()
    for key in keys
}


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
    place, config = machine.prepare_device(device), _located(config)
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


def resolved(config: Config, device: str = "cpu") -> Config:
    """``config`` with a ``model.precision`` of "auto" replaced by what this type of device multiplies fast."""
    if config.model.precision != "auto":
        return config
    return _with_precision(config, "bfloat16" if machine.multiplies_bfloat16(device) else "float32")


def check_device(config: Config, device: str = "cpu") -> None:
    """Refuse to train on a type of device that cannot do what ``config`` asks for; audits run on any.

    Raises:
        ConfigError: Saying how to train all the same.
    """
    if config.model.precision == "bfloat16" and device == "cuda" and not machine.multiplies_bfloat16(device):
        raise ConfigError(
            "model.precision is 'bfloat16', but the CUDA device has no tensor cores for it; start a run with"
            " `--set model.precision=float32`, or train on another device, such as --device cpu. Audits run anywhere."
        )
    if config.training.compile and (device != "cuda" or config.model.memory == "constant"):
        found = f"the device is {device} and model.memory is '{config.model.memory}'"
        raise ConfigError(
            f'training.compile needs --device cuda and model.memory = "standard", but {found}; set it to false'
            " before a run begins, or meet both. A run begun with it goes on only so; its audits run anywhere."
        )


def _located(config: Config) -> Config:
    """``config`` with its data where it is now, wherever the run is read from later."""
    return config.model_copy(update={"data": config.data.model_copy(update={"name": located(config.data.name)})})


def _with_precision(config: Config, precision: str) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"precision": precision})})


def reopen(path: Path, config: Config) -> Run:
    """The run at ``path``, to go on with. A ``model.precision`` of "auto" asks for the one that the run began with.

    Raises:
        RunError: If it was started with other settings than ``config``.
    """
    run = Run.open(path)
    if config.model.precision == "auto":
        config = _with_precision(config, run.config.model.precision)
    asked, started = (_located(page).model_dump(exclude={"versions", "images"}) for page in (config, run.config))
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


def images_of(splits: Splits) -> Images:
    """What a run notes about its images."""
    data = splits.train
    hashes = {part: images.sha256() for part, images in splits.items()}
    return Images(
        shape=list(data.event_shape),
        classes=data.num_classes,
        levels=data.pixel_levels,
        class_names=list(data.class_names),
        sha256=hashes,
    )


def check_images_of(run: Run, splits: Splits) -> None:
    """Refuse images that only have the name of those that ``run`` was trained on; some of them may be test images now.

    Raises:
        RunError: Naming both.
    """
    before, now = run.config.images, images_of(splits)
    if before is None:
        return
    now = now.model_copy(update={"class_names": before.class_names, "sha256": now.sha256 if before.sha256 else {}})
    if before == now:
        return
    was, found = (f"{'x'.join(map(str, it.shape))}, {it.classes} classes, {it.levels} levels" for it in (before, now))
    differs = f"images of {was}, but {splits.name} now has {found}"
    if was == found:
        parts = [part for part, sha256 in now.sha256.items() if before.sha256.get(part) != sha256]
        differs = f"other images than {splits.name} now has: those for {' and '.join(parts)} differ"
    raise RunError(f"{run.path} was trained on {differs}; put the former back (--data-dir), or train a new run.")


def load_classifier(
    run: Run, splits: Splits, device: torch.device | None = None, checkpoint: Checkpoint | None = None
) -> GenerativeClassifier:
    """The run's best checkpoint, or the one that was read before, in evaluation mode, on ``device``."""
    check_images_of(run, splits)
    classifier = build_classifier(run.config, splits.train, device)
    load_weights(classifier.density, (checkpoint or Checkpoint.load(run.best)).weights, run.best)
    return classifier.eval()


def audit(
    run: Run,
    only: Collection[str] = AUDITS,
    *,
    budget: str | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
    overrides: Collection[str] = (),
    done: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Run the named audits on the test images and save their records in the run.

    Args:
        run: A trained run.
        only: Names of audits.
        budget: Of attacks, instead of the run's.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto" for the CUDA device where there is one.
        quiet: No progress bars.
        overrides: ``section.key=value`` of the sections ``detector`` and ``audit``, instead of the run's.
        done: Called with each record as soon as it is saved.

    Raises:
        ConfigError: If a setting is given that none of the audits reads.
        CondgenError: If an audit cannot be made, after all others have been.
    """
    config = replaced(run.config, overrides, ("detector", "audit"))
    _check_read(only, [override.partition("=")[0].strip() for override in overrides] + ["audit.budget"] * bool(budget))
    splits, checkpoint, place = open_data(config, data_dir), Checkpoint.load(run.best), machine.prepare_device(device)
    classifier = load_classifier(run, splits, place, checkpoint)
    detector = build_detector(config, classifier, splits.validation)
    origin = _origin(config, checkpoint, place)
    records: list[Record] = []
    failures = []
    for name in (name for name in AUDITS if name in only):
        try:
            made = _record(name, run, config, classifier, splits, detector, budget or config.audit.budget, quiet)
        except CondgenError as error:
            failures.append(f"{name}: {error}")
            continue
        records.append(replace(made, origin=origin))
        records[-1].save(run.records)
        if done:
            done(records[-1])
    if failures:
        raise CondgenError(" ".join(failures))
    return records


def _check_read(only: Collection[str], keys: Collection[str]) -> None:
    for key in keys:
        if key in READ_BY and READ_BY[key] not in only:
            raise ConfigError(f"{key} is read by the audit {READ_BY[key]} alone, which is not made; leave one of them out.")


def _origin(config: Config, checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    """What the records of these audits were made with."""
    settings = config.model_dump(include={"detector", "audit", "seed"}, exclude_none=True)
    found = {"weights": checkpoint.weights_sha256, "epoch": checkpoint.epoch, "device": device.type}
    return {**found, **settings, "versions": installed_versions()}


def _record(
    name: str,
    run: Run,
    config: Config,
    classifier: GenerativeClassifier,
    splits: Splits,
    detector: Detector,
    budget: str,
    quiet: bool,
) -> Record:
    """One audit with the settings of ``config``."""
    settings, seed, test = config.audit, config.seed, splits.test
    match name:
        case "classification":
            return audits.classification(classifier, test, detector=detector, noise_draws=settings.noise_draws, seed=seed)
        case "membership":
            return audits.membership(classifier, test, seed=seed)
        case "interpolation":
            length = {"pairs": settings.pairs, "alphas": settings.alphas}
            return audits.interpolation(classifier, test, detector=detector, **length, seed=seed, quiet=quiet)
        case "adversarial":
            return audits.adversarial(
                classifier,
                test,
                detector=detector,
                starts=splits.validation,
                budget=budget,
                images=settings.attacked,
                epsilon=settings.epsilon,
                targeted=settings.targeted,
                seed=seed,
                directory=run.records / "adversarial",
                quiet=quiet,
            )
        case _:
            return audits.samples(classifier.density, count=settings.samples, seed=seed)


def describe(config: Config, data_dir: Path | None = None, device: str = "cpu") -> Card:
    """The model card of ``config``, as a type of device computes it."""
    return card.describe(build_density(resolved(config, device), open_data(config, data_dir).train), device)


def check(run: Run, data_dir: Path | None = None, images: int = 16) -> list[Check]:
    """Conformance checks of a run's model on validation images."""
    splits = open_data(run.config, data_dir)
    x, _ = splits.validation.batch(slice(0, images))
    return check_density(load_classifier(run, splits).density, x)


def sample(
    run: Run, label: int | None, count: int, temperature: float, seed: int, data_dir: Path | None = None
) -> tuple[NDArray[np.floating], list[str]]:
    """Images of one class, or a row of each, and the names of the rows."""
    splits = open_data(run.config, data_dir)
    classifier = load_classifier(run, splits)
    names = splits.train.class_names
    if label is not None and not 0 <= label < len(names):
        raise ConfigError(f"label {label} is not a class of {splits.name}; give 0 to {len(names) - 1}.")
    chosen = range(len(names)) if label is None else [label]
    labels = torch.tensor(chosen).repeat_interleave(count)
    images = classifier.density.sample(labels, temperature, generator=stream(seed, "samples"))
    return images.numpy(), [names[y] for y in chosen]
