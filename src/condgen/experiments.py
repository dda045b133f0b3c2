"""From a configuration to a trained, audited run: where models, data, training and audits meet."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from condgen import audits
from condgen.audits.checks import Check
from condgen.audits.predictions import predict
from condgen.audits.records import Record
from condgen.classifier import GenerativeClassifier
from condgen.config import AUDITS, Config
from condgen.data.augmentation import Augmentation
from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset, Splits
from condgen.detectors import LikelihoodThreshold
from condgen.errors import ConfigError, RunError
from condgen.models import card
from condgen.models.card import Card
from condgen.models.glow import Glow
from condgen.models.priors import ClassMixture, Prior, SplitPrior
from condgen.randomness import stream
from condgen.runs import Run
from condgen.testing import check_density
from condgen.training.checkpoints import Checkpoint, load_weights
from condgen.training.loop import check_batches, fit
from condgen.training.objectives import Likelihood, Objective, Reweight, Split


def open_data(config: Config, data_dir: Path | None = None) -> Splits:
    """The data set that ``config`` names."""
    return open_dataset(config.data.name, data_dir=data_dir, size=config.data.size)


def build_classifier(config: Config, data: ImageDataset) -> GenerativeClassifier:
    """Bayes' rule over :func:`build_density`."""
    return GenerativeClassifier(build_density(config, data))


def build_density(config: Config, data: ImageDataset) -> Glow:
    """The model of ``config`` for images like those of ``data``, freshly initialised from ``config.seed``."""
    channels, height, width = data.event_shape
    settings = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Glow(
            _prior(config, data.num_classes, 2 * channels * height * width),
            event_shape=data.event_shape,
            pixel_levels=data.pixel_levels,
            levels=settings.levels,
            blocks=settings.blocks,
            width=settings.width,
            constant_memory=settings.memory == "constant",
            precision=torch.bfloat16 if settings.precision == "bfloat16" else None,
            generator=stream(config.seed, "rotations"),
        )


def build_objective(config: Config) -> Objective:
    """The loss that ``config`` names."""
    if config.objective.name == "split" and config.model.prior != "split":
        raise ConfigError(f"objective 'split' needs model.prior = 'split', not '{config.model.prior}'.")
    match config.objective.name:
        case "likelihood":
            return Likelihood()
        case "reweight":
            return Reweight(config.objective.alpha)
        case "split":
            return Split(config.objective.alpha)


def train(config: Config, path: Path, *, data_dir: Path | None = None, resume: bool = False, quiet: bool = False) -> Run:
    """Train a run from its beginning, or on from its newest checkpoint."""
    objective = build_objective(config)
    splits = open_data(config, data_dir)
    classifier = build_classifier(config, splits.train)
    check_batches(splits.train, config.training)
    run = reopen(path, config) if resume else Run.create(path, config)
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
        quiet=quiet,
    )
    return run


def reopen(path: Path, config: Config) -> Run:
    """The run at ``path``, to go on with.

    Raises:
        RunError: If it was started with other settings than ``config``.
    """
    run = Run.open(path)
    asked, started = (settings.model_dump(exclude={"versions"}) for settings in (config, run.config))
    different = [section for section in asked if asked[section] != started[section]]
    if different:
        raise RunError(f"{path} was started with another {' and '.join(different)}; give the same settings or another --run.")
    return run


def load_classifier(run: Run, splits: Splits) -> GenerativeClassifier:
    """The run's best checkpoint, in evaluation mode."""
    classifier = build_classifier(run.config, splits.train)
    load_weights(classifier.density, Checkpoint.load(run.best).weights, run.best)
    return classifier.eval()


def build_detector(config: Config, classifier: GenerativeClassifier, validation: ImageDataset) -> LikelihoodThreshold:
    """The threshold that the configuration gives, or the quantile of the validation images' bits/dim that it asks for."""
    if config.detector.threshold != "quantile":
        return LikelihoodThreshold(config.detector.threshold)
    x, _ = validation.batch(slice(None))
    return LikelihoodThreshold.at_quantile(predict(classifier, x).bits_per_dim, config.detector.quantile)


def audit(
    run: Run,
    only: Collection[str] = AUDITS,
    *,
    budget: str | None = None,
    data_dir: Path | None = None,
    quiet: bool = False,
) -> list[Record]:
    """Run the named audits on the test images and save their records in the run; ``budget`` of attacks instead of its own."""
    settings, seed = run.config.audit, run.config.seed
    splits = open_data(run.config, data_dir)
    classifier = load_classifier(run, splits)
    detector = build_detector(run.config, classifier, splits.validation)
    records = []
    for name in (name for name in AUDITS if name in only):
        match name:
            case "classification":
                record = audits.classification(
                    classifier, splits.test, detector=detector, noise_draws=settings.noise_draws, seed=seed
                )
            case "membership":
                record = audits.membership(classifier, splits.test, seed=seed)
            case "interpolation":
                record = audits.interpolation(
                    classifier,
                    splits.test,
                    detector=detector,
                    pairs=settings.pairs,
                    alphas=settings.alphas,
                    seed=seed,
                    quiet=quiet,
                )
            case "adversarial":
                record = audits.adversarial(
                    classifier,
                    splits.test,
                    detector=detector,
                    starts=splits.validation,
                    budget=budget or settings.budget,
                    images=settings.attacked,
                    epsilon=settings.epsilon,
                    targeted=settings.targeted,
                    seed=seed,
                    directory=run.records / "adversarial",
                    quiet=quiet,
                )
            case _:
                record = audits.samples(classifier.density, count=settings.samples, seed=seed)
        record.save(run.records)
        records.append(record)
    return records


def describe(config: Config, data_dir: Path | None = None) -> Card:
    """The model card of ``config``."""
    return card.describe(build_density(config, open_data(config, data_dir).train))


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


def _prior(config: Config, num_classes: int, dims: int) -> Prior:
    settings = config.model
    if settings.prior == "split":
        return SplitPrior(num_classes, dims, settings.subspace_scale, settings.family, settings.label_smoothing)
    return ClassMixture(num_classes, dims, settings.family, settings.label_smoothing)
